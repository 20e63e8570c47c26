"""`cosim.report.sections.realtime`: what a served run's timing record becomes on the page."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cosim.recorder.result import FolderSource
from cosim.report.record import Record
from cosim.report.sections.realtime import FILE, realtime
from hil.timing import Timing


def record_of(folder: Path) -> Record:
    """A result of which nothing but the timing record matters."""
    source = FolderSource.__new__(FolderSource)  # as made, it would read a manifest
    source.folder = folder
    return cast("Record", SimpleNamespace(result=SimpleNamespace(source=source)))


def section(folder: Path, minutes: int, **more: Any) -> str:
    """The section of a run of so many minutes, 1 ms late at every scan; its figures as HTML."""
    timing = Timing([("scan", 1_000_000, 0)])
    for second in range(60 * minutes + 1):
        timing.instant(second * 1_000_000, 0, 1_000_000, 3_000_000, 1.0)
    doors = {"sessions": 3, "most_open": 2, "refused": 0, "listeners": {
        "lan": {"where": "127.0.0.1:5020", "requests": 42, "bad_frames": 0},
        "two": {"where": "127.0.0.1:5020", "shut": "the port is <in use>", "requests": 0}}}
    record = {**timing.to_dict(1.0), "policy": "catch_up", "doors": doors, "writes": {"writes": 5, "taken": 4,
              "rate_limited": 1}, "floor": {}, "behind_s": 0.0, "profile": {}, **more}
    (folder / FILE).write_text(json.dumps(record))
    found = realtime(record_of(folder))
    assert found is not None
    return "".join(part for part in found.parts if isinstance(part, str))


def test_listeners_show_what_happened_and_why_one_was_shut(tmp_path: Path) -> None:
    """Counts of what never happened are left out; what the machine said is text, not markup."""
    html = section(tmp_path, 1)
    assert "127.0.0.1:5020, requests 42<" in html
    assert "not open: the port is &lt;in use&gt;" in html
    assert "bad frames" not in html


@pytest.mark.parametrize(("minutes", "words"), [(1, "not measured"), (3, "0 ms from the first minute to the last")])
def test_drift_is_told_where_it_was_measured(tmp_path: Path, minutes: int, words: str) -> None:
    """Two whole minutes at least: the jitter of one scan is no drift."""
    assert words in section(tmp_path, minutes)


def test_a_run_left_behind_says_so(tmp_path: Path) -> None:
    """What was not worked off at the end is part of its figures."""
    assert "of simulation time behind" in section(tmp_path, 1, behind_s=93.2)
    assert "of simulation time behind" not in section(tmp_path, 1)


def test_a_run_that_was_not_served_has_no_section(tmp_path: Path) -> None:
    """Nor has one whose timing record was cut short by a full disk."""
    assert realtime(record_of(tmp_path)) is None
    (tmp_path / FILE).write_text("")
    assert realtime(record_of(tmp_path)) is None
