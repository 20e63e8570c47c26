"""`Grid`: one network with its devices' injections, its last accepted state, and trials that leave it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from cosim.errors import GridError
from cosim.grid.flow import NewtonFlow, PowerFlow
from cosim.grid.network import Injections, IntArray, Network
from cosim.grid.plan_flows import Feed
from cosim.state import Dispatch, FloatArray, GridState, Topology

CHANGES_NAMED = 5


class Grid:
    """The grid of a run.

    `injection_bus` (n_injection,) are the bus positions devices feed into. Loads and static generators of the
    network named in `owned_loads` and `owned_sgens` (positions) are represented by devices and so leave the base;
    the others stay as constant injections. The dispatch of no injections is solved and committed at once.
    """

    def __init__(
        self,
        network: Network,
        injection_bus: ArrayLike,
        *,
        owned_loads: Sequence[int] = (),
        owned_sgens: Sequence[int] = (),
        enforce_q_limits: bool = False,
    ) -> None:
        self.network = network
        self.injection_bus = _checked_buses(network, injection_bus)
        feed = _feed(network, self.injection_bus, owned_loads, owned_sgens)
        self._checked = network.topology
        self._checked_gens: tuple[FloatArray | None, FloatArray | None] = (None, None)
        self._flow = _power_flow(network, feed, enforce_q_limits)
        self._dispatch = self.dispatch0()
        self._check(self._dispatch)
        self._state = self._explained(self._flow.solve(self._dispatch, None), self._dispatch)

    @property
    def state(self) -> GridState:
        """The last committed state."""
        return self._state

    @property
    def dispatch(self) -> Dispatch:
        """The last committed dispatch."""
        return self._dispatch

    @property
    def solver(self) -> str:
        """Which solver computes the power flow."""
        return self._flow.name

    @property
    def solver_reason(self) -> str:
        """Why that solver."""
        if self.network.needs_pandapower:
            return f"pandapower, because {self.network.needs_pandapower}"
        return "lightsim2grid carries every element of this network"

    def dispatch0(self) -> Dispatch:
        """The initial dispatch: no device injects, generators and switches stand as the network was read."""
        count, gens = self.injection_bus.size, self.network.gens
        return Dispatch(np.zeros(count), np.zeros(count), gens.p_kw.copy(), gens.v_pu.copy(), self.network.topology)

    def trial(self, dispatch: Dispatch, start: GridState | None = None) -> GridState:
        """The AC power flow of `dispatch`, without effect on the committed state.

        Started from `start`, else from the last committed state. A dispatch without solution gives
        `converged=False` and a diagnosis; GridError where the dispatch itself has a wrong shape or is not finite.
        """
        self._check(dispatch)
        if start is None:
            start = self._state
        found = self._flow.solve(dispatch, start.warm_start)
        return self._explained(found, dispatch)

    def _explained(self, found: GridState, dispatch: Dispatch) -> GridState:
        """With what changed, where it has no solution."""
        if found.converged:
            return found
        return replace(found, diagnosis=f"{found.diagnosis}; {self._what_changed(dispatch)}")

    def commit(self, state: GridState, dispatch: Dispatch) -> None:
        """Make `state` the last accepted one and `dispatch` what led to it."""
        self._state = state
        self._dispatch = dispatch

    def _check(self, dispatch: Dispatch) -> None:
        """GridError where the dispatch does not fit this grid."""
        count, n_gen = self.injection_bus.size, self.network.gens.bus.size
        if dispatch.p_kw.shape != (count,) or dispatch.q_kvar.shape != (count,):
            raise GridError(f"dispatch: p_kw {dispatch.p_kw.shape} and q_kvar {dispatch.q_kvar.shape};"
                            f" expected ({count},), one for each injection")
        last = self._checked_gens
        if dispatch.gen_p_kw is not last[0] or dispatch.gen_v_pu is not last[1]:
            self._check_gens(dispatch, n_gen)
        # A sum of squares is finite only if every term is, and no term is beyond all sense: a fraction of the cost of
        # four masks.
        if not isfinite(dispatch.p_kw.dot(dispatch.p_kw) + dispatch.q_kvar.dot(dispatch.q_kvar)):
            raise GridError(f"dispatch: {_not_finite(dispatch)} is not finite; expected numbers")
        if dispatch.topology is not self._checked:
            _check_topology(self.network.topology, dispatch.topology)
            self._checked = dispatch.topology

    def _check_gens(self, dispatch: Dispatch, n_gen: int) -> None:
        """As `_check`, for the generators' set points: most runs never change them."""
        if dispatch.gen_p_kw.shape != (n_gen,) or dispatch.gen_v_pu.shape != (n_gen,):
            raise GridError(f"dispatch: gen_p_kw {dispatch.gen_p_kw.shape} and gen_v_pu {dispatch.gen_v_pu.shape};"
                            f" expected ({n_gen},), one for each generator")
        if not isfinite(dispatch.gen_p_kw.dot(dispatch.gen_p_kw) + dispatch.gen_v_pu.dot(dispatch.gen_v_pu)):
            raise GridError(f"dispatch: {_not_finite(dispatch)} is not finite; expected numbers")
        self._checked_gens = (dispatch.gen_p_kw, dispatch.gen_v_pu)

    def _what_changed(self, dispatch: Dispatch) -> str:
        """What differs from the last committed dispatch, largest first."""
        last, network = self._dispatch, self.network
        changes = _moved(network, last.topology, dispatch.topology)
        p, q = dispatch.p_kw - last.p_kw, dispatch.q_kvar - last.q_kvar
        size = np.hypot(p, q)
        largest = [i for i in np.argsort(-size, kind="stable")[:CHANGES_NAMED] if size[i] > 0]
        changes += [f"injection {i} at bus {network.bus_names[self.injection_bus[i]]} {p[i]:+.4g} kW {q[i]:+.4g} kvar"
                    for i in largest]
        gen_p, gen_v = dispatch.gen_p_kw - last.gen_p_kw, dispatch.gen_v_pu - last.gen_v_pu
        changes += [f"generator {network.gen_names[i]} {gen_p[i]:+.4g} kW {gen_v[i]:+.4g} pu"
                    for i in np.flatnonzero((gen_p != 0) | (gen_v != 0))[:CHANGES_NAMED]]
        if not changes:
            return "nothing changed since the last committed dispatch"
        return "changed since the last committed dispatch: " + ", ".join(changes)


def _check_topology(expected: Topology, found: Topology) -> None:
    """GridError where positions are missing, too many or not finite."""
    for name in ("line_closed", "trafo_closed", "gen_closed", "switch_closed", "tap", "shunt_step"):
        want, have = getattr(expected, name), getattr(found, name)
        if have.shape != want.shape or have.dtype != want.dtype:
            raise GridError(f"topology: {name} has shape {have.shape} of {have.dtype}; expected {want.shape}"
                            f" of {want.dtype}")
        if not np.isfinite(have).all():
            first = int((~np.isfinite(have)).argmax())
            raise GridError(f"topology: {name}[{first}] is not finite; expected a position")


def _moved(network: Network, before: Topology, after: Topology) -> list[str]:
    """Which positions differ, in words."""
    if before is after:
        return []
    words: list[str] = []
    for kind, names, old, new in (
        ("line", network.line_names, before.line_closed, after.line_closed),
        ("transformer", network.trafo_names, before.trafo_closed, after.trafo_closed),
        ("generator", network.gen_names, before.gen_closed, after.gen_closed),
        ("switch", network.switch_names, before.switch_closed, after.switch_closed),
    ):
        words += [f"{kind} {names[i]} {'closed' if new[i] else 'opened'}" for i in np.flatnonzero(old != new)]
    for kind, names, was, now in (("tap", network.trafo_names, before.tap, after.tap),
                                  ("shunt", network.shunt_names, before.shunt_step, after.shunt_step)):
        words += [f"{kind} {names[i]} {was[i]:g} to {now[i]:g}" for i in np.flatnonzero(was != now)]
    return words[:CHANGES_NAMED]


def _not_finite(dispatch: Dispatch) -> str:
    """The first value of a dispatch that is not finite."""
    for name in ("p_kw", "q_kvar", "gen_p_kw", "gen_v_pu"):
        bad = np.flatnonzero(~np.isfinite(getattr(dispatch, name)))
        if bad.size:
            return f"{name}[{bad[0]}]"
    return "the square of an injection"


def _checked_buses(network: Network, injection_bus: ArrayLike) -> IntArray:
    """The injections' bus positions, checked."""
    buses = np.asarray(injection_bus, dtype=np.int64).reshape(-1)
    wrong = np.flatnonzero((buses < 0) | (buses >= len(network.bus_names)))
    if wrong.size:
        raise GridError(f"injection {wrong[0]}: bus position {buses[wrong[0]]}; expected"
                        f" 0 to {len(network.bus_names) - 1}")
    return buses


def _without(owned: Sequence[int], element: Injections, kind: str) -> FloatArray:
    """1 for each element that stays in the base, 0 for an owned one."""
    stays = np.ones(len(element.names))
    for position in owned:
        if not 0 <= position < stays.size:
            raise GridError(f"owned {kind} {position}: the network has positions 0 to {stays.size - 1}")
        stays[position] = 0.0
    return stays


def _feed(network: Network, injection_bus: IntArray, owned_loads: Sequence[int], owned_sgens: Sequence[int]) -> Feed:
    """The base injections per bus."""
    count = len(network.bus_names)
    p, q, demand, reactive = (np.zeros(count) for _ in range(4))
    for element, stays in ((network.loads, _without(owned_loads, network.loads, "load")),
                           (network.sgens, _without(owned_sgens, network.sgens, "static generator")),
                           (network.fixed, np.ones(len(network.fixed.names)))):
        np.add.at(p, element.bus, element.p_kw * stays)
        np.add.at(q, element.bus, element.q_kvar * stays)
        np.add.at(demand, element.bus, np.maximum(-element.p_kw * stays, 0.0))
        np.add.at(reactive, element.bus, np.maximum(-element.q_kvar * stays, 0.0))
    return Feed(injection_bus, p, q, demand, reactive, tuple(owned_loads), tuple(owned_sgens))


def _power_flow(network: Network, feed: Feed, enforce_q_limits: bool) -> PowerFlow:
    """The solver that can carry this network."""
    if network.needs_pandapower:
        from cosim.grid.pandapower_flow import PandapowerFlow  # seconds to import, and few networks need it

        return PandapowerFlow(network, feed, enforce_q_limits)
    return NewtonFlow(network, feed, enforce_q_limits)
