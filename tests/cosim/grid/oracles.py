"""Independent power flows to compare with: PYPOWER on MATPOWER data, pandapower on its own nets."""

from __future__ import annotations

import importlib
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
from pypower.api import ppoption, runpf

from cosim.grid.network import Network
from cosim.state import GridState, Topology

QUIET = {"VERBOSE": 0, "OUT_ALL": 0, "PF_TOL": 1e-10}


def pypower_case(number: int) -> dict[str, Any]:
    """PYPOWER's case as floats (its case9 is of integers, which truncates its own results)."""
    name = "case24_ieee_rts" if number == 24 else f"case{number}"
    case = getattr(importlib.import_module(f"pypower.{name}"), name)()
    return {key: value.astype(float) if isinstance(value, np.ndarray) else value for key, value in case.items()}


def solved_by_pypower(case: dict[str, Any], **options: object) -> dict[str, Any]:
    """The case as PYPOWER solves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result, success = runpf(deepcopy(case), ppoption(**{**QUIET, **options}))
    assert success, "the oracle itself has no solution"
    return result


def solved_by_pandapower(network: Network, topology: Topology | None = None) -> Any:
    """The network's own pandapower net, switched as `topology` says, as runpp solves it."""
    net = deepcopy(network.pandapower_net)
    if topology is not None:
        net.line["in_service"] = topology.line_closed
        net.trafo["in_service"] = topology.trafo_closed
        net.gen["in_service"] = topology.gen_closed
        net.switch["closed"] = topology.switch_closed
        net.trafo["tap_pos"] = topology.tap
        net.shunt["in_service"] = topology.shunt_step > 0
        net.shunt["step"] = np.maximum(topology.shunt_step, 1)
    return run(net)


def run(net: Any) -> Any:
    """`net` after runpp."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-9, max_iteration=50, numba=False)
    return net


def assert_matches_pandapower(state: GridState, net: Any, within_pu: float = 1e-8) -> None:
    """Voltages, flows, loadings and slack power of `state` are those of the solved net; NaN where it has NaN."""
    assert state.converged, state.diagnosis
    np.testing.assert_allclose(state.v_pu, net.res_bus.vm_pu.to_numpy(), rtol=0, atol=within_pu)
    if np.isfinite(state.v_pu).sum() > 1:  # with the slack bus alone, runpp gives angle 0 whatever was held
        np.testing.assert_allclose(state.angle_deg, net.res_bus.va_degree.to_numpy(), rtol=0, atol=1e-6)
    p_from = np.concatenate([net.res_line.p_from_mw, net.res_trafo.p_hv_mw]) * 1e3
    np.testing.assert_allclose(state.p_from_kw, np.nan_to_num(p_from), rtol=0, atol=1e-3)
    loading = np.concatenate([net.res_line.loading_percent, net.res_trafo.loading_percent]) / 100.0
    rated = np.isfinite(state.loading)
    np.testing.assert_allclose(state.loading[rated], np.nan_to_num(loading[rated]), rtol=0, atol=1e-7)
    np.testing.assert_allclose(state.slack_p_kw, net.res_ext_grid.p_mw.sum() * 1e3, rtol=0, atol=1e-3)
    np.testing.assert_allclose(state.slack_q_kvar, net.res_ext_grid.q_mvar.sum() * 1e3, rtol=0, atol=1e-3)


def example_net(name: str, **options: object) -> Any:
    """A net of pandapower.networks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(pandapower.networks, name)(**options)
