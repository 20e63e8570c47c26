"""What every section asks of a result: samples, figures, the scenario's words, who is of what kind, what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cosim.recorder import RunResult
from cosim.report.plot import Canvas, Span
from cosim.report.samples import ALL_TIME, Samples
from cosim.report.timeaxis import time_axis

#: Rows of a table in memory at a time.
CHUNK_ROWS = 1_000_000
#: Beyond this a table is not read whole (a day of a hundred agents at 1 s has 17 million messages).
MAX_ROWS = 3_000_000
MAX_BANDS = 150
#: Events that begin and end a time in which something is out of order, besides ``<kind>.begin`` and ``.end``.
_PAIRS = {"grid.diverged": ("no power flow", True), "grid.converged": ("no power flow", False),
          "grid.unsettled": ("devices not settled", True), "grid.settled": ("devices not settled", False)}
OWN_KINDS = ("no power flow", "devices not settled")


class Record:
    """A result as the report reads it; everything is read once."""

    def __init__(self, result: RunResult) -> None:
        self.result, self.manifest = result, result.manifest
        self.samples = Samples(result)
        self.scenario: Mapping[str, Any] = self.manifest.get("scenario") or {}
        summary: Mapping[str, Any] = self.manifest.get("summary") or {}
        self.summary = summary
        self.kpis: Mapping[str, Any] = summary.get("kpis") or {}
        self.timing: Mapping[str, Any] = self.manifest.get("timing") or {}
        self.rows: Mapping[str, int] = self.manifest.get("rows") or {}
        self.end_s = max(float(self.manifest.get("t_us", 0)) / 1e6, 0.0)
        limits = self.scenario.get("limits") or {}
        self.v_min_pu, self.v_max_pu = float(limits.get("v_min_pu", 0.95)), float(limits.get("v_max_pu", 1.05))
        self.loading_max = float(limits.get("loading_max", 1.0))

    @cached_property
    def canvas(self) -> Canvas:
        """The time axis (as far as the run came) with what was out of order."""
        return Canvas(time_axis(self.end_s, self.scenario.get("start")), tuple(self.spans[:MAX_BANDS]))

    @cached_property
    def events(self) -> pa.Table:
        """t_us, kind, subject and detail of every event but late actions, which are counted by agent."""
        parts = [part.filter(pc.not_equal(part["kind"], "action_late"))
                 for part in self.chunks("events", ["t_us", "kind", "subject", "detail"])]
        return pa.concat_tables(parts)

    @cached_property
    def spans(self) -> list[Span]:
        """Disturbances and times without a (settled) power flow, in order of their beginning."""
        open_: dict[tuple[str, str], list[float]] = {}
        found = []
        for row in self.events.to_pylist():
            t_s, subject = row["t_us"] / 1e6, row["subject"]
            kind, begins = _PAIRS.get(row["kind"], (row["kind"].rpartition(".")[0], row["kind"].endswith(".begin")))
            if begins:
                open_.setdefault((kind, subject), []).append(t_s)
            elif row["kind"] in _PAIRS or row["kind"].endswith(".end"):
                begun = open_.get((kind, subject))
                found.append(Span(subject, kind, begun.pop(0) if begun else 0.0, t_s))
        found += [Span(subject, kind, t_s, self.end_s) for (kind, subject), times in open_.items() for t_s in times]
        return sorted(found, key=lambda span: span.begin_s)

    @cached_property
    def devices(self) -> dict[str, str]:
        """Kind of every device by name, in scenario order; "" where the scenario does not tell."""
        names = list(self.kpis.get("device_kwh") or {}) or [
            point.removesuffix(".p_kw") for point in self.result.points
            if point.endswith(".p_kw") and point.count(".") == 1]
        exact, patterns = {}, []
        for entry in self.scenario.get("devices") or ():
            name, kind = str(entry.get("name", "{}")), str(entry.get("kind", ""))
            if entry.get("each") is None:
                exact[name] = kind
            else:
                patterns.append((re.compile(".+".join(map(re.escape, name.split("{}")))), kind))
        return {name: exact.get(name) or next((k for p, k in patterns if p.fullmatch(name)), "") for name in names}

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """Every decision recorded; empty where there are too many."""
        return pd.DataFrame() if self.rows.get("decisions", 0) > MAX_ROWS else self.result.decisions()

    @cached_property
    def interventions(self) -> pd.DataFrame:
        """Decisions in which something other than what was asked was applied; empty where there are too many."""
        decisions = self.decisions
        return decisions[(decisions["reason"] != "none") & decisions["enforced"]] if len(decisions) else decisions

    def chunks(self, table: str, columns: list[str]) -> Iterator[pa.Table]:
        """A table in pieces of about `CHUNK_ROWS` rows, cut by time; at least one piece."""
        pieces = -(-int(self.rows.get(table, 0)) // CHUNK_ROWS)
        if pieces <= 1:
            yield self.result.source.read(table, columns, ALL_TIME)
            return
        step_us = -(-int(self.end_s * 1e6 + 1) // pieces)
        for i in range(pieces):
            last_us = (i + 1) * step_us - 1 if i < pieces - 1 else ALL_TIME[1]
            yield self.result.source.read(table, columns, (i * step_us if i else ALL_TIME[0], last_us))
