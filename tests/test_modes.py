"""One scenario, many ways to run it: what is recorded is the same.

In one go, in chunks of odd sizes, instant by instant, with somebody reading along, in another process: the same digest.
With an agent decided outside by the very policy it has inside: the same samples and decisions of the shield; the digest
differs, because the journal's rows (kind ``action``) are part of the record, and rows after them have other numbers.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.simulation import BuildOptions, Simulation, build
from cosim.simulation.session import run_scenario
from tests.cosim.simulation.worlds import RICH, agent, keeping, loaded

ROOT = Path(__file__).parents[1]


def run(advance: Callable[[Simulation], Any], out: Path | None = None, external: tuple[str, ...] = (),
        **changes: Any) -> RunResult:
    """Build `RICH`, let `advance` bring it to the end, close."""
    scenario = loaded(**{**RICH, **changes})
    simulation = build(scenario, BuildOptions(external=external, recorder=keeping(scenario, out, external)))
    advance(simulation)
    assert simulation.now_us >= simulation.end_us
    simulation.recorder.close("done")
    return simulation.recorder.result()


@cache
def reference() -> RunResult:
    """In one go."""
    return run(lambda simulation: simulation.advance_to(simulation.end_us))


def chunks(simulation: Simulation) -> None:
    """Chunks of odd sizes, between instants, at instants and a microsecond beside them."""
    rng = np.random.default_rng(5)
    while simulation.now_us < simulation.end_us:
        step_us = int(rng.choice([1, 7, 333_333, 999_999, 1_000_000, 1_000_001, 4_142_135]))
        simulation.advance_to(min(simulation.end_us, simulation.now_us + step_us))


def instants(simulation: Simulation) -> None:
    """Instant by instant."""
    while (next_us := simulation.kernel.next_us()) is not None and next_us <= simulation.end_us:
        simulation.advance_instant()


def to_decisions(simulation: Simulation) -> None:
    """As a learner would, with nobody to decide."""
    assert simulation.advance_to_decision() == ()


def read_along(simulation: Simulation) -> None:
    """With a reader of everything, a subscriber and KPIs asked for on the way."""
    told: list[int] = []
    simulation.points.subscribe(np.arange(len(simulation.points)), lambda ids, t_us: told.append(t_us))
    while simulation.now_us < simulation.end_us:
        simulation.advance_to(min(simulation.end_us, simulation.now_us + 700_000))
        assert len(simulation.points.values) == len(simulation.points)
        assert simulation.points.snapshot().t_us == simulation.points.t_us
        simulation.kpis()
    assert told


@pytest.mark.parametrize("advance", [chunks, instants, to_decisions, read_along])
def test_how_time_is_advanced_does_not_matter(advance: Callable[[Simulation], Any]) -> None:
    """The digest is that of the run in one go."""
    assert run(advance).digest == reference().digest


def test_the_rich_scenario_is_rich() -> None:
    """What the other tests compare is not empty: events, commands, decisions of the shield, lost messages, values."""
    result = reference()
    kinds = list(result.events()["kind"])
    assert {"line_outage.begin", "load_step.end", "partition.begin", "breaker.begin", "point_noise.end",
            "action_late"} <= set(kinds)
    assert {"accepted", "blocked"} & set(result.commands()["status"])
    assert {"vv", "shuffle", "plan", "watch", "disturbance"} <= set(result.commands()["source"])
    assert len(result.decisions()) >= 5
    assert {"delivered", "lost", "partitioned"} <= set(result.messages()["fate"])
    frame = result.samples()
    assert np.isfinite(frame.to_numpy()).mean() > 0.6
    assert frame["cap.steps"].nunique() > 1 or frame["bat.soc"].nunique() > 10
    assert frame["line.28-29.closed"].nunique() == 2


def test_another_seed_is_another_run() -> None:
    """The digest depends on the seed."""
    assert run(lambda s: s.advance_to(s.end_us), seed=12).digest != reference().digest


def test_what_is_recorded_is_the_same_in_a_folder_and_in_memory(tmp_path: Path) -> None:
    """Flushes now and then change nothing; a session adds nothing."""
    scenario = loaded(**RICH)
    summary = run_scenario(scenario, tmp_path / "out")
    assert summary.digest == reference().digest
    assert RunResult.load(tmp_path / "out").samples().equals(reference().samples())


def test_a_second_process_has_the_same_digest(tmp_path: Path) -> None:
    """Nothing of a process (hash seed, addresses, history) is in the digest."""
    (tmp_path / "s.yaml").write_text(loaded(**RICH).text)
    code = ("import sys; from cosim.scenario.loader import load_scenario; from pathlib import Path; "
            "from cosim.simulation.session import run_scenario; "
            "print(run_scenario(load_scenario(sys.argv[1]), Path(sys.argv[2])).digest)")
    digests = [subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.yaml"), str(tmp_path / f"o{seed}")],
                              capture_output=True, text=True, check=True, cwd=ROOT, timeout=120,
                              env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}).stdout.strip()
               for seed in ("1", "2")]
    assert digests == [reference().digest] * 2


def test_recording_less_changes_nothing_of_what_happens() -> None:
    """With other points, another period or no messages recorded, commands and events are the same."""
    for record in ({"points": ["bus.18.v_pu"]}, {"points": []}, {"period_s": 7}, {"messages": False}):
        result = run(lambda s: s.advance_to(s.end_us), record=record)
        for table in ("events", "commands", "decisions"):
            ours, theirs = getattr(result, table)(), getattr(reference(), table)()
            assert ours.drop(columns="seq").equals(theirs.drop(columns="seq")), (record, table)


# -- the same policy, inside and outside -------------------------------------------------------------------------------

DROOP = {"kind": "droop", "curve": [[0.9, 1.0], [1.0, 0.0]], "base": 2.0}


def by_the_policy(simulation: Simulation) -> None:
    """Decide outside exactly what the agent's own policy would: it is asked with what the agent sees."""
    while due := simulation.advance_to_decision():
        actions = {}
        for name in due:
            one = simulation.crew.agents[name]
            assert one.policy is not None
            answer = one.policy.act(one.look(), simulation.now_us)
            if answer is not None:
                actions[name] = answer
        simulation.commit(actions)


def inside_and_outside(names: tuple[str, ...], **changes: Any) -> tuple[RunResult, RunResult]:
    """The same scenario decided inside, and for those agents outside."""
    return (run(lambda s: s.advance_to(s.end_us), **changes), run(by_the_policy, external=names, **changes))


@pytest.mark.parametrize("timing", ["on_scan", "on_arrival"])
def test_an_outside_agent_with_the_same_policy_has_the_same_samples(timing: str) -> None:
    """Direct agents decided outside by their own policy: samples and decisions equal, commands but for the journal."""
    changes = {"commands": {"timing": timing}, "channels": [], "disturbances": RICH["disturbances"][:2], "agents": [
        agent("a", policy=DROOP, observe=["bus.18.v_pu"], period_s=0.7),
        agent("b", policy={"kind": "random"}, observe=[], actuate=["bat.p_set_kw"], period_s=3, compute_s=0.4),
        agent("c", trigger="on_change", policy=DROOP, observe=["bus.33.v_pu"], actuate=["pv2.q_set_kvar"],
              period_s=None, deadband=0.001)]}
    inside, outside = inside_and_outside(("a", "b", "c"), **changes)
    assert outside.samples().equals(inside.samples())
    assert outside.events().drop(columns="seq").equals(inside.events().drop(columns="seq"))
    assert outside.decisions().drop(columns="seq").equals(inside.decisions().drop(columns="seq"))
    plain = outside.commands()
    plain = plain[plain["kind"] != "action"].sort_values(["t_us", "point"], kind="stable").drop(columns="seq")
    own = inside.commands().sort_values(["t_us", "point"], kind="stable").drop(columns="seq")
    assert plain.equals(own)
    assert outside.digest != inside.digest


def test_over_channels_too() -> None:
    """Agents over lossy channels: their outside actions travel as their own, draw by draw.  (A message without any
    delay would arrive a microsecond later: what is decided outside leaves after DRIVE.)"""
    inside, outside = inside_and_outside(("vv", "shuffle"))
    names = [name for name in inside.points if not name.startswith("channel.")]
    assert outside.samples(names).equals(inside.samples(names))
    assert outside.messages().sort_values(["t_us", "channel"]).reset_index(drop=True).drop(columns="sender").equals(
        inside.messages().sort_values(["t_us", "channel"]).reset_index(drop=True).drop(columns="sender"))


def test_decisions_from_outside_replay(tmp_path: Path) -> None:
    """The rich scenario with two agents decided outside replays from its folder to its digest."""
    run(by_the_policy, tmp_path / "out", ("vv", "shuffle"))
    assert replay(tmp_path / "out").same
