"""The autonomous functions of a group of inverters as curves and factors, without state.

Each is a curve for every device, flat where a device does not have it, so that they add up without a mask: the
reactive ones to zero, the volt-watt cap to the rating.  A function whose open-loop response time is longer than the
scan is lagged (`Functions` keeps its state), else it is direct: its answer belongs to the voltage of the same SOLVE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.devices.base import SECOND_US, Mask, column
from cosim.devices.curves import Curves, Points, flat
from cosim.points import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Reactive:
    """Volt-var and watt-var of a group's devices, zero where a device has neither; None where no device has it."""

    volt_var: Curves | None
    watt_var: Curves | None

    @property
    def any(self) -> bool:
        """Whether any device has either."""
        return self.volt_var is not None or self.watt_var is not None

    def pu(self, p_pu: Vector, v_pu: Vector) -> Vector:
        """Reactive power per s_rated_kva, (n,)."""
        q: Vector | None = None if self.volt_var is None else self.volt_var.at(v_pu)
        if self.watt_var is not None:
            of_p = self.watt_var.at(p_pu)
            q = of_p if q is None else q + of_p
        assert q is not None, "asked only where `any`"
        return q


@dataclass(frozen=True, slots=True, eq=False)
class Laws:
    """What a group's devices do by themselves; arrays (n,).

    `tan` is q per p of a fixed power factor (0: unity); `moves` and `cap_moves` say whose reactive power and whose cap
    lag, at the rates `rate_q` and `rate_cap` per microsecond; `off` (None: nobody) who has ceased to energise.
    """

    direct: Reactive
    lagged: Reactive
    cap_direct: Curves | None
    cap_lagged: Curves | None
    tan: Vector
    p_at_pf_kw: Vector
    """Most active power at which the factor can be kept; inf without one."""
    moves: Mask
    cap_moves: Mask
    rate_q: Vector
    rate_cap: Vector
    off: Mask | None = None
    any_pf: bool = False
    pf_yields: bool = False
    """Whether a command of reactive power frees the active power from the factor too."""

    @property
    def voltage_dependent(self) -> bool:
        """Whether any answer follows the voltage of the same SOLVE."""
        return self.direct.volt_var is not None or self.cap_direct is not None


def configured(configs: Sequence[Any], s_kva: Vector, step_us: int) -> Laws:
    """The laws as the devices' options say."""
    step_s = step_us / SECOND_US
    lagged = [config.olrt_s > step_s for config in configs]
    cap_lagged = [config.volt_watt_olrt_s > step_s for config in configs]
    has = np.array([has_volt_var(config) or has_watt_var(config) for config in configs], bool)
    caps = np.array([has_volt_watt(config) for config in configs], bool)
    tan = _tangents(configs)
    return Laws(_reactive(configs, [not lag for lag in lagged]), _reactive(configs, lagged),
                _volt_watt(configs, [not lag for lag in cap_lagged]), _volt_watt(configs, cap_lagged),
                tan, p_at_factor(s_kva, tan), np.array(lagged, bool) & has, np.array(cap_lagged, bool) & caps,
                rates(column(configs, "olrt_s")), rates(column(configs, "volt_watt_olrt_s")),
                any_pf=bool((tan != 0).any()))


def has_volt_var(config: Any) -> bool:
    """Whether the configured mode has volt-var."""
    return "volt_var" in config.mode


def has_watt_var(config: Any) -> bool:
    """Whether the configured mode is watt-var."""
    return bool(config.mode == "watt_var")


def has_volt_watt(config: Any) -> bool:
    """Whether the configured mode has volt-watt."""
    return bool(config.mode.endswith("volt_watt"))


def own_factor(config: Any) -> float:
    """The configured fixed factor, positive injecting, NaN where the mode has none."""
    if config.mode != "fixed_power_factor":
        return float("nan")
    return float(config.power_factor if config.power_factor_sign == "inject" else -config.power_factor)


def p_at_factor(s_kva: Vector, tan: Vector) -> Vector:
    """Most active power (n,) within the kVA circle at q = p tan; inf where there is no factor to keep."""
    return np.where(tan == 0, np.inf, s_kva / np.hypot(1.0, tan))


def rates(olrt_s: Vector) -> Vector:
    """Decay per microsecond of a first-order lag that reaches 90 % in `olrt_s`; 0 for no lag (unused)."""
    olrt_us = olrt_s * SECOND_US
    return np.divide(np.log(10.0), olrt_us, out=np.zeros_like(olrt_us), where=olrt_us > 0)


def _reactive(configs: Sequence[Any], mine: Sequence[bool]) -> Reactive:
    pairs = list(zip(configs, mine, strict=True))
    return Reactive(_curves([c.volt_var for c in configs], [own and has_volt_var(c) for c, own in pairs], 0.0),
                    _curves([c.watt_var for c in configs], [own and has_watt_var(c) for c, own in pairs], 0.0))


def _volt_watt(configs: Sequence[Any], mine: Sequence[bool]) -> Curves | None:
    use = [own and has_volt_watt(config) for config, own in zip(configs, mine, strict=True)]
    return _curves([config.volt_watt for config in configs], use, 1.0)


def _curves(points: Sequence[Points], use: Sequence[bool], otherwise: float) -> Curves | None:
    if not any(use):
        return None
    return Curves([own if used else flat(otherwise) for own, used in zip(points, use, strict=True)])


def _tangents(configs: Sequence[Any]) -> Vector:
    """q per p of the devices with a fixed power factor, 0 elsewhere."""
    factors = [own_factor(config) for config in configs]
    return np.array([0.0 if factor != factor else (1 / factor**2 - 1) ** 0.5 * (1 if factor > 0 else -1)
                     for factor in factors], np.float64)
