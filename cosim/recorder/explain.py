"""One intervention of the shield in one line: who asked what, which limit, by how much, what is applied instead.

It reads a row of the decisions table (`RunResult.decisions`), so that the report, the audit log and a person at the
command line say the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

#: What a reason means where no limit explains it; the words of `cosim.shield.ShieldReason`.
REASONS = {
    "capability": "more than the device is rated for",
    "ramp": "faster than the device can follow",
    "energy": "more than the energy stored, or the room left, allows",
    "min_time": "within the device's minimum time between changes",
    "voltage": "a voltage limit",
    "loading": "a loading limit",
    "exchange": "a limit on import or export",
    "reserve": "the generators' reserve",
    "contingency": "a limit after the loss of a branch",
    "switching": "a rule for switching",
    "energy_reserve": "the reserve of stored energy",
    "divergence": "the power flow has no solution at the request",
    "stale": "what is known of the device is too old",
    "emergency_stop": "the emergency stop",
    "recovery": "an emergency action that is not taken back yet",
}
#: Reasons of the device itself: it would not have followed, whatever the shield did.
DEVICE_REASONS = ("capability", "ramp", "energy", "min_time")
#: What a rung of the fallback chain means; the words of `cosim.shield.Rung`.
RUNGS = {
    "request": "what the device can follow",
    "projection": "the nearest safe setpoint",
    "last_safe": "on the way back to the last verified setpoint",
    "backup": "the backup controller",
    "emergency": "an emergency action",
    "least_harm": "the least harm: nothing tried keeps every limit",
}
#: Unit and decimals of a limited point, by the end of its name.
_UNITS = {"v_pu": ("pu", 4), "loading": ("", 3), "p_kw": ("kW", 1), "q_kvar": ("kvar", 1), "up_kw": ("kW", 1),
          "soc": ("", 3)}
_DECIMALS = {"kW": 1, "kvar": 1, "kVA": 1, "pu": 4}


def explain(row: Mapping[str, Any], unit: str = "", when: str = "") -> str:
    """One line for one row of the decisions table; `unit` is that of its point, `when` goes before it."""
    requested, applied = row["requested"], row["applied"]
    who = row["source"] or "nobody"
    asked = f"{who} asked {figure(requested, unit)}" if not isnan(requested) else "nobody asks, it acts on its own"
    begin = f"{when + ' ' if when else ''}{row['point']}: {asked}"
    if row["reason"] == "none":
        then = "" if isnan(applied) else f": {figure(applied, unit)} applied"
        return f"{begin}; nothing is in its way any more{then}"
    how = f" ({RUNGS.get(row['rung'], row['rung'])})" if row["rung"] != "request" else ""
    done = f"{figure(applied, unit)} {'applied' if row['enforced'] else 'would be applied'}{how}"
    seen = "" if row["enforced"] else "; the shield only observes, the request went through"
    return f"{begin}; {why(row)}: {done}{_after(row)}{seen}"


def why(row: Mapping[str, Any]) -> str:
    """The limit that explains a row, and by how much the request would have broken it."""
    reason, limit = str(row["reason"]), row["limit"]
    words = REASONS.get(reason, reason.replace("_", " "))
    if not limit:
        return words
    bound, found = row["bound"], row["found"]
    unit, decimals = limit_unit(limit)
    lead = f"{words}, " if reason in ("energy_reserve", "stale", "emergency_stop", "recovery", "switching") else ""
    if not isfinite(bound):
        return f"{lead or f'{words} '}at {limit}" if reason != "divergence" else words
    at = f"limit {bound:.6g}"
    if not isfinite(found):
        return f"{lead}{limit} would have no value (the power flow has no solution), {at}"
    value = " ".join(part for part in (_number(found, decimals), unit) if part)
    return f"{lead}{limit} would be {value}, {at} (by {_number(abs(found - bound), decimals)})"


def limit_unit(limit: str) -> tuple[str, int | None]:
    """Unit and decimals of a limited point (``bus.18.v_pu without line.3``); None: as many as it takes."""
    return _UNITS.get(limit.partition(" without ")[0].rpartition(".")[2], ("", None))


def limit_words(limit: str, value: float) -> str:
    """A limited point and its value: ``bus.18.v_pu 1.0612 pu``."""
    unit, decimals = limit_unit(limit)
    return " ".join(part for part in (limit, _number(value, decimals), unit) if part)


def figure(value: float, unit: str = "") -> str:
    """A value with its unit: ``1458.0 kW``, ``1.0612 pu``, ``3``."""
    return " ".join(part for part in (_number(value, _DECIMALS.get(unit)), unit) if part)


def _after(row: Mapping[str, Any]) -> str:
    after = row["after"]
    if not row["limit"] or not isfinite(after):
        return ""
    unit, decimals = limit_unit(row["limit"])
    words = " ".join(part for part in (_number(after, decimals), unit) if part)
    return f", which {'leaves' if row['enforced'] else 'would leave'} {words}"


def _number(value: float, decimals: int | None) -> str:
    if not isfinite(value):
        return "nothing" if isnan(value) else str(value)
    words = f"{value:.6g}" if decimals is None else f"{value:.{decimals}f}"
    # What is not zero does not read as zero: a limit broken by 0.00003 pu was broken.
    if decimals is not None and value and float(words) == 0:
        words = f"{value:.2g}"
    return words[1:] if float(words) == 0 and words.startswith("-") else words
