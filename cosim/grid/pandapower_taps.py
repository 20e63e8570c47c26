"""Transformer models of a pandapower net at any tap position, converted by pandapower and remembered."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import numpy as np
from pandapower.build_branch import _calc_branch_values_from_trafo_df
from pandapower.converter.pypower.to_ppc import to_ppc

from cosim.errors import GridError
from cosim.grid.network import ASSUMED_TAP_LIMIT, ASSUMED_TAP_STEP, PiBranches
from cosim.state import BoolArray, FloatArray

MAX_POSITIONS = 4096


def mend_taps(net: Any) -> BoolArray:
    """Give transformers without tap data the assumed tap changer at neutral; which (n_trafo,) got one."""
    trafo = net.trafo
    for column, kind in (("tap_pos", np.float64), ("tap_neutral", np.float64), ("tap_step_percent", np.float64),
                         ("tap_min", np.float64), ("tap_max", np.float64)):
        trafo[column] = (trafo[column] if column in trafo else np.nan * np.ones(len(trafo))).astype(kind)
    side = trafo["tap_side"].astype(object) if "tap_side" in trafo else np.full(len(trafo), None)
    known = np.array([s in {"hv", "lv"} for s in side], dtype=bool)
    usable = known & trafo.tap_step_percent.notna().to_numpy() & trafo.tap_neutral.notna().to_numpy()
    missing = ~usable
    trafo["tap_side"] = np.where(missing, "hv", np.asarray(side, dtype=object))
    if "tap_changer_type" not in trafo:
        trafo["tap_changer_type"] = "Ratio"
    trafo["tap_changer_type"] = trafo.tap_changer_type.astype(object)
    trafo.loc[missing, "tap_changer_type"] = "Ratio"
    trafo.loc[missing, ["tap_neutral", "tap_pos"]] = 0.0
    trafo.loc[missing, "tap_step_percent"] = 100.0 * ASSUMED_TAP_STEP
    trafo.loc[missing, "tap_min"] = -float(ASSUMED_TAP_LIMIT)
    trafo.loc[missing, "tap_max"] = float(ASSUMED_TAP_LIMIT)
    if "tap_step_degree" in trafo:
        trafo.loc[missing, "tap_step_degree"] = 0.0
    trafo["tap_pos"] = trafo.tap_pos.fillna(trafo.tap_neutral)
    return np.asarray(missing, dtype=bool)


class PandapowerTaps:
    """A `TapModel` over a pandapower net: each set of positions is converted once and kept."""

    def __init__(self, net: Any) -> None:
        self._source = net
        self._net: Any = None
        self._known: dict[bytes, PiBranches] = {}

    def at(self, tap: FloatArray) -> PiBranches:
        """The pi-models at these tap positions; GridError where pandapower refuses them."""
        key = tap.tobytes()
        if key not in self._known:
            if len(self._known) >= MAX_POSITIONS:
                self._known.clear()
            self._known[key] = self._converted(tap)
        return self._known[key]

    def _converted(self, tap: FloatArray) -> PiBranches:
        if not len(self._source.trafo):
            none, no = np.zeros(0), np.zeros(0, dtype=np.complex128)
            return PiBranches(none, none, no, no, no)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if self._net is None:
                    self._net = _all_in_service(self._source)
                net = self._net
                table = net.trafo.copy()
                table["tap_pos"] = tap
                r, x, g, b, g_more, b_more, ratio, shift = _calc_branch_values_from_trafo_df(net, net["_ppc"], table)
        except (KeyError, ValueError, UserWarning, FloatingPointError) as error:
            name = self._source.name or "the network"
            raise GridError(f"transformers of {name} at taps {tap.tolist()}: {error}") from error
        at_from, at_to = (g + 1j * b) / 2.0, (g + g_more + 1j * (b + b_more)) / 2.0
        return PiBranches(r, x, at_from, at_to, ratio * np.exp(1j * np.radians(shift)))


def _all_in_service(source: Any) -> Any:
    """A copy with every bus in service and no switch, converted: pandapower's formulas look bus voltages up there."""
    net = deepcopy(source)
    net.bus["in_service"] = True
    net.switch = net.switch.iloc[:0]
    to_ppc(net, calculate_voltage_angles=True, init="flat", mode="pf", check_connectivity=False)
    return net
