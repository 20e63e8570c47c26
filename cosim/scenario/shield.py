"""The scenario's ``shield:`` section: which limits no command may break, and what happens when one would.

Written as ``shield: enforce`` for the band and the ratings of `limits:`, or as a mapping with the parts below.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cosim.scenario.model import Model, Period, Seconds
from cosim.scenario.problems import shown

#: Most entries of one list of limits or rules.
MAX_ENTRIES = 1_000
#: Most contingencies looked at in every SOLVE: each costs a power flow, and its plan is kept.
MAX_CONTINGENCIES = 24


def _some(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError("found an empty list; expected at least one name or pattern")
    return patterns


#: At least one of them.  Not by `min_length`: of a list with a number in it pydantic says that it is empty, too.
Patterns = Annotated[tuple[str, ...], AfterValidator(_some), Field(json_schema_extra={"minItems": 1})]
Override = Annotated[str, Field(pattern="^(nobody|agent|operator|interlock)$")]


class ShieldMode(Enum):
    """What the shield does with an unsafe request."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


class Limit(Model):
    """What every limit says of itself."""

    hard: bool = Field(True, description="A hard limit is never passed knowingly. A soft one is kept where that costs "
                                         "little, and counted where it is not.")
    override: Override = Field("nobody", description="Commands of this authority or a higher one are not moved on "
                                                     "account of this limit: that is recorded, never silent.")


class VoltageLimit(Limit):
    """A band of voltage at buses."""

    buses: Patterns = Field(("*",), description="Buses by name; patterns with *. A later entry "
                                                                    "replaces an earlier one at the buses it names.")
    v_min_pu: float = Field(0.95, gt=0, le=1.2, description="Lowest voltage.")
    v_max_pu: float = Field(1.05, gt=0.8, le=2, description="Highest voltage.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.v_min_pu >= self.v_max_pu:
            raise ValueError(f"v_min_pu {self.v_min_pu} must be below v_max_pu {self.v_max_pu}")
        return self


class LoadingLimit(Limit):
    """A limit on the loading of branches."""

    branches: Patterns = Field(("*",), description="Branches as `line.<name>` or `trafo.<name>`; "
                                                                       "patterns with *. Those without a rating are "
                                                                       "left out.")
    loading_max: float = Field(1.0, gt=0, le=10, description="Highest loading (1.0 = rating).")
    thermal_tau_s: Period | None = Field(None, description="Heating time constant: the loading may then be higher for "
                                                           "as long as the conductor's heating, a first-order lag of "
                                                           "loading², stays below loading_max².")


class ExchangeLimit(Limit):
    """A limit on what flows at the point of common coupling, or into a branch."""

    at: str = Field("slack", description="`slack`: all external grids together, import positive; or a branch "
                                         "(`line.<name>`, `trafo.<name>`), power into its from end.")
    p_min_kw: float | None = Field(None, description="Least active power (negative: most export).")
    p_max_kw: float | None = Field(None, description="Most active power (import).")
    q_min_kvar: float | None = Field(None, description="Least reactive power.")
    q_max_kvar: float | None = Field(None, description="Most reactive power.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        bounds = (("p_min_kw", "p_max_kw"), ("q_min_kvar", "q_max_kvar"))
        pairs = [(low, high, getattr(self, low), getattr(self, high)) for low, high in bounds]
        if all(low is None and high is None for _, _, low, high in pairs):
            raise ValueError("give at least one of p_min_kw, p_max_kw, q_min_kvar, q_max_kvar")
        for low_name, high_name, low, high in pairs:
            if low is not None and high is not None and low >= high:
                raise ValueError(f"{low_name} {low} must be below {high_name} {high}")
        return self


class ReserveLimit(Limit):
    """Spinning reserve: what generators could give beyond what they give."""

    devices: Patterns = Field(description="Devices that carry the reserve; patterns with *.")
    up_kw: float = Field(gt=0, description="Power they must be able to add, together.")


class EnergyReserve(Model):
    """A barrier on stored energy, so that what is allowed now does not take away the way out later.

    Requests may move the energy only so fast toward its window's edges that after each step at least `1 - gamma` of
    the distance is left, and the window is narrowed by what the shield's own backup would take in `look_ahead_s`.
    """

    devices: Patterns = Field(("*",), description="Batteries; patterns with *.")
    soc_min: float = Field(0.0, ge=0, lt=1, description="Lowest state of charge a request may lead to.")
    soc_max: float = Field(1.0, gt=0, le=1, description="Highest state of charge a request may lead to.")
    gamma: float = Field(1.0, gt=0, le=1, description="Most of the distance to the edge used in one scan (1: all).")
    charge_reserve_kw: float = Field(0.0, ge=0, description="Charging power kept possible for `look_ahead_s`.")
    discharge_reserve_kw: float = Field(0.0, ge=0, description="Discharging power kept possible for `look_ahead_s`.")
    look_ahead_s: Seconds = Field(900.0, description="How long the reserve must last.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.soc_min >= self.soc_max:
            raise ValueError(f"soc_min {self.soc_min} must be below soc_max {self.soc_max}")
        return self


class Interlock(Model):
    """A command that is refused while a point does not allow it."""

    command: str = Field(description="Output point that is guarded; patterns with *.")
    value: float | None = Field(None, description="The value that is guarded (default: any change).")
    needs: str = Field(description="Point that must be within bounds.")
    at_least: float | None = Field(None, description="Smallest value that allows the command.")
    at_most: float | None = Field(None, description="Largest value that allows the command.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self


class Switching(Model):
    """Rules for everything that has positions: breakers, taps, capacitor steps, starting and stopping."""

    max_operations_per_hour: int | None = Field(None, ge=1, le=10_000, description=(
        "Most changes of position by command of each device in any hour."))
    allow_loops: bool = Field(False, description="Whether a command may close a loop of energised branches, beyond "
                                                 "those that the network has at the start.")
    allow_islands: bool = Field(False, description="Whether a command may leave buses without supply.")
    interlocks: tuple[Interlock, ...] = Field((), max_length=MAX_ENTRIES, description="Commands that need a condition.")


class Contingencies(Model):
    """N-1: the state after the loss of any one of these branches must keep its limits, too."""

    branches: Patterns = Field(description="Branches as `line.<name>` or `trafo.<name>`; patterns "
                                                               f"with *; at most {MAX_CONTINGENCIES}.")
    v_min_pu: float = Field(0.90, gt=0, le=1.2, description="Lowest voltage after the loss.")
    v_max_pu: float = Field(1.10, gt=0.8, le=2, description="Highest voltage after the loss.")
    loading_max: float = Field(1.2, gt=0, le=10, description="Highest loading after the loss.")
    hard: bool = Field(False, description="Whether these limits are hard.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.v_min_pu >= self.v_max_pu:
            raise ValueError(f"v_min_pu {self.v_min_pu} must be below v_max_pu {self.v_max_pu}")
        return self


class Weight(Model):
    """How dear it is to move devices."""

    devices: Patterns = Field(("*",), description="Devices; patterns with *. A later entry "
                                                                      "replaces an earlier one.")
    p: float = Field(1.0, gt=0, le=1e6, description="Weight of active power.")
    q: float = Field(1.0, gt=0, le=1e6, description="Weight of reactive power.")


class Shed(Model):
    """A load block that may be shed when nothing else helps."""

    devices: Patterns = Field(description="Loads shed together; patterns with *.")
    priority: int = Field(1, ge=1, le=1000, description="Lowest first.")


class Backup(Model):
    """The controller that acts when neither the request nor a projection of it is safe."""

    kind: Literal["volt_var", "none"] = Field("volt_var", description=(
        "`volt_var`: reactive power against the voltage, curtailment and storage above the band; its loop gain is "
        "checked before the run."))
    deadband_pu: float = Field(0.02, ge=0, le=0.2, description="Half-width around 1 pu in which it does nothing.")
    full_pu: float | None = Field(None, gt=0, le=1, description=(
        "Distance from 1 pu at which it gives everything (default: 0.05, or as much more as makes its loop stable); a "
        "value that makes the loop unstable is refused."))
    smoothing: float = Field(0.5, gt=0, le=1, description="Share of the way to its target taken in one scan.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.full_pu is not None and self.deadband_pu >= self.full_pu:
            raise ValueError(f"deadband_pu {self.deadband_pu} must be below full_pu {self.full_pu}")
        return self


class Emergency(Model):
    """What may be done to the customers when nothing else helps."""

    shed: tuple[Shed, ...] = Field((), max_length=MAX_ENTRIES, description="Load blocks that may be shed.")
    trip: tuple[str, ...] = Field((), max_length=MAX_ENTRIES, description="Generating devices that may be tripped "
                                                                         "(both powers to zero); patterns with *.")
    recovery_s: Seconds = Field(300.0, description="How long all must be well without the action before it is taken "
                                                   "back.")


class Ramp(Model):
    """How fast injections may change by themselves."""

    devices: Patterns = Field(("*",), description="Devices; patterns with *.")
    kw_per_s: float = Field(ge=0, description="Fastest change of active power.")
    kvar_per_s: float = Field(0.0, ge=0, description="Fastest change of reactive power.")


class ShieldTelemetry(Model):
    """A shield that sits in the control centre: it knows the field by reports, and its setpoints travel."""

    channel: str = Field(description="Channel of the reports (up) and of the setpoints (down).")
    period_s: Period = Field(description="Time between reports.")
    ramps: tuple[Ramp, ...] = Field((), max_length=MAX_ENTRIES, description=(
        "Declared ramps: margins grow by sensitivity times ramp times age."))
    hold_age_s: Period = Field(30.0, description=(
        "Age of a report beyond which only changes toward the backup pass; margins reach as far ahead."))
    lost_age_s: Period = Field(120.0, description="Age beyond which the device falls back to its own function.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.hold_age_s >= self.lost_age_s:
            raise ValueError(f"hold_age_s {self.hold_age_s} must be below lost_age_s {self.lost_age_s}")
        return self


def _entries(default: Any, description: str) -> Any:
    return Field(default, max_length=MAX_ENTRIES, description=description)


def _mode_of(value: Any) -> Any:
    """YAML's bare `off` is refused as unclear; `false` is what it would have been."""
    return "off" if value is False else value


class Shield(Model):
    """The last function between any request and the grid: every command passes it, whoever sent it."""

    mode: Annotated[ShieldMode, BeforeValidator(_mode_of)] = Field(ShieldMode.ENFORCE, description=(
        "`enforce`: unsafe requests are moved the least that makes them safe. `observe`: it says what it would do, and "
        "does nothing. `off`: only the devices' own limits hold."))
    voltage: tuple[VoltageLimit, ...] | None = _entries(
        None, "Voltage bands (default: that of `limits:`, everywhere; [] for none).")
    loading: tuple[LoadingLimit, ...] | None = _entries(
        None, "Branch loadings (default: that of `limits:`, everywhere; [] for none).")
    exchange: tuple[ExchangeLimit, ...] = _entries((), "Import and export.")
    reserve: tuple[ReserveLimit, ...] = _entries((), "Generators' reserve.")
    energy: tuple[EnergyReserve, ...] = _entries((), "Barriers on stored energy.")
    switching: Switching = Field(default_factory=Switching, description="Rules for positions.")
    n_minus_1: Contingencies | None = Field(None, description="Losses that the grid must withstand.")
    margin_pu: float = Field(5e-7, ge=1e-8, le=0.05, description="Distance that moved setpoints keep from a voltage "
                                                                 "limit.")
    margin_loading: float = Field(5e-6, ge=1e-8, le=0.5, description="Distance that they keep from a loading limit, "
                                                                     "and, in shares of the base power, from others.")
    weights: tuple[Weight, ...] = _entries((), "How dear it is to move each device.")
    backup: Backup = Field(default_factory=Backup, description="What takes over when nothing near the request is safe.")
    emergency: Emergency = Field(default_factory=Emergency, description="The last resort.")
    telemetry: ShieldTelemetry | None = Field(None, description="A shield that knows the field by reports (default: it "
                                                                "stands in the field and sees the grid as it is).")


def shield_of(value: Any) -> Any:
    """`enforce` as `{mode: enforce}` (and YAML's `off`, which is false); lists as the tuples strict validation wants.

    What a function has looked at is no JSON to pydantic any more, and then a list is no tuple.
    """
    if value is False:  # what YAML's bare `off` would have been
        value = _mode_of(value)
    if value is None or isinstance(value, bool | int | float | list | tuple):
        raise ValueError(f"found {shown(value)}; expected enforce, observe or off, or a mapping (the same as its "
                         f"`mode` with limits beside it)")
    return {"mode": value} if isinstance(value, str) else _tupled(value)


def _tupled(value: Any) -> Any:
    """Plain data with every list as a tuple."""
    if isinstance(value, dict):
        return {key: _tupled(item) for key, item in value.items()}
    return tuple(map(_tupled, value)) if isinstance(value, list | tuple) else value
