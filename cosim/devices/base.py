"""What the built-in device groups share: options read into arrays, placement, static ranges, default behaviour.

A kind is one class: the entry point names it, `build` makes the group of all its devices, and the group is an
instance of it.  Arrays are (n,) in scenario order, setpoints and measurements (rows, n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cosim.errors import PluginError
from cosim.plugins import (
    DeviceConfig,
    Envelope,
    Injection,
    Limit,
    Measurement,
    Placement,
    Role,
    Setpoint,
    Site,
)
from cosim.points import Vector
from cosim.state import Topology

Reasons = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]

HOUR_US = 3_600_000_000
SECOND_US = 1_000_000
#: Intervals gathered before counters are worked out: many at a time cost a fraction of one by one.
COUNTED_AT_ONCE = 256
#: Rows that are added up one by one at less cost than together.
FEW = 4
#: A time that never comes.
NEVER_US = 2**63 - 1
CAPABILITY = np.uint8(Limit.CAPABILITY.value)


class PlacedConfig(DeviceConfig):
    """Options of a device that stands at a bus, or takes the place of an element of the network."""

    bus: str | int | None = Field(None, description="Bus that the device stands at, by name or index.")
    element: str | int | None = Field(
        None, description="Network element that the device takes the place of, instead of `bus`: its bus and its "
                          "own values become the device's defaults, and its own injection ends.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.bus is None) == (self.element is None):
            raise ValueError("give either `bus` (where it stands) or `element` (what it replaces)")
        return self


class Group:
    """Base of the built-in groups.  A subclass reads its options, then calls `_declare`, and defines `apply`."""

    family: ClassVar[str] = "device"
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[DeviceConfig]]
    table: ClassVar[str] = ""
    """Table of the network that `element` names."""

    restricts = True
    voltage_dependent = False
    measurements: tuple[Measurement, ...] = ()

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        self.names: tuple[str, ...] = tuple(config.name for config in configs)
        self.n = len(configs)
        self.placement: Placement = self._place(configs, site)
        self.setpoints: tuple[Setpoint, ...] = ()
        self.t_us: int | None = None
        self.p_kw: Vector = np.zeros(self.n)
        self.q_kvar: Vector = np.zeros(self.n)
        self.v_pu: Vector = np.full(self.n, np.nan)
        self._low = self._high = np.empty((0, self.n))
        self._unmoved: Reasons = np.zeros((0, self.n), np.uint8)

    def __init_subclass__(cls, **options: Any) -> None:
        """Who restricts or measures in its own way, and says nothing of the short cut, has none."""
        super().__init_subclass__(**options)
        own = vars(cls)
        if "_restrict" in own and "_fits" not in own:
            cls._fits = Group._fits  # type: ignore[method-assign]  # the short cut is off
        if "measure" in own and "measure_rows" not in own:
            cls.measure_rows = Group.measure_rows  # type: ignore[method-assign]  # the short cut is off

    @classmethod
    def build(cls, configs: Sequence[Any], site: Site) -> Self:
        """The group of all devices of this kind; raises PluginError with the device's name in it."""
        return cls(configs, site)

    def advance(self, t_us: int) -> None:
        """Move the inner state to `t_us` with the power settled at the last SOLVE."""
        dt_us = 0 if self.t_us is None else t_us - self.t_us
        assert dt_us >= 0, f"{self.kind}: advanced to {t_us} us after {self.t_us} us"
        self.t_us = t_us
        self._elapse(dt_us, t_us)

    def envelope(self) -> Envelope:
        """Nothing but zero; kinds that inject override it."""
        zero = np.zeros(self.n)
        return Envelope(zero, zero, zero, zero, np.full(self.n, np.inf))

    def limit(self, wanted: Vector) -> tuple[Vector, Reasons]:
        """`wanted` (n_setpoint, n) within the static ranges, then within what the kind can do now (`_restrict`).

        What fits as it is comes back itself, with reasons that are not to be written into.
        """
        if self._fits(wanted):
            return wanted, self._unmoved
        possible = np.array(wanted, np.float64)
        over, under = possible > self._high, possible < self._low
        np.copyto(possible, self._high, where=over)
        np.copyto(possible, self._low, where=under)
        reason = (over | under).view(np.uint8)  # True is 1 is Limit.CAPABILITY
        self._restrict(possible, reason)
        return possible, reason

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:  # noqa: ARG002 - the interface has it
        """Nothing is injected; kinds that inject override it."""
        zero = np.zeros(self.n)
        return Injection(zero, zero)

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:  # noqa: ARG002 - the interface has it
        """Nothing moves; kinds that switch override it."""
        return topology

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector,  # noqa: ARG002 - the interface has them
               t_us: int) -> None:  # noqa: ARG002 - the interface has it
        """Keep what flows until the next SOLVE: nothing at a bus that this SOLVE left without voltage."""
        self.p_kw, self.q_kvar, self.v_pu = injection.p_kw, injection.q_kvar, v_pu
        if any_dead(v_pu):
            dead = np.isnan(v_pu)
            self.p_kw, self.q_kvar = np.where(dead, 0.0, self.p_kw), np.where(dead, 0.0, self.q_kvar)

    def measure(self, out: Vector) -> None:
        """Power in the first two rows; kinds with more override it."""
        out[0], out[1] = self.p_kw, self.q_kvar

    def measure_rows(self, out: Vector, rows: Sequence[int]) -> None:  # noqa: ARG002 - kinds with dear rows read it
        """As `measure`, of which only `rows` are looked at."""
        self.measure(out)

    def next_us(self) -> int | None:
        """No timers."""
        return None

    # -- for the kinds ------------------------------------------------------------------------------------------------

    def _place(self, configs: Sequence[Any], site: Site) -> Placement:
        return place(configs, site, self.table)

    def _declare(self, *setpoints: Setpoint) -> None:
        self.setpoints = setpoints
        self._low = np.array([setpoint.low for setpoint in setpoints]).reshape(len(setpoints), self.n)
        self._high = np.array([setpoint.high for setpoint in setpoints]).reshape(len(setpoints), self.n)
        self._unmoved = np.zeros((len(setpoints), self.n), np.uint8)
        self._unmoved.flags.writeable = False

    def _elapse(self, dt_us: int, t_us: int) -> None:
        """`dt_us` have passed at the settled power; it is `t_us` now."""

    def _fits(self, wanted: Vector) -> bool:  # noqa: ARG002 - kinds that can tell read it
        """Whether it is plain at a glance that all of `wanted` can be followed; False where one has to look closer."""
        return False

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        """Change `possible` and `reason` in place where the devices cannot follow."""


# -- options into arrays ----------------------------------------------------------------------------------------------


def column(configs: Sequence[Any], field: str) -> Vector:
    """One numeric option of all devices, (n,); None becomes NaN."""
    values = [getattr(config, field) for config in configs]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def filled(values: Vector, default: Vector | float) -> Vector:
    """`values` (n,) with `default` where they are NaN (an option that was not given)."""
    return np.where(np.isnan(values), default, values)


def micros(configs: Sequence[Any], field: str) -> Ids:
    """One option in seconds of all devices as whole microseconds, (n,)."""
    return np.rint(column(configs, field) * SECOND_US).astype(np.int64)


def sampler(configs: Sequence[Any], field: str, site: Site) -> Callable[[int], Vector] | None:
    """Sampler of one profile option, constant 1 where a device has none; None when no device has one."""
    specs = [getattr(config, field) for config in configs]
    return site.profile(specs) if any(spec is not None for spec in specs) else None


def setpoint(suffix: str, unit: str, role: Role, span: tuple[Vector, Vector], description: str) -> Setpoint:
    """A setpoint with the static range `span` (low and high, each (n,))."""
    return Setpoint(suffix, unit, role, span[0], span[1], description)


def switch(suffix: str, n: int, role: Role, description: str) -> Setpoint:
    """A binary setpoint."""
    return Setpoint(suffix, "", role, np.zeros(n), np.ones(n), description, binary=True)


def place(configs: Sequence[Any], site: Site, table: str) -> Placement:
    """Where devices with `PlacedConfig` options stand; `table` (load, sgen, gen, shunt) is what `element` names."""
    bus = np.empty(len(configs), np.int64)
    owned: dict[int, str] = {}
    gen = np.full(len(configs), -1, np.int64)
    for i, config in enumerate(configs):
        if config.element is None:
            bus[i] = at_bus(config.name, config.bus, site)
            continue
        element = find_element(config.name, table, config.element, site)
        if element in owned:
            raise PluginError(f"device '{config.name}': {table} '{config.element}' is taken over by device "
                              f"'{owned[element]}' already; each element can have one device")
        owned[element] = config.name
        bus[i] = getattr(site.network, f"{table}s").bus[element]
        gen[i] = element if table == "gen" else -1
    taken = tuple(sorted(owned))
    device = {config.name: i for i, config in enumerate(configs)}
    return Placement(bus, gen, taken if table == "load" else (), taken if table == "sgen" else (),
                     tuple((device[name], table, element) for element, name in owned.items()))


def at_bus(name: str, bus: str | int, site: Site) -> int:
    """Index of the bus; raises PluginError that names the device."""
    try:
        return site.bus(bus)
    except PluginError as error:
        raise PluginError(f"device '{name}': {error}") from None


def find_element(name: str, table: str, element: str | int, site: Site) -> int:
    """Index of a network element, by name, index or ``table.name``; a PluginError names the device."""
    wanted = element.removeprefix(f"{table}.") if isinstance(element, str) else element
    try:
        return site.element(table, wanted)
    except PluginError as error:
        raise PluginError(f"device '{name}': {error}") from None


def elements(configs: Sequence[Any], site: Site, table: str) -> Ids:
    """Index (n,) of the element of each device, -1 for those at a bus."""
    return np.array([-1 if config.element is None else find_element(config.name, table, config.element, site)
                     for config in configs], np.int64)


def own_values(index: Ids, values: Vector) -> Vector:
    """The network's `values` of the devices' elements, NaN for devices at a bus."""
    return np.array([values[i] if i >= 0 else np.nan for i in index], np.float64)


def require(configs: Sequence[Any], values: Vector, field: str, *, above: float = -np.inf) -> Vector:
    """`values` (n,) when all are finite and over `above`; raises PluginError that names the first that is not."""
    for config, value in zip(configs, values, strict=True):
        if not (np.isfinite(value) and value > above):
            least = f" above {above:g}" if above > -np.inf else ""
            raise PluginError(f"device '{config.name}' ({config.kind}): `{field}` is not given and the network's own "
                              f"is {value:g}; expected a finite number{least}")
    return values


# -- arithmetic -------------------------------------------------------------------------------------------------------


def hold_below(row: Vector, reason: Reasons, high: Vector, why: np.uint8 | Reasons = CAPABILITY) -> None:
    """Lower `row` (n,) to `high` in place and note why; NaN stays, what fits keeps every bit."""
    over = row > high
    np.copyto(row, high, where=over)
    np.copyto(reason, why, where=over)


def hold_above(row: Vector, reason: Reasons, low: Vector, why: np.uint8 | Reasons = CAPABILITY) -> None:
    """Raise `row` (n,) to `low` in place and note why."""
    under = row < low
    np.copyto(row, low, where=under)
    np.copyto(reason, why, where=under)


def whole(row: Vector, reason: Reasons) -> None:
    """Round a row of positions in place; what was no whole number is noted."""
    rounded = np.rint(row)
    moved = rounded != row
    moved &= row == row  # NaN is no request
    np.copyto(row, rounded, where=moved)
    np.copyto(reason, CAPABILITY, where=moved)


def room(s_kva: Vector, used: Vector) -> Vector:
    """What the kVA circle leaves beside `used`, (n,)."""
    return np.asarray(np.sqrt(np.maximum(s_kva * s_kva - used * used, 0.0)))


def within(values: Vector, span: Vector) -> Vector:
    """`values` clipped to ±`span`."""
    return np.asarray(np.minimum(np.maximum(values, -span), span))


def beyond(values: Vector, low: Vector, high: Vector) -> bool:
    """Whether any value lies outside its range; NaN, nothing asked, lies within."""
    return bool(np.count_nonzero((values < low) | (values > high)))


def counted(start: Vector, terms: Vector) -> Vector:
    """`start` (n,) and then each row of `terms` (k, n) added one after the other, to the bit; returns (n,)."""
    if len(terms) <= FEW:
        for row in terms:
            start = start + row
        return start
    return np.asarray(np.add.accumulate(np.concatenate((start[None], terms)))[-1])


def any_dead(v_pu: Vector) -> bool:
    """Whether any voltage is NaN: one dot product, since in the usual second of a run there is none."""
    return not isfinite(v_pu.dot(v_pu))


def energised(values: Vector, v_pu: Vector) -> Vector:
    """`values` with 0 where the voltage is NaN (nothing flows without voltage)."""
    return np.where(np.isnan(v_pu), 0.0, values)
