"""The head of the page: what was run and how it ended, how to run it again, and the key figures."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from shlex import quote

import numpy as np

from cosim.recorder.result import FolderSource
from cosim.report.markup import MISSING, TO, bus, count, energy, number, plural, pu, text
from cosim.report.record import Record
from cosim.report.sections.channels import late_actions, lost_share
from cosim.report.timeaxis import duration_words

_STATUS = {"done": "The run is complete.", "stopped": "The run was stopped; figures reach as far as it came.",
           "failed": "The run failed; figures reach as far as it came.",
           "running": "The run is under way; figures reach as far as it was flushed.",
           "killed": "The run ended without a word (killed, or the machine went down); figures reach as far as it was "
                     "flushed."}


def head(record: Record) -> str:
    """Name, summary, how it ended, digest, seed and how to replay it."""
    manifest, status = record.manifest, record.result.status
    name, summary = manifest.get("name") or "run", record.scenario.get("summary") or ""
    error = manifest.get("error") or ""
    words = f"{_STATUS.get(status, '')}{f' {text(error, 2000)}' if error else ''}"
    banner = "" if status == "done" else f'<p class="banner {text(status)}" role="status">{words}</p>'
    planned_s = float(manifest.get("duration_us", 0)) / 1e6
    length = duration_words(planned_s) if record.end_s >= planned_s else (
        f"{duration_words(record.end_s)} of {duration_words(planned_s)}")
    network = (record.scenario.get("grid") or {}).get("network", MISSING)
    digest = record.result.digest
    start = record.scenario.get("start")
    facts = [("Status", f'<span class="status {text(status)}">{text(status)}</span>'), ("Simulated", length),
             *([("From", text(start))] if start else []), ("Network", text(network)),
             ("Seed", text(manifest.get("seed", MISSING))),
             ("Digest", f'<code title="{text(digest)}">{text(digest[:16]) or MISSING}</code>'),
             ("Gridloop", text((manifest.get("versions") or {}).get("gridloop", MISSING)))]
    listed = "".join(f"<div><dt>{term}</dt><dd>{value}</dd></div>" for term, value in facts)
    return (f"<h1>{text(name)}</h1>{f'<p class=lead>{text(summary, 500)}</p>' if summary else ''}{banner}"
            f"<dl class=facts>{listed}</dl>"
            f"<p class=again>Run it again and compare: <code>gridloop replay {text(_folder(record))}</code></p>")


def _folder(record: Record) -> str:
    """The result folder's own name: where it lies is the machine's business."""
    source = record.result.source
    folder = source.folder if isinstance(source, FolderSource) else Path("RESULT")
    return quote(folder.resolve().name)


def cards(record: Record) -> str:
    """The key figures as cards; what is not known is left out."""
    found = [*_voltage_cards(record), *_energy_cards(record), *_control_cards(record)]
    return "".join(f'<div class="card{" bad" if bad else ""}"><div class=label>{label}</div>'
                   f"<div class=value>{value}</div><div class=where>{where}</div></div>"
                   for label, value, where, bad in found)


Card = tuple[str, str, str, bool]


def _voltage_cards(record: Record) -> list[Card]:
    kpis = record.kpis
    if not kpis:
        return _sampled_voltages(record)
    under, over = len(kpis.get("undervoltage_minutes") or {}), len(kpis.get("overvoltage_minutes") or {})
    minutes = float(kpis.get("violation_bus_minutes") or 0.0)
    words = ", ".join(part for part in (f"{plural(under, 'bus', 'buses')} low" if under else "",
                                        f"{plural(over, 'bus', 'buses')} high" if over else "") if part)
    found: list[Card] = [("Voltage violations", f"{number(minutes)} <small>bus-min</small>",
                          words or f"within {number(record.v_min_pu)}{TO}{number(record.v_max_pu)} pu", minutes > 0)]
    for which, label in (("min", "Lowest voltage"), ("max", "Highest voltage")):
        value = kpis.get(f"v_{which}_pu")
        if isinstance(value, int | float) and isfinite(value):
            bad = value < record.v_min_pu if which == "min" else value > record.v_max_pu
            where = text(bus(str(kpis.get(f"v_{which}_bus"))), 40)
            found.append((label, f"{pu(value)} <small>pu</small>", f"at {where}", bad))
    overload = kpis.get("overload_minutes") or {}
    if overload:
        found.append(("Overloads", f"{number(sum(overload.values()))} <small>branch-min</small>",
                      plural(len(overload), "branch", "branches"), True))
    dead = float(kpis.get("dead_minutes") or 0.0)
    if dead:
        found.append(("No power flow", f"{number(dead)} <small>min</small>", "did not converge", True))
    return found


def _sampled_voltages(record: Record) -> list[Card]:
    """A run that did not end has no exact figures: the extremes of its samples instead."""
    points = record.samples.named("bus.", ".v_pu")
    if not points:
        return []
    reduced = record.samples.reduce(points)
    low, high = np.fmin.reduce(reduced.low, axis=0), np.fmax.reduce(reduced.high, axis=0)
    if not np.isfinite(low).any():
        return []
    names = [text(bus(point.removeprefix("bus.").removesuffix(".v_pu")), 40) for point in points]
    a, b = int(np.nanargmin(low)), int(np.nanargmax(high))
    return [("Lowest sampled voltage", f"{pu(float(low[a]))} <small>pu</small>", f"at {names[a]}",
             bool(low[a] < record.v_min_pu)),
            ("Highest sampled voltage", f"{pu(float(high[b]))} <small>pu</small>", f"at {names[b]}",
             bool(high[b] > record.v_max_pu))]


def _energy_cards(record: Record) -> list[Card]:
    kpis = record.kpis
    if not kpis:
        return []
    imported, exported = kpis.get("import_kwh"), kpis.get("export_kwh")
    found: list[Card] = [("Import", _value(energy(imported)), "from the external grid", False)]
    if exported:
        found.append(("Export", _value(energy(exported)), "to the external grid", False))
    losses = kpis.get("losses_kwh")
    share = 100 * losses / imported if isinstance(losses, float) and imported and not exported else None
    found.append(("Losses", _value(energy(losses)), f"{number(share)} % of the import" if share else "in the network",
                  False))
    if kpis.get("unserved_kwh"):
        found.append(("Not served", _value(energy(kpis["unserved_kwh"])), "demand at dead buses", True))
    if record.scenario.get("cost_per_kwh"):
        found.append(("Cost of energy", number(kpis.get("cost"), 4),
                      f"at {number(record.scenario['cost_per_kwh'])} per kWh", False))
    return found


def _control_cards(record: Record) -> list[Card]:
    found: list[Card] = []
    if record.rows.get("commands"):
        found.append(("Interventions", count(len(record.interventions)), "times not applied as asked", False))
    late = late_actions(record)
    if late:
        total = sum(late.values())
        found.append(("Late actions", number(total, 9), f"of {plural(len(late), 'agent')}", total > 0))
    lost, sent = lost_share(record)
    if sent:
        found.append(("Messages lost", f"{number(100 * lost / sent)} <small>%</small>", f"of {count(int(sent))} sent",
                      False))
    return found


def _value(words: str) -> str:
    value, _, unit = words.partition(" ")
    return f"{value} <small>{unit}</small>" if unit else value
