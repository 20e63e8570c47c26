"""Trying setpoints: devices' laws and power flow, iterated until they agree, without effect on what is committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cosim.grid import Grid
from cosim.plugins import Injection
from cosim.points import Vector
from cosim.simulation.settling import RESIDUAL_PU, settle
from cosim.state import Dispatch, GridState, Response, Topology

#: In the place of a lost branch: all orders carried out.
AHEAD = -2
#: Change of voltage at which the devices' laws are asked for their slope.
SMALL_PU = 1e-6

#: (setpoints, v_pu, base) -> dispatch and each group's injection: `Fleet.apply`, handed in by the simulation.
Apply = Callable[[Vector, Vector, Dispatch], tuple[Dispatch, tuple[Injection, ...]]]


@dataclass(frozen=True, slots=True)
class SolvedTrial:
    """A candidate: what devices would inject, what the grid would do, and how well the two agree (`residual`, pu)."""

    dispatch: Dispatch
    state: GridState
    injections: tuple[Injection, ...]
    positions: Topology
    residual: float = 0.0
    iterations: int = 1

    @property
    def settled(self) -> bool:
        """Whether voltage-dependent devices and voltages agree; a power flow without solution is told of apart."""
        return self.residual <= RESIDUAL_PU or not self.state.converged


@dataclass(frozen=True, slots=True, eq=False)
class Attempts:
    """What the shield is handed: candidates by the simulation's own functions (see `cosim.shield.assess.Attempt`)."""

    solve: Callable[[Vector, int], SolvedTrial]
    """(setpoints, branch that is lost, -1 or AHEAD) -> trial."""
    moving: Callable[[Vector], bool]
    """Whether these setpoints leave some order under way."""
    respond: Callable[[Vector, SolvedTrial], Response | None]

    def __call__(self, setpoints: Vector) -> SolvedTrial:
        """The grid as it stands, at these setpoints."""
        return self.solve(setpoints, -1)

    def without(self, setpoints: Vector, branch: int) -> SolvedTrial:
        """The grid after the loss of a branch."""
        return self.solve(setpoints, branch)

    def ahead(self, setpoints: Vector) -> SolvedTrial | None:
        """The grid once every order that takes its time is carried out; None where none is under way."""
        return self.solve(setpoints, AHEAD) if self.moving(setpoints) else None

    def response(self, setpoints: Vector, trial: SolvedTrial) -> Response | None:
        """How the devices answer to voltage around a trial; None where none does."""
        return self.respond(setpoints, trial)


class Trials:
    """Solves candidates on one grid.  `positions` is where the devices' switches stand, outages apart."""

    def __init__(self, grid: Grid, voltage_dependent: bool) -> None:
        self.positions: Topology = grid.dispatch.topology
        self._grid, self._voltage_dependent = grid, voltage_dependent
        self._s_base_kva = grid.network.base_mva * 1e3
        self._lost_of: Topology | None = None
        self._lost: dict[int, Topology] = {}
        self._nominal_v_pu = np.ones(len(grid.network.bus_names))

    def solve(self, setpoints: Vector, topology: Topology, positions: Topology, base: Dispatch,
              apply: Apply) -> SolvedTrial:
        """The candidate at `setpoints` with the network switched as `topology`."""
        if base.topology is not topology:
            base = replace(base, topology=topology)
        last, state = self._grid.dispatch, self._grid.state
        switched = topology is not last.topology or not state.converged
        # After a state without solution there is no voltage to start from: nominal is where a device would start.
        v_pu = state.v_pu if state.converged else self._nominal_v_pu
        dispatch, injections = apply(setpoints, v_pu, base)
        first = SolvedTrial(dispatch, self._state(dispatch), injections, positions)
        if not first.state.converged:
            return first
        if self._voltage_dependent:
            return self._settled(setpoints, base, apply, first)
        return self._switched(setpoints, base, apply, first) if switched else first

    def lost(self, topology: Topology, branch: int) -> Topology:
        """`topology` without a branch; the same object for the same loss while the topology stands."""
        if branch < 0:
            return topology
        if self._lost_of is not topology:
            self._lost_of, self._lost = topology, {}
        if branch not in self._lost:
            n_line = topology.line_closed.size
            self._lost[branch] = (topology.with_line(branch, closed=False) if branch < n_line
                                  else topology.with_trafo(branch - n_line, closed=False))
        return self._lost[branch]

    def response(self, setpoints: Vector, trial: SolvedTrial, apply: Apply) -> Response | None:
        """What the devices' laws answer to a small change of voltage."""
        if not self._voltage_dependent:
            return None
        v_pu = trial.state.v_pu
        (before, _), (after, _) = (apply(setpoints, v, trial.dispatch) for v in (v_pu, v_pu + SMALL_PU))
        return Response((after.p_kw - before.p_kw) / SMALL_PU, (after.q_kvar - before.q_kvar) / SMALL_PU)

    def _switched(self, setpoints: Vector, base: Dispatch, apply: Apply, first: SolvedTrial) -> SolvedTrial:
        """Once more where something was switched: who has no voltage may have changed, and with it who injects."""
        dispatch, injections = apply(setpoints, first.state.v_pu, base)
        state = first.state if _same(dispatch, first.dispatch) else self._state(dispatch)
        return SolvedTrial(dispatch, state, injections, first.positions)

    def _state(self, dispatch: Dispatch) -> GridState:
        """The power flow; the committed one again when nothing changed, to the bit."""
        if self._grid.state.converged and _same(dispatch, self._grid.dispatch):
            return self._grid.state
        return self._grid.trial(dispatch)

    def _settled(self, setpoints: Vector, base: Dispatch, apply: Apply, first: SolvedTrial) -> SolvedTrial:
        """Fixed point of injections <-> voltages, in per unit of the network's base."""
        n = len(first.dispatch.p_kw)
        x0 = np.concatenate((first.dispatch.p_kw, first.dispatch.q_kvar)) / self._s_base_kva
        tried: list[tuple[Vector, SolvedTrial]] = []

        def respond(x: Vector) -> Vector:
            candidate, state = first.dispatch, first.state
            if x is not x0:
                candidate = replace(candidate, p_kw=x[:n] * self._s_base_kva, q_kvar=x[n:] * self._s_base_kva)
                state = self._state(candidate)
            if not state.converged:
                tried.append((x, replace(first, state=state, dispatch=candidate)))
                return np.full(2 * n, np.nan)
            dispatch, injections = apply(setpoints, state.v_pu, base)
            tried.append((x, SolvedTrial(candidate, state, injections, first.positions)))
            return np.concatenate((dispatch.p_kw, dispatch.q_kvar)) / self._s_base_kva

        found = settle(respond, x0)
        # Where it did not settle, the best point is not the last one tried: residual and state must belong together.
        trial = next(trial for x, trial in reversed(tried) if x is found.x)
        return replace(trial, residual=found.residual, iterations=found.iterations)


def _same(one: Dispatch, other: Dispatch) -> bool:
    """Whether two dispatches are equal to the bit (as bytes: a tenth of the cost of comparing as numbers)."""
    return one.topology is other.topology and all(
        a is b or a.tobytes() == b.tobytes()
        for a, b in ((one.q_kvar, other.q_kvar), (one.p_kw, other.p_kw), (one.gen_p_kw, other.gen_p_kw),
                     (one.gen_v_pu, other.gen_v_pu)))
