"""The ANM6-Easy task twice: gym-anm's own environment and `scenarios/anm6_easy.yaml`, side by side, step by step.

Both start alike (quarter of the day, energy, reactive powers) and get the same set points; what is compared is
gym-anm's state (18 values, per unit of 100 MVA, the quarter as it is), bus voltages, branch powers, energy loss,
penalty and reward.

gym-anm's power flow stops at a mismatch of 1e-5 pu, and cvxpy's default solver now and then brings a set point to a
device's region 1e-6 pu off.  `Peer(exact=True)` has the same Newton and the same OSQP go on to `TIGHT_PU` and
`TIGHT_OSQP`, so that what is compared is the models and not where one of them stops; nothing else of gym-anm is
touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.exchange import PeerMissingError
from benchmarks.harness import ROOT
from cosim.plugins import Registry
from cosim.points import Ids, Vector
from cosim.scenario import load_scenario
from cosim.simulation import Simulation, build
from cosim.simulation.build import BuildOptions

BASE_KVA, STEP_H, PENALTY = 1e5, 0.25, 100.0
CLIP_LOSS, CLIP_PENALTY, GAMMA = 1.0, 100.0, 0.995
COLLAPSE = -CLIP_PENALTY / (1 - GAMMA)
BUSES = tuple(f"bus.{i}.v_pu" for i in range(6))
BRANCHES = ("trafo.0-1", "line.1-2", "line.1-3", "line.2-4", "line.2-5")
RATES_PU = np.array([0.32, 0.25, 0.18, 0.18, 0.18])
#: Into gym-anm's per unit (the quarter as it is), and the sum of gym-anm's energy loss: slack, loads, potentials.
TO_PU = np.array([1 / BASE_KVA] * 17 + [1.0])
IN_LOSS = (0, 1, 3, 5, 15, 16)
ACTION_KW = 1000.0
TIGHT_PU = 1e-11
TIGHT_OSQP = {"eps_abs": 1e-10, "eps_rel": 1e-10, "max_iter": 1_000_000}


@dataclass(frozen=True, slots=True)
class Start:
    """Where an episode starts: the quarter of the day, the stored energy, reactive powers of sun and wind."""

    quarter: int
    soc: float
    pv_q_kvar: float
    wind_q_kvar: float


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A state: `state` (18,) and branch powers `s_pu` (5,) in per unit, voltages (6,), and what the step brought.

    `collapsed`: no power flow; then only the reward counts.
    """

    state: Vector
    v_pu: Vector
    s_pu: Vector
    loss: float
    penalty: float
    reward: float
    collapsed: bool = False

    def row(self) -> Vector:
        """All of it in one line (32,)."""
        return np.concatenate((self.state, self.v_pu, self.s_pu, [self.loss, self.penalty, self.reward]))


DEVICES = ("slack", "homes", "pv", "industry", "wind", "ev", "store")
COLUMNS = (
    *(f"{device}_{power}" for power in "pq" for device in DEVICES),
    "store_e", "pv_p_max", "wind_p_max", "quarter", *(f"v_{i}" for i in range(6)),
    *(f"s_{name.split('.')[1]}" for name in BRANCHES), "loss", "penalty", "reward")


class Peer:
    """gym-anm's environment; raises PeerMissingError where it is not installed."""

    def __init__(self, *, exact: bool) -> None:
        self._env, self._exact = _environment(), exact

    def reset(self, seed: int) -> tuple[Start, Seen]:
        """A new episode: where it starts, and its first state."""
        with _tightened(self._exact):
            self._env.reset(seed=seed)
        first = self._env.first
        return (Start(int(first[-1]), float(first[14]) / 100.0, float(first[9]) * 1e3, float(first[11]) * 1e3),
                self._seen(0.0))

    def sample(self, rng: np.random.Generator) -> Vector:
        """A random action (6,), MW and Mvar."""
        space = self._env.action_space
        action: Vector = rng.uniform(space.low, space.high)
        return action

    def step(self, action: Vector) -> Seen:
        """The state after an action (6,), MW and Mvar."""
        with _tightened(self._exact):
            _, reward, collapsed, _, _ = self._env.step(action)
        if collapsed:
            return _collapsed(reward)
        return self._seen(float(reward))

    def bare_step(self, action: Vector) -> bool:
        """A step with nothing read; True when it collapsed."""
        return bool(self._env.step(action)[2])

    def _seen(self, reward: float) -> Seen:
        env, now = self._env, self._env.simulator.state
        state = np.array(env.state, np.float64)
        state[:17] *= 1e3
        v = np.array(list(now["bus_v_magn"]["pu"].values()))
        s = np.abs(np.array(list(now["branch_s"]["pu"].values())))
        return Seen(state * TO_PU, v, s, float(env.e_loss), float(env.penalty), reward)


def _collapsed(reward: float) -> Seen:
    nothing = np.full(18, np.nan)
    return Seen(nothing, nothing[:6], nothing[:5], CLIP_LOSS, CLIP_PENALTY, reward, collapsed=True)


def _environment() -> Any:
    try:
        from gym_anm.envs import ANM6Easy
    except ImportError as error:
        raise PeerMissingError(f"gym-anm ({error})") from error

    class Remembering(ANM6Easy):  # type: ignore[misc]  # gym-anm has no types
        """Keeps the state that a reset drew, which the reset's own answer shows cut to what is feasible."""

        first: Vector

        def init_state(self) -> Vector:
            self.first = np.array(super().init_state(), np.float64)
            return self.first.copy()

    return Remembering()


@contextmanager
def _tightened(on: bool) -> Iterator[None]:
    """gym-anm's two solvers with tight stops, while it runs."""
    if not on:
        yield
        return
    import cvxpy
    from gym_anm.simulator import solve_load_flow

    newton: Any = solve_load_flow
    problem: Any = cvxpy.Problem
    flow, project = newton.solve_pfe_newton_raphson, problem.solve
    newton.solve_pfe_newton_raphson = lambda simulator, xtol: flow(simulator, xtol=min(xtol, TIGHT_PU))
    problem.solve = lambda this: project(this, solver=cvxpy.OSQP, **TIGHT_OSQP)
    try:
        yield
    finally:
        newton.solve_pfe_newton_raphson, problem.solve = flow, project


class Ours:
    """The scenario, decided outside."""

    def __init__(self, start: Start, steps: int) -> None:
        self._simulation = simulation = _built(start, steps)
        names = simulation.points.names
        place = {name: i for i, name in enumerate(names)}
        self._observed: Ids = simulation.crew.agents["operator"].observed
        self._buses: Ids = np.array([place[name] for name in BUSES])
        self._loadings: Ids = np.array([place[f"{name}.loading"] for name in BRANCHES])
        self._converged: Ids = np.array([place["grid.converged"]])
        simulation.points.require(np.concatenate((self._buses, self._loadings, self._converged)))
        simulation.advance_to_decision()

    def seen(self) -> Seen:
        """The state that the operator sees, and what it brought."""
        points = self._simulation.points
        if not points.take(self._converged)[0]:
            return _collapsed(COLLAPSE)
        state = points.take(self._observed) * TO_PU
        v, s = points.take(self._buses), points.take(self._loadings) * RATES_PU
        loss = min(max(float(state[list(IN_LOSS)].sum()) * STEP_H, -CLIP_LOSS), CLIP_LOSS)
        over = np.maximum(np.maximum(v - V_MAX, V_MIN - v), 0.0).sum() + np.maximum(s - RATES_PU, 0.0).sum()
        penalty = min(float(over) * STEP_H * PENALTY, CLIP_PENALTY)
        return Seen(state, v, s, loss, penalty, -(loss + penalty))

    def step(self, action: Vector) -> Seen:
        """The state after an action (6,), MW and Mvar."""
        self._simulation.commit({"operator": action * ACTION_KW})
        self._simulation.advance_to_decision()
        return self.seen()


V_MIN, V_MAX = np.array([1.0] + [0.9] * 5), np.array([1.0] + [1.1] * 5)


@cache
def _registry() -> Registry:
    return Registry()


def _built(start: Start, steps: int) -> Simulation:
    """The scenario at a start, long enough for `steps` decisions and a look at the last one's outcome."""
    changes = [f"profile_offset_s={start.quarter * 900}", f"duration_s={900 * (steps + 1)}", "record.points=[]",
               f"devices.3.q_default_kvar={start.pv_q_kvar!r}", f"devices.4.q_default_kvar={start.wind_q_kvar!r}",
               f"devices.5.soc_start={start.soc!r}"]
    loaded = load_scenario(ROOT / "scenarios" / "anm6_easy.yaml", overrides=changes, registry=_registry())
    return build(loaded, BuildOptions(external=("operator",)))


@dataclass(slots=True)
class Differences:
    """The largest absolute difference of each of the `COLUMNS` over some steps, and how many collapsed in each."""

    steps: int = 0
    episodes: int = 0
    largest: Vector = None  # type: ignore[assignment]  # set below
    collapses: tuple[int, int] = (0, 0)
    apart: int = 0

    def __post_init__(self) -> None:
        self.largest = np.zeros(len(COLUMNS))

    def take(self, theirs: Seen, ours: Seen) -> None:
        """One state of both."""
        self.steps += 1
        self.collapses = self.collapses[0] + theirs.collapsed, self.collapses[1] + ours.collapsed
        if theirs.collapsed or ours.collapsed:
            self.apart += theirs.collapsed != ours.collapsed
            if theirs.collapsed and ours.collapsed:
                self.largest[-1] = np.maximum(self.largest[-1], abs(theirs.reward - ours.reward))
            return
        self.largest = np.maximum(self.largest, np.abs(theirs.row() - ours.row()))

    def of(self, *names: str) -> float:
        """The largest of some columns, by prefix."""
        # NumPy's maximum: NaN is no small difference.
        return float(np.max([x for name, x in zip(COLUMNS, self.largest, strict=True) if name.startswith(names)]))


def compared(steps: int, *, seed: int, exact: bool, longest: int = 500) -> Differences:
    """Random steps of both, episode after episode (a collapse, or `longest` steps, ends one)."""
    found, peer, rng = Differences(), Peer(exact=exact), np.random.default_rng(seed)
    while found.steps < steps:
        start, theirs = peer.reset(seed + found.episodes)
        length = min(longest, steps - found.steps)
        mine = Ours(start, length)
        found.episodes += 1
        ours = mine.seen()
        found.largest = np.maximum(found.largest, np.abs(theirs.row() - ours.row())[:-3].tolist() + [0.0] * 3)
        for _ in range(length):
            action = peer.sample(rng)
            theirs, ours = peer.step(action), mine.step(action)
            found.take(theirs, ours)
            if theirs.collapsed or ours.collapsed:
                break
    return found

