"""A run beside the same run with the shield off: violation minutes by bus and branch, and totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosim.errors import RecordError
from cosim.recorder import RunResult
from cosim.report.markup import Chart, bus, count, energy, label, note, number, pu, table, text
from cosim.report.plot import LEGEND, MARGIN, array, tick
from cosim.report.record import Record
from cosim.report.timeaxis import duration_words

MAX_BARS = 20
_MINUTES = ("undervoltage_minutes", "overvoltage_minutes", "overload_minutes")


def compared(record: Record, other: RunResult) -> list[Chart | str]:
    """Totals in a table and minutes by bus and branch as bars; or why there is nothing to compare."""
    theirs = _kpis(other)
    if not theirs or not record.kpis:
        return [note(f"There is a run without the shield, and no figures to compare: it is {text(other.status)}.")]
    parts: list[Chart | str] = []
    reached_s = float(other.manifest["t_us"]) / 1e6
    if reached_s != record.end_s:
        parts.append(note(f"The run without the shield reached {duration_words(reached_s)}, this one "
                          f"{duration_words(record.end_s)}: their figures are not of equal times.", "banner"))
    return [*parts, _totals(record.kpis, theirs), *_bars(minutes(record.kpis), minutes(theirs))]


def withheld_kwh(record: Record) -> float | None:
    """Energy that devices fed in less than they would have without the shield; None where that is not known."""
    try:
        other = record.result.counterfactual()
    except RecordError:
        return None
    theirs = _kpis(other) if other is not None and other.manifest["t_us"] == record.manifest["t_us"] else {}
    if not theirs or not record.kpis:
        return None
    return _fed_in(theirs, 1) - _fed_in(record.kpis, 1)


def minutes(kpis: Mapping[str, Any]) -> dict[str, float]:
    """Minutes outside the limits by what was outside: ``bus 18``, ``line.4``."""
    found: dict[str, float] = {}
    for key in _MINUTES:
        for name, value in (kpis.get(key) or {}).items():
            words = bus(name) if "voltage" in key else str(name)
            found[words] = found.get(words, 0.0) + float(value)
    return found


def _kpis(result: RunResult) -> Mapping[str, Any]:
    found = result.manifest["summary"].get("kpis")
    return found if isinstance(found, Mapping) else {}


def _fed_in(kpis: Mapping[str, Any], sign: int) -> float:
    """Energy of the devices that fed in (1) or drew (-1), as a size."""
    return float(sum(abs(value) for value in (kpis.get("device_kwh") or {}).values() if value * sign > 0))


def _totals(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    def overloads(kpis: Mapping[str, Any]) -> float:
        return float(sum((kpis.get("overload_minutes") or {}).values()))

    rows = [["Voltage violations", *(f"{number(k.get('violation_bus_minutes'))} bus-min" for k in (ours, theirs))],
            ["Overloads", *(f"{number(overloads(k))} branch-min" for k in (ours, theirs))],
            ["Lowest voltage", *(f"{pu(k.get('v_min_pu'))} pu" for k in (ours, theirs))],
            ["Highest voltage", *(f"{pu(k.get('v_max_pu'))} pu" for k in (ours, theirs))],
            ["No power flow", *(f"{number(k.get('dead_minutes'))} min" for k in (ours, theirs))],
            ["Not served", *(energy(k.get("unserved_kwh")) for k in (ours, theirs))],
            ["Losses", *(energy(k.get("losses_kwh")) for k in (ours, theirs))],
            ["Import", *(energy(k.get("import_kwh")) for k in (ours, theirs))],
            ["Export", *(energy(k.get("export_kwh")) for k in (ours, theirs))],
            ["Fed in by devices", *(energy(_fed_in(k, 1)) for k in (ours, theirs))],
            ["Drawn by devices", *(energy(_fed_in(k, -1)) for k in (ours, theirs))]]
    return table(("", "With the shield", "Without"), rows, (1, 2), "The same run, same seed, with the shield off")


def _bars(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[Chart | str]:
    """Minutes outside the limits, with and without, the worst without first."""
    names = sorted({**theirs, **ours}, key=lambda name: (-theirs.get(name, 0.0), -ours.get(name, 0.0)))
    if not names:
        return [note("Neither with the shield nor without was anything outside the limits.")]
    worst = names[:MAX_BARS]
    keys = [label(name, 80) for name in worst]
    bars = [{"type": "bar", "orientation": "h", "name": words, "marker": {"color": colour}, "y": keys,
             "x": array([found.get(name, 0.0) for name in worst]), "hovertemplate": "%{y}: %{x:.4~g} min"}
            for words, found, colour in (("without the shield", theirs, "--c7"), ("with the shield", ours, "--c1"))]
    layout = {"barmode": "group", "hovermode": "closest", "showlegend": True, "legend": LEGEND, "margin": MARGIN,
              "xaxis": {"title": {"text": "Time outside the limits (min)"}, "rangemode": "tozero"},
              "yaxis": {"type": "category", "autorange": "reversed", "title": {"text": ""}, "showgrid": False,
                        "fixedrange": True, "tickvals": keys, "ticktext": [tick(name) for name in worst]}}
    with_, without = number(sum(ours.values())), number(sum(theirs.values()))
    more = f"The worst {MAX_BARS} of {count(len(names))}." if len(names) > MAX_BARS else ""
    return [Chart(f"{with_} minutes outside the limits with the shield, {without} without",
                  {"data": bars, "layout": layout}, more, 120 + 30 * len(worst))]
