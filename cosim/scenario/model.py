"""What every part of the scenario's schema is made of: the base model, names and times."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cosim.errors import KernelError
from cosim.kernel import whole_us

#: Names appear in point names, file names and SQL: letters, digits, underscore and hyphen.
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_\-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def _whole(seconds: float) -> float:
    try:
        whole_us(seconds)
    except KernelError as error:
        raise ValueError(str(error)) from None
    return seconds


Seconds = Annotated[float, Field(ge=0), AfterValidator(_whole)]
Period = Annotated[float, Field(gt=0), AfterValidator(_whole)]


class Model(BaseModel):
    """Base of every part of a scenario: unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
