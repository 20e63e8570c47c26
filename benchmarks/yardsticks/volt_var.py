"""`scenarios/volt_var_33.yaml`: how long the voltages keep their band, and at what losses.

CR (controllable ratio, MAPDN's word) is the share of the scans in which every bus voltage is within the limits.  `best`
is the least loss at which all voltages keep them, found scan by scan with everything known: reactive power of the six
inverters by sequential quadratic programming on the engine's own power flow (from the last scan's answer; a local
optimum, of a problem that is convex for practical purposes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import cast

import numpy as np
from scipy.optimize import minimize

from benchmarks.yardsticks.played import NOBODY, Floats, begun, watched
from cosim.devices.inverter import InverterGroup
from cosim.simulation.engine import Simulation

SCENARIO = "volt_var_33"
N_AGENT = 6
CATEGORY_B = "[[0.92, 0.44], [0.98, 0], [1.02, 0], [1.08, -0.44]]"
#: The best of a grid of curves without memory on other days; steeper ones swing.
MEMORYLESS = "[[0.84, 1], [0.98, 0], [1.0, 0], [1.12, -1]]"


def _curve(curve: str, base: float) -> tuple[str, ...]:
    return tuple(f"agents.{i}.policy.{option}" for i in range(N_AGENT)
                 for option in (f"curve={curve}", f"base={base:g}", "smoothing=1"))


VARIANTS: Mapping[str, Sequence[str]] = {
    "none": NOBODY,
    "category B": _curve(CATEGORY_B, 1750),
    "droop without memory": _curve(MEMORYLESS, 1400),
    "droop": (),
    "category B, shielded": (*_curve(CATEGORY_B, 1750), "shield=enforce"),
    "droop, shielded": ("shield=enforce",),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """CR (0..1), mean losses (kW) and the extreme voltages of some days."""

    ratio: float
    losses_kw: float
    v_min_pu: float
    v_max_pu: float


def measured(variant: str, days: Sequence[date]) -> Figures:
    """One way to control, over days of 480 scans."""
    parts = [_day(begun(SCENARIO, day, VARIANTS[variant])) for day in days]
    return mean(parts)


def mean(parts: Sequence[Figures]) -> Figures:
    """Over days of equal length."""
    return Figures(float(np.mean([part.ratio for part in parts])), float(np.mean([part.losses_kw for part in parts])),
                   min(part.v_min_pu for part in parts), max(part.v_max_pu for part in parts))


def _day(simulation: Simulation) -> Figures:
    _, seen = watched(simulation, ["bus.*.v_pu", "grid.losses_kw"])
    return figures(simulation, seen[:, :-1], seen[:, -1])


def figures(simulation: Simulation, v_pu: Floats, losses_kw: Floats) -> Figures:
    """Of voltages (k, n_bus) and losses (k,)."""
    limits = simulation.scenario.limits
    within = ((v_pu >= limits.v_min_pu) & (v_pu <= limits.v_max_pu)).all(axis=1)
    return Figures(float(within.mean()), float(losses_kw.mean()), float(v_pu.min()), float(v_pu.max()))


def best(days: Sequence[date], every: int = 5) -> Figures:
    """The optimum with everything known, at every fifth scan (a quarter of an hour)."""
    return mean([_best(day, every) for day in days])


def _best(day: date, every: int) -> Figures:
    simulation = begun(SCENARIO, day, NOBODY)
    step_us = round(simulation.scenario.step_s * 1e6)
    least = _Least(simulation)
    v_pu, losses = [], []
    for t_us in range(0, simulation.end_us, every * step_us):
        simulation.advance_to(t_us)
        least.solve()
        v_pu.append(least.v_pu)
        losses.append(least.losses_kw)
    return figures(simulation, _snapped(np.array(v_pu), least.low, least.high), np.array(losses))


def _snapped(v_pu: Floats, low: float, high: float) -> Floats:
    """Voltages with those on a limit exactly there: the optimiser keeps its bounds to about 1e-7."""
    return np.where(np.abs(v_pu - low) < 1e-6, low, np.where(np.abs(v_pu - high) < 1e-6, high, v_pu))


class _Least:
    """Least losses within the limits, by the reactive powers of the inverters, at the simulation's present instant."""

    def __init__(self, simulation: Simulation) -> None:
        fleet = simulation._fleet
        place = next(i for i, group in enumerate(fleet.groups) if isinstance(group, InverterGroup))
        group = cast("InverterGroup", fleet.groups[place])
        self._group, self._devices, self._grid = group, fleet.device_slices[place], simulation.grid
        self.low, self.high = simulation.scenario.limits.v_min_pu, simulation.scenario.limits.v_max_pu
        self._q = np.zeros(len(group.names))
        self.v_pu, self.losses_kw = simulation.grid.state.v_pu, 0.0

    def solve(self) -> None:
        """Find it, from the last answer on."""
        base = self._grid.dispatch
        p_kw = base.p_kw[self._devices]
        span = np.minimum(self._group.q_max_kvar, np.sqrt(np.maximum(self._group.s_kva**2 - p_kw**2, 0.0)))
        found = minimize(lambda x: self._at(x * span)[0], np.clip(self._q / span, -1, 1), method="SLSQP",
                         jac=lambda x: self._slopes(x * span)[0] * span, bounds=[(-1.0, 1.0)] * len(span),
                         constraints={"type": "ineq", "fun": lambda x: self._room(x * span),
                                      "jac": lambda x: self._slopes(x * span)[1] * span},
                         options={"maxiter": 60, "ftol": 1e-7})
        self._q = np.clip(found.x, -1, 1) * span
        self.losses_kw, self.v_pu = self._at(self._q)

    def _at(self, q_kvar: Floats) -> tuple[float, Floats]:
        base = self._grid.dispatch
        q = base.q_kvar.copy()
        q[self._devices] = q_kvar
        state = self._grid.trial(replace(base, q_kvar=q))
        return float(state.losses_kw), state.v_pu

    def _room(self, q_kvar: Floats) -> Floats:
        """Distance of every voltage from the limits, in percent (the optimiser's tolerance is absolute)."""
        v_pu = self._at(q_kvar)[1]
        return np.concatenate([v_pu - self.low, self.high - v_pu]) * 100

    def _slopes(self, q_kvar: Floats, step_kvar: float = 1.0) -> tuple[Floats, Floats]:
        """d losses / dq (n,) and d room / dq (2 n_bus, n), by central differences."""
        losses, room = [], []
        for i in range(len(q_kvar)):
            step = np.zeros(len(q_kvar))
            step[i] = step_kvar
            (above, v_above), (below, v_below) = self._at(q_kvar + step), self._at(q_kvar - step)
            losses.append((above - below) / (2 * step_kvar))
            slope = (v_above - v_below) / (2 * step_kvar) * 100
            room.append(np.concatenate([slope, -slope]))
        return np.array(losses), np.array(room).T
