"""From what masters have staged to what is asked of the run: one function for each point, NaN where nothing is asked.

Where several controls bear on one point: of limits of active power the least holds; of settings of reactive power and
of power factor those of 704 come before those of 123; one order to disconnect (123 Conn, 703 ES, 715 OpCtl) is enough.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isnan, nan

from gateways.sunspec import curves
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.state import State
from gateways.sunspec.subject import Ratings, clipped, least

#: OpCtl of model 715.
STOP, START, ENTER_STANDBY = 0.0, 1.0, 2.0
#: VarSetMod of model 704: per cent of active, reactive and apparent power rating, or var.
VAR_W_MAX, VAR_VAR_MAX, VAR_VA_MAX, VAR_VARS = 0.0, 1.0, 3.0, 4.0
#: VArPct_Mod of model 123: per cent of the active, of the reactive rating.
PCT_W_MAX, PCT_VAR_MAX = 1.0, 2.0
#: StorCtl_Mod of model 124: bits that put the limits of charging and discharging in force.
CHARGE, DISCHARGE = 1, 2
#: WSetMod of model 704: per cent of WMax, else W.
W_PCT = 0.0
OVER_EXCITED = 0.0


def demands(state: State, ratings: Ratings, controls: Collection[str]) -> dict[str, float]:
    """What is asked of each of the run's `controls` (short names), in kW, kvar and per unit."""
    asked = {"connect": _connect(state), "pf_set": _factor(state), "q_set_kvar": _q_kvar(state, ratings),
             "p_set_kw": _store_kw(state, ratings) if ratings.stores else _cap_kw(state, ratings)}
    for model in CURVE_MODELS.values():
        if model.model in state.staged:
            asked |= curves.demands(state, model)
    return {short: asked[short] for short in controls if short in asked}


def bears_on(model: int, path: str) -> tuple[str, ...]:
    """Points (short names) on which a control point acts, whatever else is staged."""
    if model in CURVE_MODELS:
        name = CURVE_MODELS[model].function
        return (f"{name}_on",) if path == "Ena" else (f"{name}_x1",) if path == "AdptCrvReq" else ()
    if path in ("Conn", "ES"):
        return ("connect",)
    if path == "OpCtl":
        return ("connect", "p_set_kw")
    if path.startswith(("OutPFSet", "PFW")):
        return ("pf_set",)
    if path.startswith(("VAr", "VarSet")):
        return ("q_set_kvar",)
    return ("p_set_kw",) if path.startswith(("WMaxLim", "WSet", "StorCtl", "OutWRte", "InWRte")) else ()


def _connect(state: State) -> float:
    orders = (state.of(123).get("Conn", nan), state.of(703).get("ES", nan),
              {STOP: 0.0, START: 1.0}.get(state.of(715).get("OpCtl", nan), nan))
    return least(orders) if any(order == order for order in orders) else nan


def _cap_kw(state: State, ratings: Ratings) -> float:
    """Generators: the least of the limits in force."""
    cap = least([*_limits_kw(state, ratings), _set_kw(state, ratings)])
    return nan if cap == float("inf") else clipped(cap, 0.0, ratings.p_max_kw)


def _store_kw(state: State, ratings: Ratings) -> float:
    """Batteries: what is set, within the limits in force; limits alone ask for nothing, a window (124) does."""
    setting = _set_kw(state, ratings)
    low, high = -ratings.p_charge_kw, min(least(_limits_kw(state, ratings)), ratings.p_max_kw)
    mode = _bits(state.of(124).get("StorCtl_Mod", 0.0))
    if isnan(setting):
        if not mode:
            return 0.0 if state.of(715).get("OpCtl") == ENTER_STANDBY else nan
        setting = 0.0
    if mode & CHARGE:
        low = max(low, -state.of(124)["InWRte"] / 100.0 * ratings.p_charge_kw)
    if mode & DISCHARGE:
        high = min(high, state.of(124)["OutWRte"] / 100.0 * ratings.p_max_kw)
    return clipped(min(max(setting, low), high), -ratings.p_charge_kw, ratings.p_max_kw)


def _limits_kw(state: State, ratings: Ratings) -> list[float]:
    limits = [fields["WMaxLimPct"] / 100.0 * ratings.p_max_kw
              for fields, switch in ((state.of(123), "WMaxLim_Ena"), (state.of(704), "WMaxLimPctEna"))
              if fields.get(switch) == 1.0]
    return [*limits, 0.0] if state.of(715).get("OpCtl") == ENTER_STANDBY else limits


def _set_kw(state: State, ratings: Ratings) -> float:
    fields = state.of(704)
    if fields.get("WSetEna") != 1.0:
        return nan
    if fields["WSetMod"] != W_PCT:
        return fields["WSet"] / 1000.0
    share = fields["WSetPct"] / 100.0
    return share * (ratings.p_charge_kw if share < 0 else ratings.p_max_kw)


def _factor(state: State) -> float:
    fields = state.of(704)
    if fields.get("PFWInjEna") == 1.0:
        return fields["PFWInj.PF"] * (1.0 if fields["PFWInj.Ext"] == OVER_EXCITED else -1.0)
    fields = state.of(123)
    return fields["OutPFSet"] if fields.get("OutPFSet_Ena") == 1.0 else nan


def _q_kvar(state: State, ratings: Ratings) -> float:
    q = _var_set_kvar(state.of(704), ratings)
    if isnan(q):
        q = _var_pct_kvar(state.of(123), ratings)
    # Rounding of the registers must not carry a full setting past the rating; what is truly beyond it is refused.
    over = abs(q) - ratings.q_max_kvar
    return q if not 0 < over <= 1e-3 * ratings.q_max_kvar else (ratings.q_max_kvar if q > 0 else -ratings.q_max_kvar)


def _var_set_kvar(fields: Mapping[str, float], ratings: Ratings) -> float:
    if fields.get("VarSetEna") != 1.0:
        return nan
    if fields["VarSetMod"] == VAR_VARS:
        return fields["VarSet"] / 1000.0
    base = {VAR_W_MAX: ratings.p_max_kw, VAR_VAR_MAX: ratings.q_max_kvar, VAR_VA_MAX: ratings.s_kva}
    return fields["VarSetPct"] / 100.0 * base[fields["VarSetMod"]]


def _var_pct_kvar(fields: Mapping[str, float], ratings: Ratings) -> float:
    if fields.get("VArPct_Ena") != 1.0:
        return nan
    if fields["VArPct_Mod"] == PCT_W_MAX:
        return fields["VArWMaxPct"] / 100.0 * ratings.p_max_kw
    return fields["VArMaxPct"] / 100.0 * ratings.q_max_kvar if fields["VArPct_Mod"] == PCT_VAR_MAX else nan


def _bits(value: float) -> int:
    return int(value) if value == value else 0
