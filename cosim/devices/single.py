"""A device written alone, in ten minutes: a plain class with five small methods, grouped for you.

::

    class Heater(SingleDevice):
        kind = "heater"
        summary = "Electric heater with a thermal store"
        Config = HeaterConfig                                   # derived from SingleConfig
        asks = (Ask("p_set_kw", "kW", Role.P_KW, -10.0, 0.0, "Consumption is negative"),)
        shows = (Measurement("temperature_c", "°C"),)

        def advance(self, dt_s): ...                            # self.p_kw is what flowed since the last call
        def limits(self): return -10.0, 0.0, 0.0, 0.0           # p_min_kw, p_max_kw, q_min_kvar, q_max_kvar
        def apply(self, setpoints, v_pu): return setpoints.get("p_set_kw", 0.0), 0.0
        def measure(self): return {"temperature_c": self.temperature_c}

`p_kw` and `q_kvar` are measured for you.  A group of n such devices costs n Python calls a SOLVE; derive from
`cosim.devices.base.Group` when there are hundreds.  Check it with `cosim.devices.conformance.check_device`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, TypeVar

import numpy as np

from cosim.devices.base import Group, PlacedConfig, Reasons, hold_above, hold_below
from cosim.errors import PluginError
from cosim.plugins import DeviceConfig, Envelope, Injection, Measurement, Role, Setpoint, Site
from cosim.points import Vector

Result = TypeVar("Result")


class SingleConfig(PlacedConfig):
    """Base of the options of a `SingleDevice`: where it stands.  Add your own fields, units in their names."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A setpoint of a `SingleDevice`, with the range that is accepted at all."""

    suffix: str
    unit: str
    role: Role
    low: float
    high: float
    description: str = ""
    binary: bool = False


class SingleDevice:
    """One device.  Override what it needs; the defaults inject nothing.

    Read-only for you: `config`, `site`, and what the last SOLVE settled: `p_kw`, `q_kvar` (into the grid), `v_pu` (NaN
    without voltage), `t_us`.
    """

    family: ClassVar[str] = "device"
    kind: ClassVar[str]
    summary: ClassVar[str] = ""
    Config: ClassVar[type[DeviceConfig]] = SingleConfig
    table: ClassVar[str] = "sgen"
    """Which table of the network `element` names: sgen or load."""
    asks: ClassVar[tuple[Ask, ...]] = ()
    shows: ClassVar[tuple[Measurement, ...]] = ()
    voltage_dependent: ClassVar[bool] = False
    """True when `apply` looks at `v_pu`."""

    def __init__(self, config: Any, site: Site) -> None:
        self.config, self.site = config, site
        self.p_kw = self.q_kvar = 0.0
        self.v_pu = float("nan")
        self.t_us = 0

    @classmethod
    def build(cls, configs: Sequence[Any], site: Site) -> SingleGroup:
        """The group of all devices of this class."""
        return SingleGroup(cls, configs, site)

    def advance(self, dt_s: float) -> None:
        """`dt_s` seconds have passed with `self.p_kw` held; also called once at the start, with 0."""

    def limits(self) -> tuple[float, float, float, float]:
        """(p_min_kw, p_max_kw, q_min_kvar, q_max_kvar) that could be injected from now on."""
        return 0.0, 0.0, 0.0, 0.0

    def apply(self, setpoints: dict[str, float], v_pu: float) -> tuple[float, float]:  # noqa: ARG002 - the interface has it
        """(p_kw, q_kvar) into the grid at those setpoints (only those commanded).  Pure: change nothing here."""
        return 0.0, 0.0

    def measure(self) -> dict[str, float]:
        """A value for every measurement in `shows`."""
        return {}


class SingleGroup(Group):
    """n devices of one `SingleDevice` class behind the contract of a group."""

    def __init__(self, device: type[SingleDevice], configs: Sequence[Any], site: Site) -> None:
        self.kind, self.table = device.kind, device.table  # type: ignore[misc]  # per class here, per group
        super().__init__(configs, site)
        self._devices = [_guarded(config.name, "__init__", device, config, site) for config in configs]
        self.voltage_dependent = device.voltage_dependent
        self.measurements = (Measurement("p_kw", "kW", "Active power into the grid"),
                             Measurement("q_kvar", "kvar", "Reactive power into the grid"), *device.shows)
        self._suffixes = tuple(ask.suffix for ask in device.asks)
        self._shown = tuple(measurement.suffix for measurement in device.shows)
        ones = np.ones(self.n)
        self._declare(*(Setpoint(ask.suffix, ask.unit, ask.role, ask.low * ones, ask.high * ones, ask.description,
                                 ask.binary) for ask in device.asks))
        self._power_rows = [(i, ask.role) for i, ask in enumerate(device.asks) if ask.role in _BOUNDED]
        self._limits = np.zeros((4, self.n))

    def envelope(self) -> Envelope:
        """The devices' own `limits`."""
        p_min, p_max, q_min, q_max = self._limits.copy()
        return Envelope(p_min, p_max, q_min, q_max, np.full(self.n, np.inf))

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """Each device's `apply` with the setpoints it was given."""
        out = np.zeros((2, self.n))
        for i, (device, values, v) in enumerate(zip(self._devices, setpoints.T.tolist(), v_pu.tolist(), strict=True)):
            if v == v:  # de-energised: nothing is injected, so nobody is asked
                asked = {suffix: value for suffix, value in zip(self._suffixes, values, strict=True) if value == value}
                out[:, i] = _guarded(self.names[i], "apply", _two, device.apply, asked, v)
        return Injection(out[0], out[1])

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """Tell each device what flows."""
        super().settle(setpoints, injection, v_pu, t_us)
        rows = zip(self._devices, self.p_kw.tolist(), self.q_kvar.tolist(), v_pu.tolist(), strict=True)
        for device, p_kw, q_kvar, v in rows:
            device.p_kw, device.q_kvar, device.v_pu = p_kw, q_kvar, v

    def measure(self, out: Vector) -> None:
        """p, q and each device's own measurements."""
        super().measure(out)
        for i, device in enumerate(self._devices):
            shown = _guarded(self.names[i], "measure", device.measure)
            if shown.keys() != set(self._shown):
                raise PluginError(f"device '{self.names[i]}' ({self.kind}): measure gave {sorted(shown)}; expected "
                                  f"{sorted(self._shown)} (`shows`)")
            for row, suffix in enumerate(self._shown, 2):
                out[row, i] = _guarded(self.names[i], "measure", float, shown[suffix])

    def _elapse(self, dt_us: int, t_us: int) -> None:
        for i, device in enumerate(self._devices):
            device.t_us = t_us
            _guarded(self.names[i], "advance", device.advance, dt_us / 1e6)
            self._limits[:, i] = limits = _guarded(self.names[i], "limits", _four, device.limits)
            if not (limits[0] <= limits[1] and limits[2] <= limits[3]):
                raise PluginError(f"device '{self.names[i]}' ({self.kind}): limits gave {limits}; expected p_min_kw <= "
                                  "p_max_kw and q_min_kvar <= q_max_kvar")

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        for row, role in self._power_rows:
            low, high = self._limits[:2] if role is not Role.Q_KVAR else self._limits[2:]
            if role is not Role.P_CAP_KW:  # a cap above what is possible does no harm
                hold_below(possible[row], reason[row], high)
            hold_above(possible[row], reason[row], low)


_BOUNDED = (Role.P_KW, Role.Q_KVAR, Role.P_CAP_KW)


def _two(
    apply: Callable[[dict[str, float], float], tuple[float, float]], asked: dict[str, float], v_pu: float
) -> tuple[float, float]:
    p_kw, q_kvar = apply(asked, v_pu)
    if not (isfinite(p_kw) and isfinite(q_kvar)):
        raise ValueError(f"gave {p_kw}, {q_kvar}; expected finite (p_kw, q_kvar)")
    return p_kw, q_kvar


def _four(limits: Callable[[], Sequence[float]]) -> tuple[float, float, float, float]:
    p_min_kw, p_max_kw, q_min_kvar, q_max_kvar = limits()
    return float(p_min_kw), float(p_max_kw), float(q_min_kvar), float(q_max_kvar)


def _guarded(name: str, method: str, call: Callable[..., Result], *arguments: Any) -> Result:
    """The call's result; whatever a foreign method raises becomes a PluginError that names device and method."""
    try:
        return call(*arguments)
    except Exception as error:
        raise PluginError(f"device '{name}': {method} failed: {type(error).__name__}: {error}") from error
