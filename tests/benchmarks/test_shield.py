"""The shield's benchmark at tiny sizes: every part measures, and its judge, bound and oracle can say no."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import shield, shield_channel, shield_cost, shield_distance
from benchmarks.shield_cases import FEEDERS, POLICIES, Inverters, Judge, Window, built, feeder_text
from benchmarks.shield_oracle import Oracle
from benchmarks.shield_trials import Share, Tally, run, run_all, upper_bound


def test_upper_bound_is_clopper_and_pearsons() -> None:
    """None in n: 1 - 0.05^(1/n); all in n: 1; and the bound of 3 in 100 leaves 5 % below."""
    assert upper_bound(0, 1_000) == pytest.approx(1 - 0.05 ** (1 / 1_000), rel=1e-9)
    assert upper_bound(5, 5) == 1.0
    bound = upper_bound(3, 100)
    below = sum(float(np.prod([(100 - i) / (i + 1) for i in range(k)])) * bound**k * (1 - bound) ** (100 - k)
                for k in range(4))
    assert below == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("feeder", list(FEEDERS))
def test_judge_and_oracle_agree_and_can_say_no(feeder: str) -> None:
    """Every inverter at its rating breaks a limit: our judge and pandapower say so; without sun both are content."""
    window = Window(172 * 86_400 + 12 * 3_600, 900, 4)
    simulation = built(feeder_text(FEEDERS[feeder], window, 1, "shield: 'off'"))
    judge, oracle = Judge(simulation), Oracle(FEEDERS[feeder], simulation.grid)
    inverters = Inverters(simulation)
    dispatch = simulation.grid.dispatch
    bright, dark = dispatch.p_kw.copy(), dispatch.p_kw.copy()
    bright[inverters.devices] = inverters.s_kva
    state = simulation.grid.trial(replace(dispatch, p_kw=bright))
    differs, kept = oracle.compare(bright, dispatch.q_kvar, state)
    dark[inverters.devices] = 0.0
    calm = simulation.grid.trial(replace(dispatch, p_kw=dark))
    assert differs < 1e-8
    assert not kept
    assert not judge(state)
    assert oracle.compare(dark, dispatch.q_kvar, calm) == (pytest.approx(0.0, abs=1e-8), True)
    assert judge(calm)


def test_parts_of_the_year_join_up() -> None:
    """Two parts have all scans of the year between them, and the second begins where the first ends."""
    whole, (first, second) = Window.of_year(1_001), (Window.of_year(1_001, share, 2) for share in (0, 1))
    assert first.steps + second.steps == whole.steps == 1_001
    assert second.begin_s == pytest.approx(first.begin_s + first.steps * first.step_s, abs=1.0)


@pytest.mark.parametrize("feeder", list(FEEDERS))
def test_shield_keeps_what_goes_wrong_without_it(feeder: str) -> None:
    """The adversary gets nothing past the shield in calls most of which violate without it."""
    tally = run(Share(feeder, "adversarial", 60, checked=4))
    without = run(Share(feeder, "adversarial", 60, shielded=False))
    assert tally.counts["calls"] == without.counts["calls"] == 60
    assert without.share_of("violating") > 0.5
    assert tally.counts["unflagged"] == tally.counts["device limits passed"] == 0, tally.failures
    assert tally.counts["rechecked"] == 4
    assert tally.counts["rechecked and violating"] == 0
    assert tally.curtailed_by_shield > 0.0


def test_shares_add_up() -> None:
    """Both parts of a cell are in its tally."""
    found = run_all([Share("case33bw", "no", 40, share, 2) for share in (0, 1)], 1)
    (tally,) = found.values()
    assert tally.counts["calls"] == 40
    assert len(tally.times_ms) == 40


def test_distance_is_compared_with_the_optimum() -> None:
    """The shield's answers are no nearer than the optimum (it has a margin to keep), and not far from it."""
    found = shield_distance.compare(shield_distance.Part("case33bw", 2))
    assert len(found) == 2
    assert all(0.999 <= one.ratio < 1.5 for one in found), found


def test_cost_measures_safe_and_unsafe_requests() -> None:
    """Safe requests are one power flow, unsafe ones a bounded number; both kinds occur."""
    found = shield_cost.measure(24)
    assert len(found.safe) + len(found.unsafe) == 24
    assert found.safe
    assert found.unsafe
    assert found.solves.count(1) == len(found.safe)
    assert max(found.solves) < 100


def test_channel_scenarios_build_at_every_quality() -> None:
    """Each quality is a scenario that runs; behind a channel, reports travel."""
    for quality in shield_channel.QUALITIES:
        simulation = built(shield_channel.text("case33bw", quality, 20, 1))
        simulation.advance_to(40_000_000)
        assert all(channel.up.sent > 0 for channel in simulation.channels.values())


def test_command_line_writes_rows_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """`--only`, `--json` and `--plots` write what was measured."""
    tiny = shield.Effort(step_s=5, pairs=1)
    monkeypatch.setattr(shield.Effort, "quick", classmethod(lambda _: tiny))
    file = tmp_path / "rows.json"
    assert shield.main(["--quick", "--only", "agents", "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text(encoding="utf-8"))
    assert row["ratio"] > 0.0
    assert "| 100-agent benchmark" in capsys.readouterr().out
    pytest.importorskip("matplotlib", reason="matplotlib is no part of the set-up")
    for feeder in FEEDERS:
        for policy in POLICIES:
            for on in (True, False):
                tally = Tally()
                tally.counts.update(calls=10, violating=0 if on else 7)
                tiny.cells[feeder, policy, "", on] = tally
    shield.plots(tiny, tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").glob("*.png")) == ["shield_case33bw.png",
                                                                               "shield_cigre_mv.png"]
