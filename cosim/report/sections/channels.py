"""Communication: delay, loss and age of information by channel and direction, and how old what agents see is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.compute as pc

from cosim.points import Vector
from cosim.report.markup import MISSING, Chart, Section, count, note, number, plural, table, text
from cosim.report.plot import axis, line, style
from cosim.report.record import MAX_ROWS, Record
from cosim.report.samples import Reduced

MAX_LINES, MAX_TABLE, WINDOWS = 8, 60, 60
_FATES = {"lost": "by chance", "partitioned": "partition", "queue_full": "full queue"}


@dataclass(slots=True)
class Link:
    """One direction of a channel: what became of its messages; `delays_s` are p50, p95, p99 and the longest."""

    name: str
    sent: float
    delivered: float
    lost: float
    delays_s: tuple[float, ...] = ()
    fates: dict[str, int] = field(default_factory=dict)


def channels(record: Record) -> Section:
    """The section."""
    found = links(record)
    parts: list[Chart | str] = []
    if found:
        names = list(found)
        parts += [part for part in (
            _delay(record, names), _loss(record, names), _age(record, names)) if part is not None]
        _add_messages(record, found)
        parts.append(_summary(record, list(found.values())))
    elif record.scenario.get("channels"):
        parts.append(note("No message was sent, or no channel points were sampled (<code>record.points</code>)."))
    else:
        parts.append(note("The scenario has no channels: agents see and act directly."))
    parts += _agents(record)
    return Section("channels", "Communication", tuple(parts))


def links(record: Record) -> dict[str, Link]:
    """Directions over which anything was sent, with their counts at the end of the run."""
    sent = record.samples.named("channel.", ".sent")
    names = [point.removesuffix(".sent") for point in sent]
    counts = {what: _ends(record, [f"{name}.{what}" for name in names]) for what in ("sent", "delivered", "lost")}
    return {name: Link(name.removeprefix("channel."), counts["sent"][i], counts["delivered"][i], counts["lost"][i])
            for i, name in enumerate(names) if counts["sent"][i] > 0}


def lost_share(record: Record) -> tuple[float, float]:
    """Messages lost and sent over all channels; a route counts, the links it consists of do not."""
    hops = {hop for channel in record.scenario.get("channels") or () for hop in channel.get("hops") or ()}
    ends = [link for link in links(record).values() if link.name.rpartition(".")[0] not in hops]
    return sum(np.nan_to_num(link.lost) for link in ends), sum(link.sent for link in ends)


def _ends(record: Record, points: list[str]) -> list[float]:
    """Values at the end of the run; NaN where a point was not sampled."""
    present = record.samples.present(points)
    last = dict(zip(present, record.samples.reduce(present).last[-1].tolist(), strict=True)) if present else {}
    return [last.get(point, float("nan")) for point in points]


def _direction(point: str) -> str:
    return point.removeprefix("channel.").rpartition(".")[0]


def _age(record: Record, names: list[str]) -> Chart | None:
    points = record.samples.present([f"{name}.age_s" for name in names])
    return _highest(record, record.samples.reduce(points), [*map(_direction, points)],
                    "Age of information") if points else None


def _delay(record: Record, names: list[str]) -> Chart | None:
    """Delays as marks: the point holds the last message's delay, which says nothing while none arrive."""
    points = record.samples.present([f"{name}.delay_s" for name in names])
    counters = record.samples.present([f"{_owner(point)}.delivered" for point in points])
    if not points or len(counters) != len(points):
        return None

    def fresh(values: Vector) -> Vector:
        delay_s, delivered = values[:, :len(points)], values[:, len(points):]
        return np.where(np.diff(delivered, axis=0, prepend=0.0) > 0, delay_s, np.nan)

    reduced = record.samples.reduce([*points, *counters], fresh)
    marks = {"mode": "markers", "marker": {"size": 3 if len(reduced.begin_s) > 300 else 5, "opacity": 0.7}}
    return _highest(record, reduced, [*map(_direction, points)], "Delay", marks)


def _owner(point: str) -> str:
    return point.rpartition(".")[0]


def _highest(record: Record, reduced: Reduced, names: Sequence[str], title: str,
             look: Mapping[str, Any] = MappingProxyType({})) -> Chart | None:
    """The series with the highest peaks over time; milliseconds where all are below a second."""
    peak = np.nan_to_num(np.fmax.reduce(reduced.high, axis=0), nan=-1.0)
    worst = np.argsort(-peak, kind="stable")[:MAX_LINES].tolist()
    if peak[worst[0]] < 0:
        return None
    factor, unit = (1e3, "ms") if peak[worst[0]] < 1 else (1.0, "s")
    scaled = reduced.scaled(factor)
    lines = []
    for k, i in enumerate(sorted(worst)):
        lines.append(record.canvas.line(scaled, i, names[i], **style(k), width=1.1,
                                        hovertemplate=f"%{{y:.4~g}} {unit}", **look))
        lines[-1]["marker"] = {**lines[-1].get("marker", {}), "color": style(k)["color"]}
    figure = record.canvas.figure(lines, axis(f"{title} ({unit})", rangemode="tozero"))
    more = f"The {MAX_LINES} highest of {count(len(names))}." if len(names) > MAX_LINES else ""
    return Chart(f"{title} up to {number(peak[worst[0]] * factor)} {unit} ({text(names[worst[0]])})", figure, more, 260)


def _loss(record: Record, names: list[str]) -> Chart | None:
    """Share of messages lost in each of `WINDOWS` equal stretches, by direction."""
    both = [point.removesuffix(".lost") for point in record.samples.present([f"{name}.lost" for name in names])]
    if not both:
        return None
    sent, lost = (record.samples.reduce([f"{name}.{what}" for name in both]) for what in ("sent", "lost"))
    at = np.unique(np.linspace(0, len(sent.begin_s) - 1, min(WINDOWS, len(sent.begin_s))).astype(np.int64))
    shares = [_share(lost.last[at, i], sent.last[at, i]) for i in range(len(both))]
    worst = sorted(range(len(both)), key=lambda i: -float(np.nanmax(shares[i], initial=-1.0)))[:MAX_LINES]
    x = record.canvas.axis.at(sent.end_s[at])
    lines = [line(x, shares[i], both[i].removeprefix("channel."), **style(k), line={"shape": "vh"},
                  hovertemplate="%{y:.3~g} %") for k, i in enumerate(worst)]
    total_sent, total_lost = float(np.nansum(sent.last[-1])), float(np.nansum(lost.last[-1]))
    figure = record.canvas.figure(lines, axis("Lost (%)", rangemode="tozero"))
    title = f"{number(100 * total_lost / total_sent)} % of messages lost" if total_lost else "No message was lost"
    more = f" The {MAX_LINES} highest of {count(len(both))}." if len(both) > MAX_LINES else ""
    return Chart(title, figure, f"Share of what was sent in each of {len(at)} stretches of the run, lost for whatever "
                                f"reason (chance, full queue, partition).{more}", 240)


def _share(lost: Vector, sent: Vector) -> Vector:
    """Percent lost in each window (n,), NaN where nothing was sent."""
    more_lost, more_sent = np.diff(lost, prepend=0.0), np.diff(sent, prepend=0.0)
    return np.where(more_sent > 0, 100 * more_lost / np.where(more_sent > 0, more_sent, 1), np.nan)


def _add_messages(record: Record, found: dict[str, Link]) -> None:
    """Fates and quantiles of the delay of every message, where messages were recorded and are not too many."""
    if not 0 < record.rows.get("messages", 0) <= MAX_ROWS:
        return
    delays: dict[str, list[Vector]] = {}
    for part in record.chunks("messages", ["t_us", "arrival_us", "channel", "fate"]):
        counts = part.group_by(["channel", "fate"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            link = found.get(f"channel.{row['channel']}")
            if link is not None:
                link.fates[row["fate"]] = link.fates.get(row["fate"], 0) + row["count_all"]
        for name in found:
            mine = part.filter(pc.equal(part["channel"], name.removeprefix("channel.")))
            late = pc.subtract(mine["arrival_us"], mine["t_us"]).drop_null()
            delays.setdefault(name, []).append(late.to_numpy() / 1e6)
    for name, pieces in delays.items():
        all_s = np.concatenate(pieces)
        if len(all_s):
            found[name].delays_s = tuple(np.quantile(all_s, (0.5, 0.95, 0.99, 1.0)).tolist())


def _summary(record: Record, found: list[Link]) -> str:
    head = ["Channel", "Sent", "Delivered", "Lost", "Why", "Delay p50", "p95", "p99", "max"]
    rows = []
    for link in sorted(found, key=lambda link: -link.sent)[:MAX_TABLE]:
        fates = ", ".join(f"{_FATES.get(fate, text(fate.replace('_', ' ')))} {count(n)}"
                          for fate, n in sorted(link.fates.items()) if fate != "delivered")
        quantiles = [_ms(value) for value in link.delays_s] or [MISSING] * 4
        rows.append([text(link.name), number(link.sent, 9), number(link.delivered, 9),
                     f"{number(100 * link.lost / link.sent)} %", fates or MISSING, *quantiles])
    more = "" if len(found) <= MAX_TABLE else f" (the {MAX_TABLE} busiest of {count(len(found))})"
    why = "" if record.rows.get("messages") else note(
        "Messages were not recorded (<code>record.messages</code>), so there are no quantiles of delay.")
    return table(head, rows, (1, 2, 3, 5, 6, 7, 8), f"Messages by channel and direction{more}") + why


def _ms(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms" if seconds < 1 else f"{number(seconds)} s"


def _agents(record: Record) -> list[Chart | str]:
    """Age of what agents see, and actions that came late."""
    points = record.samples.named("agent.", ".age_s")
    parts: list[Chart | str] = []
    if points:
        reduced = record.samples.reduce(points)
        names = [point.removeprefix("agent.").removesuffix(".age_s") for point in points]
        chart = _highest(record, reduced, names, "Age of what agents see")
        # Agents that observe directly are never behind: an axis of zeros says less than nothing.
        if chart is not None and np.nan_to_num(reduced.high).any():
            parts.append(chart)
    late = late_actions(record)
    worst = sorted((name for name in late if late[name]), key=lambda name: -late[name])
    if worst:
        rows = [[text(name), number(late[name], 9)] for name in worst[:MAX_TABLE]]
        more = f" (the worst {MAX_TABLE})" if len(worst) > MAX_TABLE else ""
        parts.append(f"<details><summary>Late actions of {plural(len(worst), 'agent')}{more}</summary>"
                     f"{table(('Agent', 'Late actions'), rows, (1,))}</details>")
    return parts


def late_actions(record: Record) -> dict[str, float]:
    """Actions that came late or not at all, by agent; {} where not sampled."""
    points = record.samples.named("agent.", ".late")
    if not points:
        return {}
    last = np.nan_to_num(record.samples.reduce(points).last[-1])
    return {point.removeprefix("agent.").removesuffix(".late"): float(n) for point, n in zip(points, last, strict=True)}
