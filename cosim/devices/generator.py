"""Dispatchable generators: limits, ramps, minimum up and down times, fuel and cost.

At a bus the device injects p and q; in place of a generator of the network (`element`) it holds that bus's voltage.
The ramp is counted from the last SOLVE: p may differ from it by at most ramp times elapsed time.  A unit that starts
may jump to `p_min_kw`; one that stops falls to zero at once (its breaker opens).

Cost is a P² + b P + c per hour while running, plus the cost of each start.  Fuel in litres per hour is
F0 · p_max + F1 · P, with the coefficients of HOMER's worked example for a diesel set (0.033, 0.273; homerenergy.com,
"Fuel curve intercept coefficient").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import (
    CAPABILITY,
    COUNTED_AT_ONCE,
    HOUR_US,
    SECOND_US,
    Group,
    Mask,
    PlacedConfig,
    Reasons,
    any_dead,
    beyond,
    column,
    counted,
    filled,
    hold_above,
    hold_below,
    micros,
    own_values,
    require,
    setpoint,
    switch,
    whole,
)
from cosim.errors import PluginError
from cosim.plugins import DeviceConfig, Envelope, Injection, Limit, Measurement, Role, Site
from cosim.points import PointKind, Vector
from cosim.state import Topology

RAMP, MIN_TIME = np.uint8(Limit.RAMP.value), np.uint8(Limit.MIN_TIME.value)
#: Reactive power per p_max of a unit at a bus that states no limits: power factor 0.9.
Q_PER_P = 0.484
V_RANGE_PU = (0.9, 1.1)
#: What its measurements show, in their order.
_ROWS = ("p_kw", "q_kvar", "on", "e_kwh", "fuel_l", "cost", "starts")
#: "Ever since": no unit waits for its first start or stop.
LONG_AGO_US = -(2**62)


class GeneratorConfig(PlacedConfig):
    """A dispatchable generator; for an `element`, the network's own limits and set points are the defaults."""

    kind: Literal["generator"] = "generator"
    p_min_kw: float | None = Field(None, description="Least power while running (default: the network's own, else 0).")
    p_max_kw: float | None = Field(None, gt=0, description="Most power (default for `element`: the network's own).")
    p_kw: float | None = Field(None, description="Power at the start and without a command (default: the network's "
                                                 "own, else p_min_kw).")
    q_min_kvar: float | None = Field(None, description="Least reactive power (default: the network's own, else -0.484 "
                                                       "p_max_kw, power factor 0.9).")
    q_max_kvar: float | None = Field(None, description="Most reactive power (default: the network's own, else 0.484 "
                                                       "p_max_kw).")
    v_set_pu: float | None = Field(None, ge=V_RANGE_PU[0], le=V_RANGE_PU[1],
                                   description="Voltage held without a command (only `element`; default: its own).")
    ramp_kw_per_s: float | None = Field(None, gt=0, description="Fastest change of power (default: any).")
    min_up_s: float = Field(0.0, ge=0, description="Once started, it runs at least this long.")
    min_down_s: float = Field(0.0, ge=0, description="Once stopped, it stays off at least this long.")
    on_at_start: bool = Field(True, description="Whether it runs at the start.")
    cost_a_per_kw2h: float = Field(0.0, ge=0, description="Cost per hour and kW².")
    cost_b_per_kwh: float = Field(0.0, description="Cost per kWh.")
    cost_c_per_h: float = Field(0.0, ge=0, description="Cost per running hour.")
    start_cost: float = Field(0.0, ge=0, description="Cost of each start.")
    fuel_f0_l_per_kwh: float = Field(0.033, ge=0, description="Fuel per running hour and kW of p_max_kw.")
    fuel_f1_l_per_kwh: float = Field(0.273, ge=0, description="Fuel per kWh generated.")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.bus is not None and self.p_max_kw is None:
            raise ValueError("p_max_kw is required for a device at a `bus`")
        if self.v_set_pu is not None and self.element is None:
            raise ValueError("v_set_pu: only a device in place of a network generator (`element`) regulates voltage")
        return self


class Generator(Group):
    """All dispatchable generators of a run."""

    kind: ClassVar[str] = "generator"
    summary: ClassVar[str] = "Dispatchable generator with ramp, minimum times, fuel and cost"
    Config: ClassVar[type[DeviceConfig]] = GeneratorConfig
    table = "gen"
    measurements = (
        Measurement("p_kw", "kW", "Active power into the grid"),
        Measurement("q_kvar", "kvar", "Reactive power into the grid"),
        Measurement("running", "", "1 while it runs", PointKind.BINARY_INPUT),
        Measurement("e_kwh", "kWh", "Energy fed in since the start", PointKind.COUNTER),
        Measurement("fuel_l", "l", "Fuel burnt since the start", PointKind.COUNTER),
        Measurement("cost", "", "Cost since the start", PointKind.COUNTER),
        Measurement("starts", "", "Starts since the start of the run", PointKind.COUNTER),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._read_limits(configs, site)
        ramp = column(configs, "ramp_kw_per_s")
        self._unramped: Mask = np.isnan(ramp)
        self._all_unramped = bool(self._unramped.all())
        self._ramp = filled(ramp, 0.0)
        self._standing: Topology | None = None
        """Positions that are known to agree while all units keep running."""
        self._min_up_us, self._min_down_us = micros(configs, "min_up_s"), micros(configs, "min_down_s")
        self._cost = [column(configs, f) for f in ("cost_a_per_kw2h", "cost_b_per_kwh", "cost_c_per_h", "start_cost")]
        self._fuel = column(configs, "fuel_f0_l_per_kwh") * self._p_max, column(configs, "fuel_f1_l_per_kwh")
        self.on: Mask = np.array([config.on_at_start for config in configs], bool)
        self.p_kw = np.where(self.on, self._p_default, 0.0)
        self._since_us = np.full(self.n, LONG_AGO_US, np.int64)
        self._e_kwh, self._fuel_l, self._money, self.starts = np.zeros((4, self.n))
        self._passed: list[tuple[Vector, Mask, float]] = []
        """Power, what ran and hours of intervals that the counters lack."""
        self._settled_us: int | None = None
        n, ones = self.n, np.ones(self.n)
        self._all_on, self._unasked = bool(self.on.all()), np.full(n, np.nan).tobytes()
        self._all_regulate, self._unknown = bool(self._regulates.all()), np.full(n, np.nan)
        #: Of p, q and v: what can be followed now, and what stands in for what is not asked.
        self._now_low, self._now_high = (np.array((p, q, v * ones)) for p, q, v in zip(
            (self._p_min, self._p_max), (self._q_min, self._q_max), V_RANGE_PU, strict=True))
        self._defaults = np.array((self._p_default, self._q_default, self._v_default))
        self._bound(0)
        self._declare(
            switch("on", n, Role.POSITION, "Run (1) or stop (0); stays as it is without a command"),
            setpoint("p_set_kw", "kW", Role.P_KW, (np.minimum(self._p_min, 0.0), self._p_max),
                     "Active power while running"),
            setpoint("q_set_kvar", "kvar", Role.Q_KVAR, (self._q_min, self._q_max),
                     "Reactive power (of no effect on a unit that regulates voltage)"),
            setpoint("v_set_pu", "pu", Role.V_PU, (V_RANGE_PU[0] * ones, V_RANGE_PU[1] * ones),
                     "Voltage held (of no effect on a unit at a `bus`)"))

    @property
    def e_kwh(self) -> Vector:
        """Energy fed in since the start (n,)."""
        self._count()
        return self._e_kwh

    @property
    def fuel_l(self) -> Vector:
        """Fuel burnt since the start (n,)."""
        self._count()
        return self._fuel_l

    @property
    def cost(self) -> Vector:
        """Cost since the start (n,)."""
        self._count()
        return self._money

    def envelope(self) -> Envelope:
        """What ramp and minimum times allow: nothing where it cannot start, from zero where it can stop."""
        held = self._held()
        can_run, can_stand = self.on | ~held, ~self.on | ~held
        low, high = self._p_now_min, self._p_now_max
        return Envelope(np.where(can_run, np.where(can_stand, np.minimum(low, 0.0), low), 0.0),
                        np.where(can_run, np.where(can_stand, np.maximum(high, 0.0), high), 0.0),
                        np.where(can_run, np.minimum(self._q_min, 0.0), 0.0),
                        np.where(can_run, np.maximum(self._q_max, 0.0), 0.0), np.full(self.n, np.inf))

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """Commanded or default power within limits and ramp; q NaN where the power flow decides it."""
        low, high, q = self._now_low, self._now_high, self._unknown
        p = np.minimum(np.maximum(self._asked(setpoints, 0), low[0]), high[0])
        if not self._all_regulate:
            q = np.minimum(np.maximum(self._asked(setpoints, 1), low[1]), high[1])
            q = np.where(self._regulates, np.nan, q)
        if not self._keeps_running(setpoints) or any_dead(v_pu):
            live = self._on_wanted(setpoints[0]) & ~np.isnan(v_pu)
            p, q = np.where(live, p, 0.0), np.where(live, q, 0.0)
        return Injection(p, q, self._asked(setpoints, 2))

    def _asked(self, setpoints: Vector, row: int) -> Vector:
        """What is asked of p, q or v (n,), the default where nothing is."""
        asked: Vector = setpoints[1 + row]
        default: Vector = self._defaults[row]
        if asked.tobytes() == self._unasked:
            return default
        return asked if isfinite(asked.dot(asked)) else np.where(np.isnan(asked), default, asked)

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """Generators of the network are in service while they run."""
        if topology is self._standing and self._keeps_running(setpoints):
            return topology
        gens = self.placement.gen[self._regulates]
        on = self._on_wanted(setpoints[0])[self._regulates]
        if np.array_equal(topology.gen_closed[gens], on):
            if self._keeps_running(setpoints):
                self._standing = topology
            return topology
        closed = topology.gen_closed.copy()
        closed[gens] = on
        return replace(topology, gen_closed=closed)

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """Count starts, and remember since when a unit runs or stands."""
        super().settle(setpoints, injection, v_pu, t_us)
        self._settled_us = t_us
        if self._keeps_running(setpoints):
            return
        on = self._on_wanted(setpoints[0])
        changed = on != self.on
        if changed.any():
            started = changed & on
            self.starts = self.starts + started
            self._money = self.cost + started * self._cost[3]
            self._since_us[changed] = t_us
            self.on, self._all_on, self._standing = on, bool(on.all()), None

    def standing(self) -> Vector:
        """Whether units run; nothing of the other setpoints."""
        nothing = np.full(self.n, np.nan)
        return np.array([self.on, nothing, nothing, nothing], np.float64)

    def measure(self, out: Vector) -> None:
        """p, q, running and the counters."""
        Generator.measure_rows(self, out, range(len(_ROWS)))  # not what a kind made of it

    def measure_rows(self, out: Vector, rows: Sequence[int]) -> None:
        """As `measure`, of these rows."""
        for row in rows:
            out[row] = getattr(self, _ROWS[row])

    def _on_wanted(self, on_set: Vector) -> Mask:
        return np.where(np.isnan(on_set), self.on, on_set >= 0.5)

    def _held(self) -> Mask:
        """Whether a minimum time forbids to start or stop now."""
        assert self.t_us is not None, "asked after advance"
        for_us = self.t_us - self._since_us
        return np.where(self.on, for_us < self._min_up_us, for_us < self._min_down_us)

    def _elapse(self, dt_us: int, t_us: int) -> None:
        self._passed.append((self.p_kw, self.on, dt_us / HOUR_US))
        if len(self._passed) >= COUNTED_AT_ONCE:
            self._count()
        # From the last settled power, not the last advance: a SOLVE may end without a solution.
        self._bound(0 if self._settled_us is None else t_us - self._settled_us)

    def _count(self) -> None:
        """Bring the counters up to the last `advance`."""
        if not self._passed:
            return
        p, on, hours = (np.array(column) for column in zip(*self._passed, strict=True))
        hours = hours[:, None]
        self._passed = []
        a, b, c, _ = self._cost
        f0, f1 = self._fuel
        self._e_kwh = counted(self._e_kwh, p * hours)
        self._money = counted(self._money, ((a * p + b) * p + c * on) * hours)
        self._fuel_l = counted(self._fuel_l, (f0 * on + f1 * p) * hours)

    def _keeps_running(self, setpoints: Vector) -> bool:
        """Whether all units run and nobody asks any to start or stop: the usual case."""
        return self._all_on and setpoints[0].tobytes() == self._unasked

    def _fits(self, wanted: Vector) -> bool:
        return self._keeps_running(wanted) and not beyond(wanted[1:], self._now_low, self._now_high)

    def _bound(self, dt_us: int) -> None:
        """What a running unit's ramp allows, `dt_us` after the power was last set."""
        if self._all_unramped:
            self._p_now_min, self._p_now_max = self._p_min, self._p_max
            return
        base = np.where(self.on, np.maximum(self.p_kw, self._p_min), self._p_min)
        change = np.where(self._unramped, np.inf, self._ramp * (dt_us / SECOND_US))
        self._p_now_min = np.maximum(base - change, self._p_min)
        self._p_now_max = np.minimum(base + change, self._p_max)
        self._now_low[0], self._now_high[0] = self._p_now_min, self._p_now_max

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        on = possible[0]
        whole(on, reason[0])
        held = self._held() & (on != self.on) & (on == on)
        np.copyto(on, self.on, where=held)
        np.copyto(reason[0], MIN_TIME, where=held)
        running = self._on_wanted(on)
        low, high = self._p_now_min, self._p_now_max
        why_low = np.where(running & (low > self._p_min), RAMP, CAPABILITY)
        why_high = np.where(running & (high < self._p_max), RAMP, CAPABILITY)
        hold_below(possible[1], reason[1], np.where(running, high, 0.0), why_high)
        hold_above(possible[1], reason[1], np.where(running, low, 0.0), why_low)

    def _read_limits(self, configs: Sequence[Any], site: Site) -> None:
        gens, index = site.network.gens, self.placement.gen
        for config, i in zip(configs, index, strict=True):
            if i >= 0 and (gens.slack[i] or not gens.regulates[i]):
                what = "the reference: its power is what the power flow leaves" if gens.slack[i] else "not regulating"
                raise PluginError(f"device '{config.name}': gen '{config.element}' is {what}; expected a generator of "
                                  "the network that holds its voltage, or a `bus`")
        self._regulates: Mask = index >= 0
        p_max = filled(column(configs, "p_max_kw"), own_values(index, gens.p_max_kw))
        self._p_max = require(configs, p_max, "p_max_kw", above=0.0)
        p_min = filled(column(configs, "p_min_kw"), filled(own_values(index, gens.p_min_kw), 0.0))
        self._p_min = require(configs, p_min, "p_min_kw")
        p = filled(filled(column(configs, "p_kw"), own_values(index, gens.p_kw)), self._p_min)
        self._p_default = np.minimum(np.maximum(p, self._p_min), self._p_max)
        q = Q_PER_P * self._p_max
        self._q_min = filled(filled(column(configs, "q_min_kvar"), own_values(index, gens.q_min_kvar)), -q)
        self._q_max = filled(filled(column(configs, "q_max_kvar"), own_values(index, gens.q_max_kvar)), q)
        self._q_default = np.minimum(np.maximum(0.0, self._q_min), self._q_max)
        self._v_default = filled(column(configs, "v_set_pu"), own_values(index, gens.v_pu))
        limits = zip(configs, self._p_min, self._p_max, self._q_min, self._q_max, strict=True)
        for config, low, high, q_low, q_high in limits:
            if low > high or q_low > q_high:
                raise PluginError(f"device '{config.name}': expected p_min_kw <= p_max_kw and q_min_kvar <= "
                                  f"q_max_kvar, found {low:g}, {high:g} and {q_low:g}, {q_high:g}")
