"""The grids that `benchmarks.shield` puts the shield on, as the scenario files a user would write, and who asks.

Two feeders with a year of SimBench profiles, every load a device and the inverters commanded:

* case33bw with six inverters that feed in 8.75 MW together at the year's highest sun, against 3.7 MW of load (the size
  and places of MAPDN, Wang et al., NeurIPS 2021); the case has no ratings, so only the band binds;
* CIGRE MV with eleven inverters, 12 MW at the highest sun, against the ratings of its lines (5.0 and 6.8 MVA) and the
  band; the two 15 MW loads stand for other feeders.

SimBench's PV peaks at about 0.6 of what is installed; `p_rated_kw` is such that the highest sun gives the power named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.projection_model import Problem
from cosim.commands import Authority
from cosim.devices.inverter import InverterGroup
from cosim.points import Vector
from cosim.scenario.loader import load_text
from cosim.shield.decision import Trial
from cosim.simulation.build import build
from cosim.state import BoolArray, GridState

if TYPE_CHECKING:
    from cosim.simulation import Simulation

YEAR_S = 31_536_000
YEAR_BEGIN = datetime.fromisoformat("2016-01-01T00:00:00+01:00")
PEAK_PU = {"pv3_p_pu": 0.616379, "pv5_p_pu": 0.602631}
"""The year's highest values of the two PV columns in `simbench_year`."""

SHOPS, HOMES = ("g0_a_p_pu", "g0_a_q_pu"), ("h0_a_p_pu", "h0_a_q_pu")


@dataclass(frozen=True, slots=True)
class Feeder:
    """A network; which of its loads are shops and which homes (patterns); and equal inverters at `buses`: each feeds
    in `peak_kw` at the highest sun."""

    name: str
    network: str
    shops: str
    homes: str
    buses: tuple[str, ...]
    peak_kw: float
    q_max_pu: float
    v_min_pu: float = 0.95
    v_max_pu: float = 1.05
    loading_max: float = 1.0


FEEDERS = {
    "case33bw": Feeder("case33bw", "case33bw", "?", "??", ("13", "18", "22", "25", "29", "33"), 1458.0, 0.8),
    "cigre_mv": Feeder("cigre_mv", "cigre_mv", "Load_CI*", "Load_R*",
                       tuple(f"Bus_{i}" for i in (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14)), 1100.0, 0.6),
}
OVERSIZE = 1.2
"""Rating of the inverters over the most that they feed in."""
POLICIES = ("no", "random", "adversarial")


@dataclass(frozen=True, slots=True)
class Window:
    """The scans of one run: `steps` of them, `step_s` apart, from `begin_s` after the beginning of 2016."""

    begin_s: float
    step_s: float
    steps: int

    @classmethod
    def of_year(cls, calls: int, share: int = 0, of: int = 1) -> Window:
        """The part `share` of `of` of a year of `calls` scans, evenly spread."""
        step_s = YEAR_S / calls
        first, last = calls * share // of, calls * (share + 1) // of
        return cls(round(first * step_s), round(step_s, 6), last - first)


def _profile(column: str, interpolation: str = "linear") -> str:
    return f"{{file: simbench_year, column: {column}, interpolation: {interpolation}}}"


def feeder_text(feeder: Feeder, window: Window, seed: int, extra: str = "shield: enforce", loads: str = "hold") -> str:
    """The scenario file of a feeder; `extra` are further lines, `shield:` among them.

    `loads` is how load profiles go on between their quarter-hours: `hold` (a step) or `linear`.
    """
    columns = list(PEAK_PU)
    consumers = "\n".join(
        f"  - {{kind: load, each: 'load:{pattern}', name: '{name}_{{}}', element: '{{}}', "
        f"profile: {_profile(p, loads)}, q_profile: {_profile(q, loads)}}}"
        for name, pattern, (p, q) in (("shop", feeder.shops, SHOPS), ("home", feeder.homes, HOMES)))
    inverters = "\n".join(
        f"  - {{kind: pv, name: pv_{bus}, bus: '{bus}', p_rated_kw: {feeder.peak_kw / PEAK_PU[column]:.1f}, "
        f"s_rated_kva: {feeder.peak_kw * OVERSIZE:.1f}, q_max_pu: {feeder.q_max_pu}, "
        f"profile: {_profile(column)}}}"
        for bus, column in ((bus, columns[2 * i // len(feeder.buses)]) for i, bus in enumerate(feeder.buses)))
    start = YEAR_BEGIN + timedelta(seconds=window.begin_s)
    return f"""\
name: shield_{feeder.name}
seed: {seed}
start: "{start.isoformat()}"
duration_s: {window.step_s * window.steps:.6f}
step_s: {window.step_s:.6f}
grid: {{network: {feeder.network}}}
limits: {{v_min_pu: {feeder.v_min_pu}, v_max_pu: {feeder.v_max_pu}, loading_max: {feeder.loading_max}}}
devices:
{consumers}
{inverters}
agents: []
record: {{points: []}}
{extra}
"""


def built(text: str) -> Simulation:
    """The simulation of a scenario's text, recording nothing but its digest."""
    return build(load_text(text, path=Path("shield_benchmark.yaml")))


class Inverters:
    """A run's commanded inverters: where they are among the injections, what they may do, and how to ask them."""

    def __init__(self, simulation: Simulation) -> None:
        fleet = simulation._fleet
        place = next(i for i, group in enumerate(fleet.groups) if isinstance(group, InverterGroup))
        self.group, self.devices = cast("InverterGroup", fleet.groups[place]), fleet.device_slices[place]
        self.bus = fleet.injection_bus[self.devices]
        self.p_top_kw, self.q_max_kvar, self.s_kva = self.group.p_top_kw, self.group.q_max_kvar, self.group.s_kva
        names = self.group.names
        self.p_ids = tuple(simulation.points.id_of(f"{name}.p_set_kw") for name in names)
        self.q_ids = tuple(simulation.points.id_of(f"{name}.q_set_kvar") for name in names)
        self._simulation = simulation

    @property
    def available_kw(self) -> Vector:
        """What the sun gives each now (n,)."""
        return self.group.available_kw

    def ask(self, p_kw: Vector | None, q_kvar: Vector) -> None:
        """Command caps (None: left alone) and reactive powers from the next scan on."""
        ids, values = self.q_ids, tuple(q_kvar.tolist())
        if p_kw is not None:
            ids, values = self.p_ids + ids, (*p_kw.tolist(), *values)
        self._simulation.inbox.post(ids, values, "benchmark", Authority.AGENT)

    def problem(self, requested: Trial) -> Problem:
        """The projection of a request (its trial) as the offline reference sees it: exact limits, caps respected."""
        simulation, at, dispatch = self._simulation, self.devices, requested.dispatch
        network, fleet = simulation.grid.network, simulation._fleet
        base_p, base_q = np.zeros(len(network.bus_names)), np.zeros(len(network.bus_names))
        others = np.ones(fleet.injection_bus.size, bool)
        others[at] = False
        np.add.at(base_p, fleet.injection_bus[others], dispatch.p_kw[others])
        np.add.at(base_q, fleet.injection_bus[others], dispatch.q_kvar[others])
        for element, owned in ((network.loads, fleet.owned_loads), (network.sgens, fleet.owned_sgens),
                               (network.fixed, ())):
            stays = np.ones(element.bus.size)
            stays[list(owned)] = 0.0
            np.add.at(base_p, element.bus, element.p_kw * stays)
            np.add.at(base_q, element.bus, element.q_kvar * stays)
        limits, n_bus = simulation.scenario.limits, len(network.bus_names)
        cap = np.fmin(self.available_kw, [self._asked(i) for i in self.p_ids])
        return Problem(
            network, dispatch.topology, base_p, base_q, self.bus, np.zeros(self.bus.size), cap, self.s_kva,
            np.minimum(dispatch.p_kw[at], cap), dispatch.q_kvar[at].copy(), np.full(n_bus, limits.v_min_pu),
            np.full(n_bus, limits.v_max_pu), np.full(len(network.branch_names), limits.loading_max),
            q_min_kvar=-self.q_max_kvar, q_max_kvar=self.q_max_kvar, gen_p_kw=dispatch.gen_p_kw,
            gen_v_pu=dispatch.gen_v_pu)

    def _asked(self, point_id: int) -> float:
        inbox = self._simulation.inbox
        return float(inbox.in_force.values[int(np.searchsorted(inbox.point_ids, point_id))])


class Judge:
    """Whether a state keeps the scenario's limits exactly: no margin, no tolerance, not the shield's own rows."""

    def __init__(self, simulation: Simulation) -> None:
        limits, network = simulation.scenario.limits, simulation.grid.network
        self._low, self._high, self._most = limits.v_min_pu, limits.v_max_pu, limits.loading_max
        self._rated = np.flatnonzero(np.nan_to_num(network.rating_kva) > 0)

    def __call__(self, state: GridState) -> bool:
        v = state.v_pu
        if not state.converged or v.max() > self._high or v.min() < self._low:
            return False
        return not self._rated.size or bool(state.loading[self._rated].max() <= self._most)

    def nearer_upper(self, state: GridState) -> bool:
        """Whether the highest voltage is nearer to its limit than the lowest."""
        return bool(self._high - state.v_pu.max() < state.v_pu.min() - self._low)


Ask = Callable[[GridState], None]
"""Puts the next request to the inbox; it sees the state that is committed."""


def policy(name: str, inverters: Inverters, judge: Judge, rng: np.random.Generator) -> Ask:
    """Who asks.

    `no` asks for nothing.  `random`: reactive power anywhere within ±q_max, all that the sun gives.  `adversarial`
    sees the voltages: mostly (60 %) all reactive power and all active power (or none) toward the nearer limit, else
    all at one random extreme with full power, or each at a random extreme of both.  `inside`: as random, but within
    the kVA circle, half the time at its corners, so that all of a request is effective.
    """
    n, q_max, p_top = inverters.s_kva.size, inverters.q_max_kvar, inverters.p_top_kw

    def nothing(_: GridState) -> None:
        return

    def anywhere(_: GridState) -> None:
        inverters.ask(None, q_max * rng.uniform(-1.0, 1.0, n))

    def hostile(state: GridState) -> None:
        kind = rng.random()
        if kind < 0.6:
            up = judge.nearer_upper(state)
            inverters.ask(p_top if up else 0.0 * p_top, q_max if up else -q_max)
        elif kind < 0.8:
            inverters.ask(p_top, q_max if rng.random() < 0.5 else -q_max)
        else:
            inverters.ask(p_top * rng.integers(0, 2, n), q_max * rng.choice((-1.0, 1.0), n))

    def inside(_: GridState) -> None:
        share = rng.uniform(-1.0, 1.0, n) if rng.random() < 0.5 else rng.choice((-1.0, 1.0), n)
        inverters.ask(None, span * share)

    span = np.minimum(q_max, inverters.s_kva * np.sqrt(1.0 - OVERSIZE**-2))
    asks: dict[str, Ask] = {"no": nothing, "random": anywhere, "adversarial": hostile, "inside": inside}
    return asks[name]


def own_limits_kept(inverters: Inverters, trial: Trial) -> bool:
    """Whether what the inverters do lies within what the sun gives and on or within their circles (to rounding)."""
    p, q = trial.dispatch.p_kw[inverters.devices], trial.dispatch.q_kvar[inverters.devices]
    over: BoolArray = np.hypot(p, q) > inverters.s_kva * (1.0 + 1e-9)
    return not bool((over | (p > inverters.available_kw + 1e-9) | (p < 0.0)).any())
