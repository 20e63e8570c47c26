"""What the devices did: power by kind, state of charge, energy by device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.points import Vector
from cosim.report.markup import MISSING, TIMES, Chart, Section, count, energy, folded, note, number, plural, table, text
from cosim.report.plot import axis, style
from cosim.report.record import Record
from cosim.report.samples import Reduced, Transform

MAX_LINES, MAX_TABLE = 12, 60
#: From here on powers are drawn in MW.
MW_FROM_KW = 10_000


def devices(record: Record) -> Section:
    """The section."""
    drawn = (_power(record, "p_kw", "kW", "Active power"), _power(record, "q_kvar", "kvar", "Reactive power"),
             _charge(record))
    parts: list[Chart | str] = [part for part in drawn if part is not None]
    if not parts and record.devices:
        parts.append(note("No powers of devices were sampled (<code>record.points</code> of the scenario)."))
    if not record.devices:
        parts.append(note("The scenario has no devices."))
    return Section("devices", "Devices", (*parts, *_energies(record)))


def _power(record: Record, suffix: str, unit: str, what: str) -> Chart | None:
    """Power summed over the devices of each kind; single lines where there are few devices; the external grid."""
    points = record.samples.present([f"{name}.{suffix}" for name in record.devices])
    present = [point.removesuffix(f".{suffix}") for point in points]
    if not present:
        return None
    groups: dict[str, list[str]] = {}
    for name in present:
        groups.setdefault(record.devices[name] or "device", []).append(f"{name}.{suffix}")
    if suffix == "p_kw":
        groups |= _available(record, present)
    slack = f"grid.slack_{suffix}"
    if record.samples.present([slack]):
        groups["external grid"] = [slack]
    reduced = record.samples.reduce(*_summed(groups))
    if suffix == "q_kvar" and not np.nan_to_num(reduced.high[:, :-1]).any():
        return None
    return _power_chart(record, reduced, groups, (unit, what))


def _available(record: Record, present: Sequence[str]) -> dict[str, list[str]]:
    """What each kind could have fed in, where its devices tell."""
    groups: dict[str, list[str]] = {}
    for point in record.samples.present([f"{name}.p_available_kw" for name in present]):
        kind = record.devices[point.removesuffix(".p_available_kw")] or "device"
        groups.setdefault(f"{kind} available", []).append(point)
    return groups


def _power_chart(record: Record, reduced: Reduced, groups: dict[str, list[str]], words: tuple[str, str]) -> Chart:
    unit, what = words
    largest = float(np.nanmax(np.abs(np.nan_to_num(np.concatenate([reduced.low, reduced.high])))))
    factor = 1e-3 if largest >= MW_FROM_KW else 1.0
    unit = unit if factor == 1.0 else {"kW": "MW", "kvar": "Mvar"}[unit]
    scaled = reduced.scaled(factor)
    lines, kinds = [], [label for label in groups if not label.endswith(" available")]
    for i, label in enumerate(groups):
        owner = label.removesuffix(" available")
        look = {**style(kinds.index(owner)), **({"dash": "dot"} if owner != label else {})}
        if label == "external grid":
            look = {"color": "--ink", "dash": "solid"}
        n = len(groups[label])
        name = label if n == 1 or owner != label else f"{label} ({TIMES}{n})"
        lines.append(record.canvas.line(scaled, i, name, **look, hovertemplate=f"%{{y:.4~g}} {unit}"))
    figure = record.canvas.figure(lines, axis(f"{what} ({unit})", zeroline=True))
    caption = "Sum over the devices of a kind; positive: into the grid" + (
        "; dotted: what could be fed in." if len(groups) > len(kinds) else ".")
    return Chart(f"{what}: {_peaks(scaled, groups, kinds, unit)}", figure, caption)


def _peaks(reduced: Reduced, groups: dict[str, list[str]], kinds: Sequence[str], unit: str) -> str:
    """Where each kind went farthest from zero: ``pv up to 3,560 kW, load down to -9,800 kW``."""
    said = []
    for i, label in enumerate(groups):
        ends = (np.nanmax(np.nan_to_num(reduced.high[:, i])), np.nanmin(np.nan_to_num(reduced.low[:, i])))
        if label in kinds and label != "external grid":
            most = ends[0] if ends[0] >= -ends[1] else ends[1]
            if most:
                said.append(f"{text(label)} {'up' if most >= 0 else 'down'} to {number(float(most))} {unit}")
    return ", ".join(said[:4]) or "none"


def _summed(groups: dict[str, list[str]]) -> tuple[list[str], Transform]:
    """Points of all groups, and the transform that adds each group's up (missing values count as none)."""
    names = [name for members in groups.values() for name in members]
    ends = np.cumsum([len(members) for members in groups.values()])
    starts = np.append(0, ends[:-1])

    def add(values: Vector) -> Vector:
        total = np.add.reduceat(np.nan_to_num(values), starts, axis=1)
        return np.where(np.logical_and.reduceat(np.isnan(values), starts, axis=1), np.nan, total)

    return names, add


def _charge(record: Record) -> Chart | None:
    points = record.samples.named("", ".soc")
    if not points:
        return None
    reduced = record.samples.reduce(points, lambda values: values * 100)
    low, high = np.fmin.reduce(reduced.low, axis=0), np.fmax.reduce(reduced.high, axis=0)
    chosen = np.argsort(-np.nan_to_num(high - low), kind="stable")[:MAX_LINES].tolist()
    lines = [record.canvas.line(reduced, i, points[i].removesuffix(".soc"), **style(k), hovertemplate="%{y:.3~g} %")
             for k, i in enumerate(sorted(chosen))]
    caption = f"The {MAX_LINES} of {count(len(points))} that moved most." if len(points) > len(chosen) else ""
    figure = record.canvas.figure(lines, axis("State of charge (%)", range=[0, 100]))
    return Chart(f"State of charge between {number(np.nanmin(low))} % and {number(np.nanmax(high))} %", figure, caption,
                 280)


def _energies(record: Record) -> list[str]:
    found = record.kpis.get("device_kwh") or {}
    if not found:
        return []
    kinds: dict[str, list[float]] = {}
    for name, kwh in found.items():
        kinds.setdefault(record.devices.get(name) or "device", []).append(float(kwh))
    rows = [[text(kind), count(len(values)), energy(sum(max(v, 0.0) for v in values)),
             energy(-sum(min(v, 0.0) for v in values)), energy(sum(values))] for kind, values in kinds.items()]
    head = ("Kind", "Devices", "Into the grid", "From the grid", "Net")
    tables = [table(head, rows, (1, 2, 3, 4), "Energy by kind (net of each device)")]
    largest = sorted(found, key=lambda name: -abs(found[name]))[:MAX_TABLE]
    more = f" (the largest {MAX_TABLE} of {count(len(found))})" if len(found) > MAX_TABLE else ""
    rows = [[text(name), text(record.devices.get(name) or MISSING), energy(found[name])] for name in largest]
    single = table(("Device", "Kind", "Net energy"), rows, (2,))
    tables.append(folded(f"Energy by device: {plural(len(found), 'device')}{more}", single))
    return tables
