"""What is known of a task from elsewhere: published returns, an optimum.  A JSON file beside the scenario.

``yardsticks/<scenario>.json`` in the scenario's folder::

    [{"name": "MPC with perfect forecast", "figure": "discounted_return", "value": -14.7, "spread": null,
      "source": "Henry and Ernst, Energy and AI 5 (2021), 100092, table 2"}]
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cosim.errors import GridloopError

_MAX_BYTES = 1 << 20


class YardstickError(GridloopError):
    """A file of yardsticks that is none."""


class Yardstick(BaseModel):
    """One known value of one figure (`policies.evaluate.evaluation.FIGURES`), ± `spread` where that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80)
    figure: str = Field(min_length=1, max_length=80)
    value: float
    spread: float | None = None
    source: str = Field(min_length=1, max_length=400)


_LIST = TypeAdapter(Annotated[tuple[Yardstick, ...], Field(max_length=100)])


def yardsticks(file: Path) -> tuple[Yardstick, ...]:
    """Those in a file; raises YardstickError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES + 1)
        found = _LIST.validate_python(json.loads(text))
    except OSError as error:
        raise YardstickError(f"{file}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise YardstickError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; expected a list of name, "
                             f"figure, value, spread, source") from None
    except ValueError as error:
        raise YardstickError(f"{file}: not JSON ({error})") from None
    if not all(isfinite(yardstick.value) for yardstick in found):
        raise YardstickError(f"{file}: a value is not finite; expected a number")
    return found


def beside(scenario_folder: Path, name: str) -> tuple[Yardstick, ...]:
    """Those that a scenario comes with; () where it has none."""
    file = scenario_folder / "yardsticks" / f"{name}.json"
    return yardsticks(file) if file.is_file() else ()
