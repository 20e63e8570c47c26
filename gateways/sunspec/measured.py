"""What the measurement models show: 103, 113, 122, 701, 713, the moving part of 124, and the meter 203.

Three equal phases: voltages between lines are the bus's per-unit times `v_nom_v`, to neutral 1/√3 of it; powers are
thirds; A is the sum of the phases, as the models say.  Power into the grid is positive; the sign of a power factor is
that of active power (model 701's note).  What the run does not have (temperatures, the DC side) is not implemented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import copysign, hypot, isnan, nan

from gateways.sunspec.subject import Ratings

Shown = dict[str, float]
#: Below this share of the rating, active power is none; so is throttling.
LITTLE = 0.005


@dataclass(frozen=True, slots=True)
class Electric:
    """Three-phase quantities at one instant, SI units; NaN where there is no such value."""

    w: float
    var: float
    va: float
    factor: float
    amps: float
    v_ll: float
    hz: float

    @property
    def v_ln(self) -> float:
        """Voltage to neutral."""
        return self.v_ll / 3**0.5

    @classmethod
    def of(cls, reading: Mapping[str, float], ratings: Ratings) -> Electric:
        """From the run's kW, kvar and per-unit voltage."""
        w, var = 1000.0 * reading.get("p_kw", nan), 1000.0 * reading.get("q_kvar", nan)
        v_ll, va = reading.get("v_pu", nan) * ratings.v_nom_v, hypot(w, var)
        factor = copysign(abs(w) / va, w) if va > 0 else 1.0 if va == 0 else nan
        # Sum of the phases: 3 · S/(3 · V/√3).
        amps = 3**0.5 * va / v_ll if v_ll > 0 else nan
        return cls(w, var, va, factor, amps, v_ll, nan if isnan(v_ll) else ratings.hz)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a device stands: energised and allowed to run, limited, or idle."""

    connected: bool
    energised: bool
    available_kw: float
    throttled: bool
    idle: bool

    @classmethod
    def of(cls, reading: Mapping[str, float], ratings: Ratings) -> Condition:
        """From its measurements and what is in force."""
        connected, energised = reading.get("connect", nan) != 0.0, not isnan(reading.get("v_pu", nan))
        p_kw, little = reading.get("p_kw", nan), LITTLE * ratings.p_max_kw
        available_kw = ratings.p_max_kw if ratings.stores else reading.get("p_available_kw", nan)
        throttled = not ratings.stores and connected and energised and available_kw - p_kw > little
        return cls(connected, energised, available_kw, throttled, not abs(p_kw) > little)

    def state(self, *, running: float, throttled: float, off: float, standby: float) -> float:
        """The code of an operating state."""
        if not (self.connected and self.energised):
            return off
        if self.throttled:
            return throttled
        return standby if self.idle else running


def legacy(reading: Mapping[str, float], ratings: Ratings) -> Shown:
    """Models 103 and 113 have the same points."""
    e, stands = Electric.of(reading, ratings), Condition.of(reading, ratings)
    return {"A": e.amps, **_phases("Aph{}", e.amps / 3), "PPVphAB": e.v_ll, "PPVphBC": e.v_ll, "PPVphCA": e.v_ll,
            **_phases("PhVph{}", e.v_ln), "W": e.w, "Hz": e.hz, "VA": e.va, "VAr": e.var, "PF": 100.0 * e.factor,
            "WH": 1000.0 * _injected_kwh(reading), "Evt1": _events(stands), "Evt2": 0.0,
            "St": stands.state(running=4.0, throttled=5.0, off=1.0, standby=8.0)}


def status(reading: Mapping[str, float], ratings: Ratings) -> Shown:
    """Model 122."""
    stands = Condition.of(reading, ratings)
    bits = (int(stands.connected and stands.energised) + 2 * int(stands.energised and stands.available_kw > 0)
            + 4 * int(not stands.idle))
    var_left = max(ratings.s_kva**2 - reading.get("p_kw", nan)**2, 0.0)**0.5
    return {"PVConn": nan if ratings.stores else float(bits), "StorConn": float(bits) if ratings.stores else 0.0,
            "ECPConn": 1.0 if stands.connected and stands.energised else 0.0, "ActWh": 1000.0 * _injected_kwh(reading),
            "WAval": 1000.0 * stands.available_kw, "VArAval": 1000.0 * min(var_left, ratings.q_max_kvar),
            "StActCtl": float(sum(1 << bit for bit, on in _active(reading, ratings) if on)), "RtSt": 0.0}


def _active(reading: Mapping[str, float], ratings: Ratings) -> tuple[tuple[int, bool], ...]:
    """Bits of StActCtl: FixedW, FixedVAR, FixedPF, Volt-VAr, Volt-Watt."""
    def has(name: str) -> bool:
        return not isnan(reading.get(name, nan))

    return ((0, has("p_set_kw")), (1, has("q_set_kvar")), (2, has("pf_set") or not isnan(ratings.factor)),
            (3, _on("volt_var", reading, ratings)), (10, _on("volt_watt", reading, ratings)))


def _on(function: str, reading: Mapping[str, float], ratings: Ratings) -> bool:
    standing = reading.get(f"{function}_on", nan)
    return ratings.functions[function].on if isnan(standing) else standing == 1.0


def advanced(reading: Mapping[str, float], ratings: Ratings) -> Shown:
    """Model 701."""
    e, stands = Electric.of(reading, ratings), Condition.of(reading, ratings)
    injected = 1000.0 * _injected_kwh(reading)
    absorbed = 1000.0 * reading.get("e_kwh_charged", nan) if ratings.stores else 0.0
    shown = {"W": e.w, "VA": e.va, "Var": e.var, "PF": e.factor, "A": e.amps, "LLV": e.v_ll, "LNV": e.v_ln, "Hz": e.hz,
             "TotWhInj": injected, "TotWhAbs": absorbed, "Alrm": _events(stands), "DERMode": 1.0,
             "St": float(stands.connected and stands.energised),
             "InvSt": stands.state(running=3.0, throttled=4.0, off=0.0, standby=7.0),
             "ConnSt": float(stands.connected and stands.energised), **_throttling(reading, ratings, stands)}
    for phase, line in (("L1", "VL1L2"), ("L2", "VL2L3"), ("L3", "VL3L1")):
        shown |= {f"W{phase}": e.w / 3, f"VA{phase}": e.va / 3, f"Var{phase}": e.var / 3, f"PF{phase}": e.factor,
                  f"A{phase}": e.amps / 3, line: e.v_ll, f"V{phase}": e.v_ln,
                  f"TotWhInj{phase}": injected / 3, f"TotWhAbs{phase}": absorbed / 3}
    return shown


def _throttling(reading: Mapping[str, float], ratings: Ratings, stands: Condition) -> Shown:
    """ThrotPct: the share of the rating that limits leave; ThrotSrc: bit 0 MAX_W for a limit, 10 VOLT_WATT."""
    cap_kw = reading.get("p_set_kw", nan)
    limited = stands.throttled and not ratings.stores
    if limited and not isnan(cap_kw) and cap_kw < stands.available_kw:
        return {"ThrotPct": 100.0 * cap_kw / ratings.p_max_kw, "ThrotSrc": 1.0}
    volt_watt = limited and _on("volt_watt", reading, ratings)
    share = 100.0 * reading.get("p_kw", nan) / ratings.p_max_kw if limited else 100.0
    return {"ThrotPct": share, "ThrotSrc": float(1 << 10) if volt_watt else 0.0}


def storage(reading: Mapping[str, float], ratings: Ratings) -> Shown:
    """Model 713; its note wants 0 % where nothing is stored."""
    soc = reading.get("soc", nan)
    return {"WHAvail": 1000.0 * ratings.e_kwh * soc, "SoC": 100.0 * soc if ratings.stores else 0.0,
            "Sta": 0.0 if soc == soc else nan}


def basic_storage(reading: Mapping[str, float], ratings: Ratings) -> Shown:
    """What moves in model 124.  ChaSt: 2 empty, 3 discharging, 4 charging, 6 holding."""
    soc, p_kw, little = reading.get("soc", nan), reading.get("p_kw", nan), LITTLE * ratings.p_max_kw
    stands = Condition.of(reading, ratings)
    going = 3.0 if p_kw > little else 4.0 if p_kw < -little else 2.0 if soc <= ratings.soc_min else 6.0
    return {"ChaState": 100.0 * soc, "ChaSt": 1.0 if not (stands.connected and stands.energised) else going}


def meter(reading: Mapping[str, float], ratings: Ratings) -> Shown:
    """Model 203.  Imported is what positive power carries: into the feeder, or on along the line."""
    e = Electric.of(reading, ratings)
    dead = not isnan(e.w) and isnan(e.v_ll) and "v_pu" in reading
    return {"A": e.amps, **_phases("Aph{}", e.amps / 3), "PhV": e.v_ln, **_phases("PhVph{}", e.v_ln), "PPV": e.v_ll,
            "PhVphAB": e.v_ll, "PhVphBC": e.v_ll, "PhVphCA": e.v_ll, "Hz": e.hz,
            "W": e.w, **_phases("Wph{}", e.w / 3), "VA": e.va, **_phases("VAph{}", e.va / 3),
            "VAR": e.var, **_phases("VARph{}", e.var / 3), "PF": 100.0 * e.factor,
            **_phases("PFph{}", 100.0 * e.factor), "Evt": float(1 << 2) if dead else 0.0,
            "TotWhImp": 1000.0 * reading.get("e_kwh_in", nan), "TotWhExp": 1000.0 * reading.get("e_kwh_out", nan)}


def _phases(name: str, value: float) -> Shown:
    return {name.format(phase): value for phase in "ABC"}


def _injected_kwh(reading: Mapping[str, float]) -> float:
    return reading.get("e_kwh", reading.get("e_kwh_discharged", nan))


def _events(stands: Condition) -> float:
    """Bits: 2 AC_DISCONNECT where it was told to, 4 GRID_DISCONNECT where the bus has no voltage."""
    return float((0 if stands.connected else 1 << 2) + (0 if stands.energised else 1 << 4))
