"""Cross checks: every rule has a fixture that breaks it, and a message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosim.errors import Problem, ScenarioError
from cosim.plugins import Registry
from cosim.scenario import load_scenario
from cosim.scenario.loader import LoadedScenario
from cosim.scenario.rules import RULES

BAD = Path(__file__).parent / "bad"

EXPECTED = {
    "unique-names": ["7:24: devices.1.name: the name 'a' is taken by devices.0; choose another",
                     "8:19: channels.0.name: the name 'a' is taken by devices.0; choose another",
                     "9:17: agents.0.name: the name 'a' is taken by devices.0; choose another"],
    "device-names": ["5:24: devices.0.name: found 'my lamp'; expected letters, digits, _ and - (at most 64)",
                     "6:24: devices.1.name: the name 'l_{}' has {} but there is no `each` to fill it",
                     "7:40: devices.2.name: `each` makes several, but the name 'l' has no {} to tell them apart",
                     r"8:24: devices.3.name: found 'lamp\n'; expected letters, digits, _ and - (at most 64)"],
    "agent-channels": ["9:41: agents.0.telemetry.channel: no channel 'wam'; did you mean 'wan'?; known: wan",
                       "10:25: agents.0.messages.channel: no channel 'lan'; did you mean 'wan'?; known: wan"],
    "channel-hops": ["6:22: channels.1.hops.0: the route 'b' goes through itself",
                     "7:22: channels.2.hops.0: no channel 'nowhere'; known: a, b, c",
                     "7:31: channels.2.hops.1: 'b' is a route itself; expected a channel with rules of its own"],
    "message-peers": ["8:21: agents.0.messages.to.0: 'x*' matches no other agent; known: bob",
                      "8:25: agents.0.messages.to.1: 'ann' matches no other agent; known: bob"],
    "starts-within-run": ["8:15: agents.0.offset_s: found 10 s; the run ends at 10 s",
                          "9:41: agents.0.telemetry.offset_s: found 50 s; the run ends at 10 s"],
    "disturbance-times": ["5:24: disturbances.0.at_s: found 11 s; the run ends at 10 s",
                          "6:28: disturbances.1.at_s.1: found 12 s; the run ends at 10 s",
                          "7:36: disturbances.2.random.start_s: found 20 s; the run ends at 10 s",
                          "7:47: disturbances.2.random.end_s: found 1 s; expected more than start_s = 20 s"],
    "disturbance-targets": ["7:27: disturbances.0.channel: no channel 'wam'; did you mean 'wan'?; known: wan",
                            "8:26: disturbances.1.device: no device 'lam_1'; did you mean 'lamp_1'?; known: lamp_1"],
    "record-period": ["5:20: record.period_s: found 0.5 s; values change at scans, every step_s = 1 s"],
    "agent-period": ["5:48: agents.0.period_s: decides every 0.2 s, but commands take effect only every step_s = 1 s"],
    "shared-actuation": [("6:61: agents.1.actuate.0: 'lamp.p_set_kw' is commanded by 'a' too, at authority agent: the "
                         "later command wins")],
    "plugins-allowed": [("4:10: plugins: this scenario brings its own code, which is loaded only with --allow-plugins "
                        "(read it first)")],
}


def found_in(rule: str, registry: Registry) -> tuple[Problem, ...]:
    """Errors of a fixture, or its warnings when it loads."""
    try:
        return load_scenario(BAD / f"{rule}.yaml", registry=registry).warnings
    except ScenarioError as error:
        return error.problems


@pytest.mark.parametrize("rule", EXPECTED)
def test_fixture_breaks_its_rule_and_no_other(rule: str, registry: Registry) -> None:
    """A fixture gives its rule's messages, with their places, and nothing else."""
    problems = found_in(rule, registry)
    assert [str(p).removeprefix(f"{BAD / rule}.yaml:") for p in problems] == EXPECTED[rule]
    assert {p.rule for p in problems} == {rule}


def test_every_rule_has_a_fixture() -> None:
    """No rule without a failing file, and no file without a rule."""
    rules = {rule.id for rule in RULES} | {"plugins-allowed"}
    assert rules == set(EXPECTED) == {path.stem for path in BAD.glob("*.yaml")}


def test_warnings_do_not_stop_a_run(load: Callable[..., LoadedScenario]) -> None:
    """A scenario with warnings loads."""
    loaded = load("agents: [{name: a, policy: {kind: fixed}, period_s: 0.2}]\n")
    assert [problem.rule for problem in loaded.warnings] == ["agent-period"]


TEMPLATE_PEERS = ("agents: [{name: 'a_{}', each: 'x*', policy: {kind: fixed}, period_s: 1}, "
                  "{name: b, policy: {kind: fixed}, period_s: 1, messages: {to: [a_x1]}}]\n")


@pytest.mark.parametrize("fragment", [
    TEMPLATE_PEERS,
    "agents: [{name: 'a_{}', each: 'x*', policy: {kind: fixed}, period_s: 1, messages: {to: ['a_*']}}]\n",
    "agents: [{name: a, policy: {kind: fixed}, period_s: 0.2}]\ncommands: {timing: on_arrival}\n",
    "channels: [{name: w, rules: [{kind: delay, delay_s: 1}]}, {name: v, hops: [w, w]}]\n",
    "devices: [{kind: lamp, name: 'l_{}', each: 'load:*'}]\ndisturbances: [{kind: trip, device: l_3}]\n",
])
def test_what_is_right_is_left_alone(load: Callable[..., LoadedScenario], fragment: str) -> None:
    """Templates, arrivals, repeated hops and expanded devices break no rule."""
    assert load(fragment).warnings == ()
