"""Control points of the models: which a station offers, what may be written to them, and what a write does to `State`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import nan

from gateways.sunspec import curves, timers
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.demands import START, STOP
from gateways.sunspec.state import Staged, State
from gateways.sunspec.subject import Ratings

#: Slack of a range in W or var: what rounding to a scale factor may add to a full-scale value.
_ROUND = 1.0 + 1e-3


def initial(model: int, ratings: Ratings, controls: Collection[str]) -> Staged:
    """What can be written in this model at this device, with its value at the start (NaN: as the device has it)."""
    if model in CURVE_MODELS:
        curve = CURVE_MODELS[model]
        return curves.initial(curve, ratings) if curves.controllable(curve, controls) else {}
    if model == 123:
        return _immediate(controls)
    if model == 703:
        return {"ES": nan} if "connect" in controls else {}
    if model == 704:
        return _advanced(controls)
    if model == 715:
        return {"ControllerHb": nan, "AlarmReset": 0.0, "OpCtl": nan}
    if model == 124 and ratings.stores:
        return {"StorCtl_Mod": 0.0, "OutWRte": 100.0, "InWRte": 100.0, "InOutWRte_RvrtTms": 0.0}
    return {}


def missing(model: int, ratings: Ratings, controls: Collection[str]) -> bool:
    """Whether the model is about control and this device offers nothing of it."""
    acts = model in CURVE_MODELS or model in (123, 124, 703, 704)
    return acts and not initial(model, ratings, controls)


def _immediate(controls: Collection[str]) -> Staged:
    fields: Staged = {"WMaxLimPct": 100.0, "WMaxLimPct_RvrtTms": 0.0, "WMaxLim_Ena": 0.0,
                      "VArWMaxPct": 0.0, "VArMaxPct": 0.0, "VArPct_RvrtTms": 0.0, "VArPct_Mod": 2.0, "VArPct_Ena": 0.0}
    if "connect" in controls:
        fields |= {"Conn": nan, "Conn_RvrtTms": 0.0}
    if "pf_set" in controls:
        fields |= {"OutPFSet": 1.0, "OutPFSet_RvrtTms": 0.0, "OutPFSet_Ena": 0.0}
    return fields


def _advanced(controls: Collection[str]) -> Staged:
    fields: Staged = {
        "WMaxLimPctEna": 0.0, "WMaxLimPct": 100.0, "WMaxLimPctRvrt": 100.0, "WMaxLimPctEnaRvrt": 0.0,
        "WMaxLimPctRvrtTms": 0.0,
        "WSetEna": 0.0, "WSetMod": 0.0, "WSet": 0.0, "WSetRvrt": 0.0, "WSetPct": 0.0, "WSetPctRvrt": 0.0,
        "WSetEnaRvrt": 0.0, "WSetRvrtTms": 0.0,
        "VarSetEna": 0.0, "VarSetMod": 4.0, "VarSet": 0.0, "VarSetRvrt": 0.0, "VarSetPct": 0.0, "VarSetPctRvrt": 0.0,
        "VarSetEnaRvrt": 0.0, "VarSetRvrtTms": 0.0}
    if "pf_set" in controls:
        fields |= {"PFWInjEna": 0.0, "PFWInjEnaRvrt": 0.0, "PFWInjRvrtTms": 0.0, "PFWInj.PF": 1.0, "PFWInj.Ext": 0.0,
                   "PFWInjRvrt.PF": 1.0, "PFWInjRvrt.Ext": 0.0}
    return fields


def legal(model: int, path: str, value: float, ratings: Ratings, controls: Collection[str]) -> bool:
    """Whether this value may be staged (values of enumerations are judged by the definition before)."""
    if model in CURVE_MODELS:
        return curves.legal(CURVE_MODELS[model], path, value, ratings)
    if path == "VarSetMod":
        return value != 2.0  # per cent of what is available would change with every cloud
    if path == "OpCtl":
        return value not in (STOP, START) or "connect" in controls
    if path == "OutPFSet":
        return _factor_low(ratings) <= abs(value) <= 1.0
    low, high = _range(model, path, ratings)
    return low <= value <= high


def _range(model: int, path: str, ratings: Ratings) -> tuple[float, float]:
    name = path.replace("Rvrt", "") if path.endswith(("Rvrt", "Rvrt.PF")) else path
    if name == "WMaxLimPct":
        return 0.0, 100.0
    if name in ("VArWMaxPct", "VArMaxPct", "OutWRte", "InWRte", "VarSetPct"):
        return -100.0, 100.0
    if name == "WSetPct":
        return (-100.0 if ratings.stores else 0.0), 100.0
    if name == "WSet":
        return -1000.0 * _ROUND * ratings.p_charge_kw, 1000.0 * _ROUND * ratings.p_max_kw
    if name == "VarSet":
        return -1000.0 * _ROUND * ratings.q_max_kvar, 1000.0 * _ROUND * ratings.q_max_kvar
    if name == "PFWInj.PF":
        return _factor_low(ratings), 1.0
    return 0.0, {(123, "VArPct_Mod"): 2.0, (124, "StorCtl_Mod"): 3.0}.get((model, name), 2.0**32)


def _factor_low(ratings: Ratings) -> float:
    """Least power factor, as its register can say it."""
    return max(ratings.pf_min - 1e-3, 1e-3)


def write(state: State, model: int, values: Mapping[str, float], ratings: Ratings, t_us: int) -> str:
    """Stage one request's values, adopt a curve, restart timers; in place.  Gives the refusal, "" where there is none.
    """
    fields = state.staged[model]
    heard = "ControllerHb" in values and values["ControllerHb"] != fields["ControllerHb"]
    fields.update(values)
    if "AlarmReset" in values:
        fields["AlarmReset"] = 0.0  # nothing is latched; the register is a button
    if heard:
        state.heard_us = t_us
    refusal = ""
    if "AdptCrvReq" in values:
        refusal = curves.adopt(state, CURVE_MODELS[model], ratings, t_us)
    timers.restart(state, model, values.keys(), t_us)
    return refusal
