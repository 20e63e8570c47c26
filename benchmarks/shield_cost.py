"""Figures 3 and 4 of `benchmarks.shield`: what the shield's answers cost beside the bare power flow.

case118 with 50 commanded inverters of 25 MVA at buses without generators. The case has no ratings: lines get 1.4 times
the flow of the undisturbed case, at least 40 MVA, and the band is 0.94 to 1.06 pu, so that unsafe requests break both
kinds of limit. Before or after each call of the shield (in turn) the bare solver does the same request's power flow
from the same start (`Grid.trial`, as a run without shield would): the same machine, the same state.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import ours
from benchmarks.harness import Rate, settled
from benchmarks.shield_cases import Inverters, built
from benchmarks.shield_trials import Seen
from cosim.grid import Grid, load_network
from cosim.points import Vector
from cosim.shield.assess import Attempt
from cosim.shield.decision import Asked, Rung, ShieldDecision

if TYPE_CHECKING:
    from cosim.simulation import Simulation

DEVICES = 50
BAND = "{v_min_pu: 0.94, v_max_pu: 1.06}"
RATED_OVER_FLOW = 1.4
LEAST_RATING_KVA = 40e3
UNSAFE_SHARE = 0.5
SAMPLES = 100
"""Looks at the memory in a run."""


@dataclass(slots=True)
class Costs:
    """Times (ms) of the safe and of the unsafe requests, of the bare solves beside each, and what calls took.

    `bare_read` are the bare solves with the loadings read, which is what the shield judges.
    """

    safe: list[float] = field(default_factory=list)
    bare_safe: list[float] = field(default_factory=list)
    bare_read: list[float] = field(default_factory=list)
    unsafe: list[float] = field(default_factory=list)
    bare_unsafe: list[float] = field(default_factory=list)
    solves: list[int] = field(default_factory=list)
    infeasible: int = 0
    rungs: dict[str, int] = field(default_factory=dict)

    def add(self, decision: ShieldDecision, solves: int, ms: float, bare_ms: tuple[float, float]) -> None:
        """Take in one call that made `solves` power flows; a safe request's makes one."""
        self.solves.append(solves)
        self.infeasible += decision.infeasible
        self.rungs[decision.rung.name] = self.rungs.get(decision.rung.name, 0) + 1
        if decision.rung is Rung.REQUEST:
            self.safe.append(ms)
            self.bare_safe.append(bare_ms[0])
            self.bare_read.append(bare_ms[1])
        else:
            self.unsafe.append(ms)
            self.bare_unsafe.append(bare_ms[0])

    @property
    def safe_ratio(self) -> float:
        """Median over calls of a safe answer's time to the bare solve's next to it."""
        return float(np.median(np.array(self.safe) / np.array(self.bare_safe)))

    @property
    def safe_ratio_read(self) -> float:
        return float(np.median(np.array(self.safe) / np.array(self.bare_read)))

    def unsafe_ratio(self, quantile: float) -> float:
        """A quantile of unsafe answers' times, in medians of the bare solve."""
        return float(np.quantile(np.array(self.unsafe), quantile) / np.median(np.array(self.bare_unsafe)))


def case118_text(seed: int = 118) -> str:
    """The scenario file: 50 inverters at the PQ buses with the most load first, then in bus order."""
    network = load_network("case118")
    held = np.zeros(len(network.bus_names), bool)
    held[network.gens.bus] = True
    load = np.zeros(held.size)
    np.add.at(load, network.loads.bus, -network.loads.p_kw)
    free = sorted(np.flatnonzero(~held).tolist(), key=lambda bus: (-load[bus], bus))[:DEVICES]
    devices = "\n".join(f"  - {{kind: pv, name: pv_{network.bus_names[bus]}, bus: '{network.bus_names[bus]}', "
                        f"p_rated_kw: 20000, s_rated_kva: 25000, q_max_pu: 0.6}}" for bus in sorted(free))
    ratings = ", ".join(f"'{name}': {ka:.4f}" for name, ka in _ratings_ka().items())
    return (f"name: shield_case118\nseed: {seed}\nduration_s: 1.0e+7\nstep_s: 1\n"
            f"grid: {{network: case118, ratings_ka: {{{ratings}}}}}\nlimits: {BAND}\ndevices:\n{devices}\n"
            f"agents: []\nrecord: {{points: []}}\nshield: enforce\n")


def _ratings_ka() -> dict[str, float]:
    """By line, from the larger end's flow of the undisturbed case: its loading where every rating is 1 kVA."""
    network = load_network("case118")
    n_line = len(network.line_names)
    one = np.ones(len(network.branch_names))
    rated = replace(network, branches=replace(network.branches, rating_from_kva=one, rating_to_kva=one))
    s_kva = Grid(rated, np.zeros(0, np.int64)).state.loading[:n_line]
    rating = np.maximum(RATED_OVER_FLOW * s_kva, LEAST_RATING_KVA)
    ends = network.bus_vn_kv[network.branches.from_bus[:n_line]], network.bus_vn_kv[network.branches.to_bus[:n_line]]
    kv = np.minimum(*ends)  # one branch of the case joins 345 and 138 kV
    return dict(zip(network.line_names, (rating / (np.sqrt(3.0) * kv * 1e3)).tolist(), strict=True))


class Requests:
    """Safe: a little active power, reactive power near nothing.  Unsafe: full power, and extremes of reactive."""

    def __init__(self, inverters: Inverters, seed: int) -> None:
        self._inverters, self._rng, self._n = inverters, np.random.default_rng(seed), inverters.s_kva.size

    def safe(self) -> None:
        """Small changes about a tenth of the rating."""
        rng, top = self._rng, self._inverters.p_top_kw
        self._ask(top * rng.uniform(0.0, 0.1, self._n), top * rng.uniform(-0.02, 0.02, self._n))

    def unsafe(self) -> None:
        """Anything up to full power, with each reactive power at an extreme, most of them the same."""
        rng, q_max = self._rng, self._inverters.q_max_kvar
        side = np.where(rng.random(self._n) < rng.uniform(0.5, 1.0), 1.0, -1.0) * rng.choice((-1.0, 1.0))
        self._ask(self._inverters.p_top_kw * rng.uniform(0.0, 1.0, self._n), side * q_max)

    def _ask(self, p_kw: Vector, q_kvar: Vector) -> None:
        self._inverters.ask(p_kw, q_kvar)


class Pair:
    """A shield whose every call stands beside a bare solve of the same request from the same start.

    Every second bare solve comes first: whoever is second finds the caches warm.
    """

    def __init__(self, simulation: Simulation, costs: Costs) -> None:
        self._inner, self._simulation, self._costs, self._calls = simulation._shield, simulation, costs, 0

    def filter(self, asked: Asked, attempt: Attempt) -> ShieldDecision:
        seen, self._calls = Seen(attempt), self._calls + 1
        first = self._calls % 2 == 0
        bare = self._bare(asked) if first else (0.0, 0.0)
        begun_s = perf_counter()
        decision = self._inner.filter(asked, seen)
        ms = (perf_counter() - begun_s) * 1e3
        self._costs.add(decision, len(seen.trials), ms, bare if first else self._bare(asked))
        return decision

    def settled(self, decision: ShieldDecision, t_us: int) -> None:
        self._inner.settled(decision, t_us)

    def _bare(self, asked: Asked) -> tuple[float, float]:
        """Times (ms) of the power flow of the request, without and with the loadings read."""
        grid = self._simulation.grid
        dispatch, _ = self._simulation._fleet.apply(asked.values, grid.state.v_pu, grid.dispatch)
        begun_s = perf_counter()
        state = grid.trial(dispatch)
        solved_s = perf_counter()
        if state.converged:
            assert state.loading is not None  # worked out when asked for
        return (solved_s - begun_s) * 1e3, (perf_counter() - begun_s) * 1e3


def measure(calls: int, seed: int = 3, unsafe_share: float = UNSAFE_SHARE) -> Costs:
    """`calls` scans of case118, safe and unsafe requests mixed."""
    simulation, costs = built(case118_text()), Costs()
    requests, rng = Requests(Inverters(simulation), seed), np.random.default_rng(seed + 1)
    simulation.advance_to(0)
    simulation._shield = Pair(simulation, costs)
    with settled():
        for k in range(1, calls + 1):
            requests.unsafe() if rng.random() < unsafe_share else requests.safe()
            simulation.advance_to(k * 1_000_000)
    return costs


def growth(calls: int, unsafe_share: float = 0.1) -> tuple[float, float, int]:
    """Objects kept a call, MB gained, and over how many calls.

    What is buffered until it is written makes a sawtooth, so the lowest of the 40 samples after the first fifth is
    compared with the lowest of the last 40 of 100. No figures are kept here: only the run is alive.
    """
    simulation = built(case118_text())
    requests, rng = Requests(Inverters(simulation), 5), np.random.default_rng(6)
    blocks: list[int] = []
    rss_mb: list[float] = []
    every = max(calls // SAMPLES, 1)
    for k in range(1, calls + 1):
        requests.unsafe() if rng.random() < unsafe_share else requests.safe()
        simulation.advance_to(k * 1_000_000)
        if k % every == 0:
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            rss_mb.append(_rss_mb())
            if len(blocks) % 10 == 0:
                print(f"  heap: {k / calls:.0%}, {blocks[-1]:,} objects, {rss_mb[-1]:.1f} MB", file=sys.stderr,
                      flush=True)
    early, late = slice(SAMPLES // 5, 3 * SAMPLES // 5), slice(3 * SAMPLES // 5, None)
    between = every * (SAMPLES * 2 // 5)
    return (min(blocks[late]) - min(blocks[early])) / between, min(rss_mb[late]) - min(rss_mb[early]), between


def _rss_mb() -> float:
    words = next(line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if "VmRSS" in line)
    return float(words.split()[1]) / 1024.0


# -- figure 4: the 100-agent benchmark ---------------------------------------------------------------------------------

AGENTS_SHIELD = "limits: {v_min_pu: 0.9, v_max_pu: 1.1}\nshield: '%s'\n"
"""Wide enough for the undisturbed case (0.943 to 1.05 pu): the row is the price of verifying what is safe."""


@contextmanager
def _exchange(n_agents: int, duration_s: int) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as scratch:
        folder = Path(scratch)
        ours._write_profile(folder / "disturbed.csv", duration_s)
        yield folder, ours.scenario_text(n_agents, duration_s, 7, False)


def seconds_a_step(shield: str, duration_s: int, n_agents: int = 100) -> Rate:
    """Wall seconds of one step of the benchmark's exchange under `shield: enforce` or `off`."""

    def run() -> float:
        with _exchange(n_agents, duration_s) as (folder, text):
            simulation = ours._built(folder, text + AGENTS_SHIELD % shield, False)
            begun_s = perf_counter()
            simulation.advance_to(duration_s * 1_000_000 - 1)
            return (perf_counter() - begun_s) / duration_s

    return run
