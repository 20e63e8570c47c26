"""Inverter functions that can be set while the run goes: what a SunSpec client (models 704, 705, 706, 712) drives.

A group in which any device has ``remote_functions: true`` declares the setpoints of `RemoteFunctions.setpoints`, for
all of its devices.  A device without the option takes no such command: its ranges are the single value that it has
already, and nothing changes by it.  NaN, nothing asked, is always what the device's options say.

Which function gives the reactive power, the first that applies: `q_set_kvar`; `pf_set`; volt-var where it is on;
watt-var where it is on; the fixed power factor of the device's mode.  The volt-watt cap holds always where it is on.
A device with ``connect`` 0 injects nothing, whatever else is asked.

Changes do not jump where a function lags: reactive power goes on from what flows, the cap from where it stood.  A
function that is switched off ends at once.  `volt_var_olrt_s` is that of volt-var; watt-var keeps the option `olrt_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from cosim.devices.base import CAPABILITY, SECOND_US, Mask, Reasons, column
from cosim.devices.inverter_functions import Functions
from cosim.devices.inverter_laws import (
    Laws,
    Reactive,
    has_volt_var,
    has_volt_watt,
    has_watt_var,
    own_factor,
    p_at_factor,
    rates,
)
from cosim.devices.inverter_shapes import Form, Shape
from cosim.plugins import Role, Setpoint
from cosim.points import Vector

#: Rows of the group's setpoints before these: p_set_kw, q_set_kvar.
FIRST: Final = 2
CONNECT, PF, VOLT_VAR_ON, VOLT_WATT_ON, WATT_VAR_ON = range(5)
#: Points: voltages in pu and shares of the power at which per-unit curves are 1.
VOLT_VAR = Form("volt_var", 4, 0.0, 2.0, 0.001)
VOLT_WATT = Form("volt_watt", 2, 0.0, 2.0, 0.001)
WATT_VAR = Form("watt_var", 3, 0.0, 2.0, 0.01)
OLRT_MOST_S = 3600.0
#: Smallest power factor, where the inverter could do without any active power.
LEAST_FACTOR = 0.01
#: Compiled settings that are kept: what is in force, and what a shield tries beside it.
KEPT = 4

T = TypeVar("T")


class RemoteFunctions(Functions):
    """Functions of a group of which some can be set.  `s_kva`, `p_top_kw` (n,) as in `Functions`."""

    def __init__(self, configs: Sequence[Any], s_kva: Vector, p_top_kw: Vector, step_us: int) -> None:
        n, q_max = len(configs), column(configs, "q_max_pu")
        self._step_s = step_us / SECOND_US
        self._remote: Mask = np.array([config.remote_functions for config in configs], bool)
        self._own_on = [np.array([has(config) for config in configs], bool)
                        for has in (has_volt_var, has_volt_watt, has_watt_var)]
        self._own_factor = np.array([own_factor(config) for config in configs], np.float64)
        self._olrt_s, self._cap_olrt_s = column(configs, "olrt_s"), column(configs, "volt_watt_olrt_s")
        # Where q_max passes for the whole rating, a factor of nothing would leave no active power to speak of.
        self._least = np.maximum(np.sqrt(np.maximum(1.0 - q_max**2, 0.0)), LEAST_FACTOR)
        self._shapes = (Shape(VOLT_VAR, configs, -q_max, q_max),
                        Shape(VOLT_WATT, configs, np.zeros(n), np.ones(n)),
                        Shape(WATT_VAR, configs, -q_max, q_max))
        self._slices = tuple(_slices())
        self._compiled: dict[bytes, Laws] = {}
        self._held: dict[bytes, tuple[Vector, Mask] | None] = {}
        self._s_kva = s_kva
        self.setpoints: tuple[Setpoint, ...] = tuple(self._declared())
        super().__init__(self._compile(np.full((len(self.setpoints), n), np.nan)), s_kva, p_top_kw)

    @property
    def voltage_dependent(self) -> bool:
        """Always: a direct function can be switched on at any time."""
        return True

    def at(self, setpoints: Vector) -> Laws:
        """The laws at setpoints (n_setpoint, n); made once for each setting of the functions."""
        rows = setpoints[FIRST:]
        return _kept(self._compiled, rows, self._compile)

    def settled(self, setpoints: Vector, v_pu: Vector) -> None:
        """The laws now in force, and the caps that flow goes on from should they begin to lag."""
        laws = self.at(setpoints)
        if laws is not self._laws:
            self._laws, self._q_lagging = laws, np.where(laws.moves, self._q_now, 0.0)
        direct: Vector | float = 1.0
        if laws.cap_direct is not None:
            direct = laws.cap_direct.at(np.where(np.isnan(v_pu), 1.0, v_pu))
        self._cap_now = np.where(laws.cap_moves, self._cap_now, direct)

    def restrict(self, possible: Vector, reason: Reasons) -> None:
        """Nearest usable switches, factors and curves, in place; the reason is CAPABILITY."""
        rows = possible[FIRST:]
        held = _kept(self._held, rows, self._nearest)
        if held is not None:
            np.copyto(rows, held[0])
            np.copyto(reason[FIRST:], CAPABILITY, where=held[1])

    # -- what can be set -----------------------------------------------------------------------------------------------

    def _declared(self) -> Iterator[Setpoint]:
        own = [on.astype(np.float64) for on in self._own_on]
        ones = np.ones(self._remote.size)
        yield self._switch("connect", ones, "Energise (1) or cease to energise (0)")
        yield Setpoint("pf_set", "", Role.OTHER, *self._range(-1.0, 1.0, ones), "Displacement factor held; positive "
                       "injects reactive power, negative absorbs")
        yield self._switch("volt_var_on", own[0], "Volt-var on (1) or off (0)")
        yield self._switch("volt_watt_on", own[1], "Volt-watt on (1) or off (0)")
        yield self._switch("watt_var_on", own[2], "Watt-var on (1) or off (0)")
        per = (("voltage", "reactive power per s_rated_kva"), ("voltage", "active power cap per rated power"),
               ("active power per rated power", "reactive power per s_rated_kva"))
        for shape, meanings in zip(self._shapes, per, strict=True):
            for axis, span, meaning in zip("xy", (shape.range_x(), shape.range_y()), meanings, strict=True):
                for k, (low, high) in enumerate(zip(*span, strict=True), 1):
                    yield Setpoint(f"{shape.form.field}_{axis}{k}", "pu", Role.OTHER, low, high,
                                   f"Point {k} of {shape.form.field}: {meaning}")
        for function, own_s in (("volt_var", self._olrt_s), ("volt_watt", self._cap_olrt_s)):
            yield Setpoint(f"{function}_olrt_s", "s", Role.OTHER, *self._range(0.0, OLRT_MOST_S, own_s),
                           f"Open-loop response time (to 90 %) of {function}; up to one scan counts as instantaneous")

    def _range(self, low: float, high: float, own: Vector) -> tuple[Vector, Vector]:
        return np.where(self._remote, low, own), np.where(self._remote, high, own)

    def _switch(self, suffix: str, own: Vector, description: str) -> Setpoint:
        return Setpoint(suffix, "", Role.OTHER, *self._range(0.0, 1.0, own), description, binary=True)

    # -- what is made of it --------------------------------------------------------------------------------------------

    def _compile(self, rows: Vector) -> Laws:
        """The laws at the functions' setpoints (n_row, n)."""
        rows = np.where(self._remote, rows, np.nan)
        asked_factor = self._usable_factor(rows[PF])
        volt_var, volt_watt, watt_var = (
            np.where(np.isnan(row), own, row >= 0.5)
            for row, own in zip(rows[VOLT_VAR_ON:WATT_VAR_ON + 1], self._own_on, strict=True))
        free = np.isnan(asked_factor)
        factor = np.where(free & ~volt_var & ~watt_var, self._own_factor, asked_factor)
        watt_var = watt_var & free & ~volt_var
        volt_var = volt_var & free
        asked_s, asked_cap_s = rows[-2:]
        olrt_s = np.where(volt_var & ~np.isnan(asked_s), asked_s, self._olrt_s)
        cap_s = np.where(np.isnan(asked_cap_s), self._cap_olrt_s, asked_cap_s)
        lags, cap_lags = olrt_s > self._step_s, cap_s > self._step_s
        made = [(shape, rows[x], rows[y]) for shape, (x, y) in zip(self._shapes, self._slices, strict=True)]
        direct, lagged = (Reactive(_curves(made[0], volt_var & mine, 0.0), _curves(made[2], watt_var & mine, 0.0))
                          for mine in (~lags, lags))
        cap_direct, cap_lagged = (_curves(made[1], volt_watt & mine, 1.0) for mine in (~cap_lags, cap_lags))
        tan, off = _tangent(factor), rows[CONNECT] < 0.5
        any_pf = bool((tan != 0).any())
        return Laws(direct, lagged, cap_direct, cap_lagged, tan, p_at_factor(self._s_kva, tan),
                    lags & (volt_var | watt_var), cap_lags & volt_watt, rates(olrt_s), rates(cap_s),
                    off if off.any() else None, any_pf, pf_yields=any_pf)

    def _nearest(self, rows: Vector) -> tuple[Vector, Mask] | None:
        """The nearest usable setpoints (n_row, n) and where they are others; None where all are usable."""
        out = rows.copy()
        for row in (CONNECT, VOLT_VAR_ON, VOLT_WATT_ON, WATT_VAR_ON):
            out[row] = np.rint(rows[row])
        out[PF] = self._usable_factor(rows[PF])
        for shape, (x, y) in zip(self._shapes, self._slices, strict=True):
            shape.hold(out[x], out[y])
        moved = (out != rows) & ~np.isnan(rows)
        return (np.where(moved, out, rows), moved) if moved.any() else None

    def _usable_factor(self, factor: Vector) -> Vector:
        """The nearest factor that the reactive power suffices for; without sign, injecting."""
        short = self._remote & (np.abs(factor) < self._least)
        return np.where(short, np.where(factor < 0, -self._least, self._least), factor)


def _slices() -> Iterator[tuple[slice, slice]]:
    """Rows of each curve's x and y, after the switches."""
    at = WATT_VAR_ON + 1
    for form in (VOLT_VAR, VOLT_WATT, WATT_VAR):
        yield slice(at, at + form.n_point), slice(at + form.n_point, at + 2 * form.n_point)
        at += 2 * form.n_point


def _curves(made: tuple[Shape, Vector, Vector], use: Mask, otherwise: float) -> Any:
    shape, x, y = made
    return shape.curves(x, y, use, otherwise)


def _tangent(factor: Vector) -> Vector:
    """q per p at a factor (n,), positive injecting; 0 where it is NaN."""
    tan = np.sqrt(np.maximum(1.0 / factor**2 - 1.0, 0.0))
    return np.where(np.isnan(factor), 0.0, np.copysign(tan, factor))


def _kept(memory: dict[bytes, T], rows: Vector, make: Callable[[Vector], T]) -> T:
    """`make(rows)`, or what it made of the same bytes lately."""
    key = rows.tobytes()
    if key not in memory:
        made = make(rows)
        while len(memory) >= KEPT:
            del memory[next(iter(memory))]
        memory[key] = made
    return memory[key]
