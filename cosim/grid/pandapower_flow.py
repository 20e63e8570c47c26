"""The AC power flow by pandapower: slow (tens of milliseconds) and for what our own model does not carry.

Same interface as `NewtonFlow`. The net is this object's own copy; one extra load a bus carries the device
injections. Results are read from pandapower's tables, so three-winding transformers, impedances, wards, DC links and
voltage-dependent loads mean what they mean there.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import pandapower as pp

from cosim.grid.flow import LOW_VOLTAGE_PU, failed
from cosim.grid.network import Network
from cosim.grid.plan_flows import Feed
from cosim.state import ComplexArray, Dispatch, FloatArray, Flows, GridState, KnownFlows, Topology

MAX_ITERATIONS = 50
TOLERANCE_MVA = 1e-9


class PandapowerFlow:
    """Power flow by `pandapower.runpp`."""

    name = "pandapower"

    def __init__(self, network: Network, feed: Feed, enforce_q_limits: bool = False) -> None:
        self._network = network
        self._feed = feed
        self._enforce = enforce_q_limits
        self._net = net = deepcopy(network.pandapower_net)
        self._own_loads = len(net.load)
        # Base loads stay rows of the net, since some depend on voltage; those that devices own are switched off.
        for table, owned in (("load", feed.owned_loads), ("sgen", feed.owned_sgens)):
            net[table].loc[net[table].index[list(owned)], "in_service"] = False
        pp.create_loads(net, list(net.bus.index), p_mw=0.0, q_mvar=0.0)
        self._topology: Topology | None = None
        self._reason = ""

    def solve(self, dispatch: Dispatch, start: ComplexArray | None) -> GridState:
        """The state of this dispatch, started from bus voltages `start` (n_bus,) if given."""
        self._write(dispatch)
        usable = start is not None and bool((np.abs(start) > 0).all())
        if usable and self._run(start) and self._net.res_bus.vm_pu.min() >= LOW_VOLTAGE_PU:
            return self._state(dispatch)
        if self._run(None):
            return self._state(dispatch)
        return failed(self._network, len(self._network.branch_names), self._reason, self.name)

    def _run(self, start: ComplexArray | None) -> bool:
        """Whether runpp converges from `start`, or from its own start."""
        options: dict[str, Any] = {}
        if start is not None:
            options = {"init_vm_pu": np.abs(start), "init_va_degree": np.degrees(np.angle(start))}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pp.runpp(self._net, calculate_voltage_angles=True, tolerance_mva=TOLERANCE_MVA, numba=False,
                         max_iteration=MAX_ITERATIONS, enforce_q_lims=self._enforce, **options)
        except Exception as error:  # runpp raises many kinds for what is one fact here: no solution
            self._reason = f"pandapower finds no solution ({type(error).__name__}: {str(error)[:200]})"
            return False
        return bool(self._net.converged)

    def _write(self, dispatch: Dispatch) -> None:
        """Dispatch into the net's tables."""
        net, feed = self._net, self._feed
        count = feed.base_p_kw.size
        p = np.bincount(feed.injection_bus, dispatch.p_kw, count)
        q = np.bincount(feed.injection_bus, dispatch.q_kvar, count)
        rows = net.load.index[self._own_loads:]
        net.load.loc[rows, "p_mw"], net.load.loc[rows, "q_mvar"] = -p / 1e3, -q / 1e3
        if len(net.gen):
            scaling = net.gen.scaling.to_numpy(dtype=np.float64) if "scaling" in net.gen else 1.0
            net.gen["p_mw"] = dispatch.gen_p_kw / 1e3 / scaling
            net.gen["vm_pu"] = dispatch.gen_v_pu
        if dispatch.topology is not self._topology:
            self._switch(dispatch.topology)
            self._topology = dispatch.topology

    def _switch(self, topology: Topology) -> None:
        """Positions into the net's tables."""
        net = self._net
        net.line["in_service"] = topology.line_closed
        net.trafo["in_service"] = topology.trafo_closed
        net.gen["in_service"] = topology.gen_closed
        net.switch["closed"] = topology.switch_closed
        net.trafo["tap_pos"] = topology.tap
        on = topology.shunt_step > 0
        net.shunt["in_service"] = on
        net.shunt["step"] = np.where(on, topology.shunt_step, 1.0)

    def _state(self, dispatch: Dispatch) -> GridState:
        """The state in the net's result tables."""
        net = self._net
        v_pu, angle = _results(net.res_bus, "vm_pu"), _results(net.res_bus, "va_degree")
        dead = np.isnan(v_pu)
        p_from = np.concatenate([_results(net.res_line, "p_from_mw"), _results(net.res_trafo, "p_hv_mw"),
                                 _results(net.res_trafo3w, "p_hv_mw")]) * 1e3
        q_from = np.concatenate([_results(net.res_line, "q_from_mvar"), _results(net.res_trafo, "q_hv_mvar"),
                                 _results(net.res_trafo3w, "q_hv_mvar")]) * 1e3
        loading = np.concatenate([_results(table, "loading_percent") for table in (
            net.res_line, net.res_trafo, net.res_trafo3w)]) / 100.0
        loading = np.where(np.isnan(self._network.branches.rating_from_kva), np.nan, np.nan_to_num(loading))
        gen_p, gen_q = (np.nan_to_num(_results(net.res_gen, c)) * 1e3 for c in ("p_mw", "q_mvar"))
        slack = self._network.gens.slack & dispatch.topology.gen_closed
        slack_p = float(np.nansum(_results(net.res_ext_grid, "p_mw")) * 1e3 + gen_p[slack].sum())
        slack_q = float(np.nansum(_results(net.res_ext_grid, "q_mvar")) * 1e3 + gen_q[slack].sum())
        lost = sum(float(np.nansum(_results(net[f"res_{table}"], "pl_mw"))) for table in (
            "line", "trafo", "trafo3w", "impedance") if f"res_{table}" in net)
        lost += float(np.nansum(_results(net.res_shunt, "p_mw")))
        unserved = self._unserved(dead, dispatch)
        voltage = np.where(dead, 0.0, np.nan_to_num(v_pu) * np.exp(1j * np.radians(np.nan_to_num(angle))))
        known = KnownFlows(Flows(angle, np.nan_to_num(p_from), np.nan_to_num(q_from), loading, gen_p, gen_q, slack_p,
                                 slack_q, lost * 1e3))
        return GridState(True, v_pu, int(net._ppc.get("iterations", 0)), "", self.name, known, *unserved, voltage)

    def _unserved(self, dead: np.ndarray[Any, np.dtype[np.bool_]], dispatch: Dispatch) -> tuple[float, float]:
        """Demand and reactive demand at de-energised buses."""
        feed = self._feed
        at_dead = dead[feed.injection_bus]
        p, q = dispatch.p_kw[at_dead], dispatch.q_kvar[at_dead]
        return (float(feed.demand_kw[dead].sum() - p[p < 0].sum()),
                float(feed.demand_kvar[dead].sum() - q[q < 0].sum()))


def _results(table: Any, column: str) -> FloatArray:
    """A result column as floats, empty where the table is."""
    if column not in table:
        return np.zeros(len(table))
    return np.asarray(table[column].to_numpy(dtype=np.float64), dtype=np.float64)
