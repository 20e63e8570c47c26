"""What does not change: common block, nameplate, capacities and settings (1, 120, 121, 702 and parts of others).

The settings of 121 and 702 are those of the nameplate: a master may write them as they are, and nothing else.  In 120
and 121 quadrants count from +P, +Q against the clock; power factors there are positive where
reactive power is injected.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, nan

from gateways.sunspec.codec import exponent_for
from gateways.sunspec.config import SunSpecConfig
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.subject import Ratings

#: Room above a rating for what is measured: overvoltage, current at low voltage.
ROOM = 1.5
#: Bits of CtrlModes (702): MAX_W, FIXED_W, FIXED_VAR; FIXED_PF; then those of the curve models.
_BASIC_MODES, _FIXED_PF = 0b0111, 1 << 3
_CURVE_MODES = {705: 1 << 4, 706: 1 << 10, 712: 1 << 9}


def scales(model: int, ratings: Ratings) -> dict[str, int]:
    """Scale factors of a model: full scale in four digits or more, within 16 bits."""
    full_w = 1000.0 * max(ratings.p_max_kw, ratings.p_charge_kw)
    w, va, var = (exponent_for(ROOM * full) for full in (full_w, 1000.0 * ratings.s_kva, 1000.0 * ratings.s_kva))
    amps, volts = exponent_for(ROOM * ratings.a_max), exponent_for(ROOM * ratings.v_nom_v)
    wh = exponent_for(1000.0 * ratings.e_kwh) if ratings.e_kwh == ratings.e_kwh else 0
    power = {"W_SF": w, "VA_SF": va, "A_SF": amps, "V_SF": volts}
    known: dict[int, dict[str, int]] = {
        103: {**power, "VAr_SF": var, "Hz_SF": -2, "PF_SF": -1, "WH_SF": 0},
        203: {**power, "VAR_SF": var, "Hz_SF": -2, "PF_SF": -1, "TotWh_SF": 0},
        120: {"WRtg_SF": w, "VARtg_SF": va, "VArRtg_SF": var, "ARtg_SF": amps, "PFRtg_SF": -3}
        | ({"WHRtg_SF": wh, "MaxChaRte_SF": w, "MaxDisChaRte_SF": w} if ratings.stores else {}),
        121: {"WMax_SF": w, "VRef_SF": volts, "VRefOfs_SF": volts, "VAMax_SF": va, "VArMax_SF": var, "PFMin_SF": -3,
              "ECPNomHz_SF": -2},
        122: {"VArAval_SF": var, "WAval_SF": w},
        123: {"WMaxLimPct_SF": -2, "OutPFSet_SF": -3, "VArPct_SF": -2},
        124: {"WChaMax_SF": w, "WChaDisChaGra_SF": 0, "VAChaMax_SF": va, "MinRsvPct_SF": -2, "ChaState_SF": -2,
              "InOutWRte_SF": -2},
        701: {**power, "Var_SF": var, "Hz_SF": -3, "PF_SF": -3, "TotWh_SF": 0},
        702: {**power, "Var_SF": var, "PF_SF": -3},
        704: {"PF_SF": -3, "WMaxLimPct_SF": -2, "WSet_SF": 0, "WSetPct_SF": -2, "VarSet_SF": 0, "VarSetPct_SF": -2},
        713: {"WH_SF": wh, "Pct_SF": -2},
        **{number: curve.scales for number, curve in CURVE_MODELS.items()}}
    return known.get(model, {})


def common(config: SunSpecConfig) -> dict[str, float | str]:
    """Model 1; DA is the unit identifier, which is not the master's to change."""
    return {"Mn": config.manufacturer, "Md": config.model, "Vr": config.version, "SN": config.serial or config.name,
            "DA": float(config.unit)}


def nameplate(ratings: Ratings) -> dict[str, float]:
    """Model 120.  DERTyp: 4 PV, 82 with storage; the model knows no wind."""
    store = 1.0 if ratings.stores else nan
    q, factor = 1000.0 * ratings.q_max_kvar, _factor(ratings)
    return {"DERTyp": {"pv": 4.0, "battery": 82.0}.get(ratings.kind, nan),
            "WRtg": 1000.0 * ratings.p_max_kw, "VARtg": 1000.0 * ratings.s_kva, "ARtg": ratings.a_max,
            "VArRtgQ1": q, "VArRtgQ2": q * store, "VArRtgQ3": -q * store, "VArRtgQ4": -q,
            "PFRtgQ1": factor, "PFRtgQ2": factor * store, "PFRtgQ3": -factor * store, "PFRtgQ4": -factor,
            "WHRtg": 1000.0 * ratings.e_kwh, "MaxChaRte": 1000.0 * ratings.p_charge_kw * store,
            "MaxDisChaRte": 1000.0 * ratings.p_max_kw * store}


def settings(ratings: Ratings) -> dict[str, float]:
    """Model 121."""
    q, factor = 1000.0 * ratings.q_max_kvar, _factor(ratings)
    return {"WMax": 1000.0 * ratings.p_max_kw, "VRef": ratings.v_nom_v, "VRefOfs": 0.0, "VAMax": 1000.0 * ratings.s_kva,
            "VArMaxQ1": q, "VArMaxQ4": -q, "PFMinQ1": factor, "PFMinQ4": -factor, "ClcTotVA": 1.0,
            "ECPNomHz": ratings.hz}


def capacity(ratings: Ratings, modelled: Mapping[int, bool], *, factor: bool) -> dict[str, float]:
    """Model 702: ratings and, the same, settings.  `modelled`: which curve models work here; `factor`: fixed PF."""
    w, va, q = 1000.0 * ratings.p_max_kw, 1000.0 * ratings.s_kva, 1000.0 * ratings.q_max_kvar
    values = {"WMax": w, "VAMax": va, "VarMaxInj": q, "VarMaxAbs": q, "VNom": ratings.v_nom_v, "AMax": ratings.a_max}
    if ratings.stores:
        charge = 1000.0 * ratings.p_charge_kw
        values |= {"WChaRteMax": charge, "WDisChaRteMax": w, "VAChaRteMax": va, "VADisChaRteMax": va}
    modes = _BASIC_MODES | (_FIXED_PF if factor else 0)
    for model, works in modelled.items():
        modes |= _CURVE_MODES[model] if works else 0
    least = _factor(ratings)
    return {**values, **{f"{name}Rtg": value for name, value in values.items()}, "PFOvrExt": least, "PFUndExt": least,
            "PFOvrExtRtg": least, "PFUndExtRtg": least, "CtrlModes": float(modes)}


def store_settings(ratings: Ratings) -> dict[str, float]:
    """What stands still in model 124: gradients are "at once", 100 % a second.  Nothing without a store."""
    if not ratings.stores:
        return {}
    return {"WChaMax": 1000.0 * ratings.p_charge_kw, "WChaGra": 100.0, "WDisChaGra": 100.0,
            "VAChaMax": 1000.0 * ratings.s_kva, "MinRsvPct": 100.0 * ratings.soc_min, "ChaGriSet": 1.0}


def _factor(ratings: Ratings) -> float:
    """Least power factor, rounded down to its register."""
    return max(floor(1000.0 * ratings.pf_min), 1) / 1000.0
