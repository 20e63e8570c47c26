"""What a term of a reward or of a cost is: a rate, held between SOLVEs, of published points.

All terms of one kind in a run are one group, built and evaluated together: a hundred agents with a voltage term each
cost one vector operation a publish, not a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from pydantic import Field, model_validator

from cosim.plugins.config import PluginConfig
from cosim.points import Ids, Vector


class Per(Enum):
    """The time that a rate belongs to."""

    SECOND = "s"
    MINUTE = "min"
    HOUR = "h"

    @property
    def seconds(self) -> float:
        """Its length."""
        return {"s": 1.0, "min": 60.0, "h": 3600.0}[self.value]


class TermConfig(PluginConfig):
    """What every term has."""

    kind: str
    name: str = Field("", description="What it is called in `info` and reports (default: its kind).")
    weight: float = Field(1.0, description="Factor; negative for what is to be avoided.")
    within: tuple[float, float] | None = Field(None, description=(
        "The weighted integrals of terms of this name are added up and kept within this, each decision."))
    per: Per = Field(Per.SECOND, description="The rate is the term's value per this: `s`, `min` or `h`.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.within is not None and self.within[0] >= self.within[1]:
            raise ValueError(f"within: low {self.within[0]} must be below high {self.within[1]}")
        return self


class TermView(NamedTuple):
    """What terms may look at after a publish: `values` (n_point,) as they truly are, whatever sensors show; `asked`
    (n_output,) the setpoints in force before the shield, NaN where nobody asked."""

    t_us: int
    values: Vector
    asked: Vector


class TermSite(Protocol):
    """What terms are built from."""

    v_min_pu: float
    v_max_pu: float
    loading_max: float

    def ids(self, patterns: Sequence[str]) -> Ids:
        """Points by names and patterns; they are published from now on.  Raises PluginError for what is none."""

    def slots(self, ids: Ids) -> Ids:
        """Places of output points in `TermView.asked`; raises PluginError for an input."""

    def range_of(self, ids: Ids) -> Vector:
        """high - low of points (n,); infinite for one without bounds."""

    def profile(self, specs: Sequence[Any]) -> Callable[[int], Vector]:
        """A sampler of profile columns: t_us -> (len(specs),)."""


class TermGroup(Protocol):
    """All terms of one kind."""

    def rates(self, view: TermView) -> Vector:
        """Value of each term (n,): a rate that holds from now on; of an impulse kind the amount of this publish."""


class TermKind(Protocol):
    """The class that an entry point of ``gridloop.terms`` names."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    impulse: ClassVar[bool]
    """Whether it happens at publishes (an operation) rather than lasts."""
    Config: ClassVar[type[TermConfig]]

    @classmethod
    def build(cls, configs: Sequence[Any], site: TermSite) -> TermGroup:
        """All terms of this kind; raises PluginError when the site does not fit one."""
