"""How the run went as a computation: where the time went, what it was run with, and its scenario."""

from __future__ import annotations

import json

from cosim.recorder.result import FolderSource
from cosim.report.markup import MISSING, TIMES, Section, count, folded, note, number, table, text
from cosim.report.record import Record
from cosim.report.timeaxis import duration_words

_SECTIONS = (("solver", "power flow and devices"), ("agents", "agents"), ("channels", "channels and kernel"),
             ("recorder", "recorder"), ("other", "other"))
#: Longest scenario that is shown, characters.
MAX_SCENARIO = 60_000


def execution(record: Record) -> Section:
    """The section."""
    return Section("execution", "The run", (_budget(record), _facts(record), *_scenario(record)))


def _budget(record: Record) -> str:
    """Wall time by part, as one bar and its legend."""
    shares = [(words, float(record.timing.get(key) or 0.0)) for key, words in _SECTIONS]
    total = sum(seconds for _, seconds in shares)
    if not total:
        return note("The run did not end by itself, so it has no time budget.")
    bar, keys = [], []
    for i, (words, seconds) in enumerate(shares):
        share = 100 * seconds / total
        bar.append(f'<span class="k{i + 1}" style="width:{share:.2f}%"></span>')
        keys.append(f'<li><i class="k{i + 1}"></i>{words} <b>{number(share, 2)} %</b> ({duration_words(seconds)})</li>')
    speed = record.end_s / total
    solves = record.summary.get("solves")
    rate = f", {number(solves / total)} power flows a second" if isinstance(solves, int) and solves else ""
    return (f"<h3>{duration_words(record.end_s)} simulated in {duration_words(total)}: {number(speed)} {TIMES} real "
            f'time{rate}</h3><div class=budget role=img aria-label="Time budget of the run">{"".join(bar)}</div>'
            f"<ul class=keys>{''.join(keys)}</ul>")


def _facts(record: Record) -> str:
    manifest, record_options = record.manifest, record.manifest.get("record") or {}
    kinds: dict[str, int] = {}
    for point in manifest.get("points") or ():
        kinds[point["kind"]] = kinds.get(point["kind"], 0) + 1
    listed = ", ".join(f"{count(n)} {text(kind.replace('_', ' '))}" for kind, n in kinds.items())
    period_s = float(record_options.get("period_us") or 0) / 1e6
    sampled = len(manifest.get("sampled") or ())
    pairs = [
        ("Digest", f"<code>{text(record.result.digest, 200) or MISSING}</code>"),
        ("Points", f"{listed or MISSING}; {count(sampled)} sampled every {duration_words(period_s)}"),
        ("Rows", ", ".join(f"{text(name)} {count(int(n))}" for name, n in record.rows.items()) or MISSING),
        ("Power flow", f"{text(record.summary.get('solver', MISSING))}{_because(record)}"),
        ("Changed by --set", ", ".join(f"<code>{text(change)}</code>" for change in manifest.get("overrides") or ())
         or "nothing"),
        ("Decided outside", ", ".join(text(name) for name in manifest.get("external") or ()) or "nobody"),
        ("Versions", ", ".join(f"{text(name)} {text(version)}"
                               for name, version in (manifest.get("versions") or {}).items()) or MISSING),
    ]
    return folded("What it was run with", table(("", ""), [[name, value] for name, value in pairs]))


def _because(record: Record) -> str:
    reason = record.summary.get("solver_reason")
    return f" ({text(reason, 300)})" if reason else ""


def _scenario(record: Record) -> list[str]:
    """The scenario file as it was, or as data where the file is not there."""
    source, words = record.result.source, ""
    if isinstance(source, FolderSource) and (source.folder / "scenario.yaml").is_file():
        words = (source.folder / "scenario.yaml").read_text(encoding="utf-8", errors="replace")
    elif record.scenario:
        words = json.dumps(dict(record.scenario), indent=2, ensure_ascii=False)
    return [folded("The scenario", f"<pre>{text(words, MAX_SCENARIO)}</pre>")] if words else []
