"""Channel qualities: what their short form means, and what it changes in a scenario."""

from __future__ import annotations

import json

import pytest

from cosim.scenario.loader import load_text
from policies.evaluate import Quality, Source, qualities
from policies.evaluate.quality import QualityError
from tests.cosim.env.worlds import learner, loaded


def test_parts_become_rules() -> None:
    """Times in ms, s and min, losses as shares and per cent, several rules with +."""
    found = qualities("ideal, delay=0.5s+loss=20%,jitter=200ms,delay=1min,loss=0.25,delay=2,scenario")
    assert [quality.kind for quality in found] == ["ideal", *["channel"] * 5, "scenario"]
    rules = [json.loads(quality.rules) for quality in found]
    assert rules[1] == [{"kind": "latency", "distribution": "constant", "delay_ms": 500.0},
                        {"kind": "loss", "probability": 0.2}]
    assert rules[2] == [{"kind": "latency", "distribution": "uniform", "low_ms": 0.0, "high_ms": 200.0}]
    assert [rules[3][0]["delay_ms"], rules[4][0]["probability"], rules[5][0]["delay_ms"]] == [60_000.0, 0.25, 2_000.0]


@pytest.mark.parametrize(("text", "says"), [
    ("fast", "expected 'scenario'"), ("delay=soon", "a time such as"), ("loss=120%", "0 to 1"), ("loss=-1", "0 to 1"),
    ("ideal,ideal", "named twice"), ("delay=1h", "a time such as"), ("loss", "expected 'scenario'"), ("", "expected"),
    (",".join(f"delay={i}s" for i in range(60)), "at most 50")])
def test_nonsense_is_refused(text: str, says: str) -> None:
    """One message that says what would do."""
    with pytest.raises(QualityError, match=says):
        qualities(text)


def test_learners_get_the_channel_and_others_keep_theirs() -> None:
    """The channel is added beside those that exist; only learners' telemetry changes, its own settings stay."""
    before = loaded(learner(1, telemetry={"kind": "channel", "channel": "wan", "period_s": 2.0}), learner(2),
                    channels=[{"name": "wan", "rules": [{"kind": "loss", "probability": 0.1}]}],
                    learning={"agents": ["agent_1"]})
    after = Source.of(before).load(qualities("delay=1s")[0].overrides(before.scenario)).scenario
    assert [channel.name for channel in after.channels] == ["wan", "evaluated"]
    assert [str(agent.telemetry.channel) for agent in after.agents] == ["evaluated", "None"]
    assert after.agents[0].telemetry.period_s == 2.0
    assert after.channels[1].rules[0]["delay_ms"] == 1000.0


def test_ideal_is_direct_and_scenario_changes_nothing() -> None:
    """``ideal`` takes learners off their channel; ``scenario`` leaves everything."""
    before = loaded(learner(1, telemetry={"kind": "channel", "channel": "wan"}), channels=[{"name": "wan"}])
    changes = Quality("ideal", "ideal").overrides(before.scenario)
    after = load_text(before.text, path=before.path, overrides=changes).scenario
    assert after.agents[0].telemetry.kind.value == "direct"
    assert Quality("scenario", "scenario").overrides(before.scenario) == ()
