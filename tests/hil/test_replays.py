"""Served sessions with something awkward about them, and their replays."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.commands import CommandInbox
from cosim.recorder import Recorder
from cosim.replay import replay
from cosim.scenario.loader import load_text
from cosim.simulation.session import Ending, RunOptions, close_run, open_run

SCENARIO = """
name: served
duration_s: 5
step_s: 0.1
grid: {network: case33bw}
devices:
  - {kind: battery, name: store, bus: "18", p_max_kw: 500, e_rated_kwh: 1000}
  - {kind: battery, name: other, bus: "22", p_max_kw: 500, e_rated_kwh: 1000}
agents:
  - {name: keeper, policy: {kind: droop, curve: [[0.95, 1], [0.97, 0], [1.03, 0], [1.05, -1]]}, period_s: 0.5,
     observe: [store.v_pu], actuate: [store.p_set_kw]}
"""


def test_a_journal_longer_than_the_inbox_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a long session more was asked for than may wait at once: it did not wait at once, in the replay neither."""
    defaults = CommandInbox.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "limit", 40)
    loaded = load_text(SCENARIO, path=Path("served.yaml"))
    simulation = open_run(loaded, tmp_path / "run", RunOptions(), Recorder)
    for step in range(1, 51):
        for k in range(5):
            simulation.submit("other.p_set_kw", float(step + k), "rtu/operator")
        simulation.advance_to(step * 100_000)
    close_run(loaded, simulation, tmp_path / "run", Ending("done", "", 1.0))
    found = replay(tmp_path / "run")
    assert found.same, found.divergence


def test_a_run_that_ended_with_its_first_scan_replays(tmp_path: Path) -> None:
    """Strict, without grace, and t = 0 was late: that instant has been, and is replayed."""
    loaded = load_text(SCENARIO, path=Path("served.yaml"))
    simulation = open_run(loaded, tmp_path / "run", RunOptions(), Recorder)
    simulation.advance_to(0)
    close_run(loaded, simulation, tmp_path / "run", Ending("failed", "overrun at t = 0 s", 0.1))
    found = replay(tmp_path / "run")
    assert found.same, found.divergence
