"""A second opinion on accepted states: pandapower's own copy of the feeder and its own Newton."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn

from benchmarks.shield_cases import Feeder
from cosim.grid import Grid
from cosim.points import Vector
from cosim.state import GridState

TOLERANCE_PU = 1e-8
"""Difference between two solvers that is none."""
_NETS: dict[str, Any] = {"case33bw": pn.case33bw, "cigre_mv": lambda: pn.create_cigre_network_mv(with_der=False)}


class Oracle:
    """pandapower's network with every injection of the run as a static generator, its own loads out of the way."""

    def __init__(self, feeder: Feeder, grid: Grid) -> None:
        self._feeder, self._net = feeder, _NETS[feeder.network]()
        self._net.load["in_service"] = False
        bus = self._net.bus.index.to_numpy()[grid.injection_bus]
        pp.create_sgens(self._net, bus, p_mw=0.0, q_mvar=0.0)
        self._rated = ~np.isnan(grid.network.rating_kva)

    def compare(self, p_kw: Vector, q_kvar: Vector, state: GridState) -> tuple[float, bool]:
        """Largest difference of voltages and loadings (pu), and whether pandapower finds the limits kept."""
        net, feeder = self._net, self._feeder
        net.sgen["p_mw"], net.sgen["q_mvar"] = p_kw / 1e3, q_kvar / 1e3
        pp.runpp(net, init="flat", tolerance_mva=1e-10, numba=False, calculate_voltage_angles=True)
        v = net.res_bus.vm_pu.to_numpy()
        differs = float(np.abs(v - state.v_pu).max())
        kept = v.max() <= feeder.v_max_pu + TOLERANCE_PU and v.min() >= feeder.v_min_pu - TOLERANCE_PU
        if self._rated.any():
            loading = np.concatenate([net.res_line.loading_percent, net.res_trafo.loading_percent])[self._rated] / 1e2
            differs = max(differs, float(np.abs(loading - state.loading[self._rated]).max()))
            kept = kept and loading.max() <= feeder.loading_max + TOLERANCE_PU
        return differs, bool(kept)
