"""Mailboxes: agents that talk to each other."""

from __future__ import annotations

from typing import Any

import pytest

from cosim.errors import ProcessError
from cosim.plugins import Situation
from tests.cosim.simulation.worlds import WAN, agent, ended, scripted, world


def talker(to: str) -> Any:
    """A policy that sends the time in seconds to `to` at each wake-up."""
    def make(situation: Situation) -> Any:
        def answer(observation: object, t_us: int) -> None:
            situation.send(to, [t_us / 1e6])
        return answer
    return make


def pair(**messages: Any) -> list[dict[str, Any]]:
    """One that talks each five seconds, one that wakes when spoken to."""
    return [agent("ann", policy={"kind": "talk"}, period_s=5, messages={"to": ["bob"], **messages}),
            agent("bob", policy={"kind": "listen"}, trigger="on_message", period_s=None)]


def test_a_message_wakes_its_receiver() -> None:
    """Without a channel a message arrives one microsecond later, is heard, and wakes an on_message agent."""
    log: list[str] = []
    ended(world(plugins=[scripted("talk", [], make=talker("bob")), scripted("listen", log)], agents=pair()))
    assert log == ["0.000000 ann said [0.0]", "0.000001 bob wakes", "5.000000 ann said [5.0]", "5.000001 bob wakes",]


def test_messages_travel_over_a_channel() -> None:
    """Over a channel they take its time, and are recorded."""
    log: list[str] = []
    result = ended(world(plugins=[scripted("talk", [], make=talker("bob")), scripted("listen", log)],
                         channels=[WAN], agents=pair(channel="wan")))
    assert log == ["0.000000 ann said [0.0]", "0.100000 bob wakes", "5.000000 ann said [5.0]", "5.100000 bob wakes"]
    row = result.messages().iloc[0]
    assert (row.sender, row.receiver, row.arrival_us, row.fate) == ("ann", "bob", 100_000, "delivered")


def test_a_damaged_message_is_not_heard() -> None:
    """What arrives corrupted is thrown away at the mailbox."""
    log: list[str] = []
    wan = {"name": "wan", "rules": [{"kind": "corruption", "probability": 1.0, "deliver": True}]}
    ended(world(plugins=[scripted("talk", [], make=talker("bob")), scripted("listen", log)], channels=[wan],
                agents=pair(channel="wan")))
    assert log == []


def test_several_messages_of_one_instant_wake_once() -> None:
    """Two messages that arrive together are both heard before the one wake-up."""
    log: list[str] = []
    agents = [agent(name, policy={"kind": "talk"}, period_s=20, messages={"to": ["bob"]}) for name in ("ann", "zoe")]
    agents.append(agent("bob", policy={"kind": "listen"}, trigger="on_message", period_s=None))
    ended(world(plugins=[scripted("talk", [], make=talker("bob")), scripted("listen", log)], agents=agents))
    assert log == ["0.000000 ann said [0.0]", "0.000000 zoe said [0.0]", "0.000001 bob wakes"]


def test_who_may_be_sent_to_is_the_scenarios_choice() -> None:
    """A message to an agent that `messages.to` does not allow names sender, receiver and what is allowed."""
    agents = [*pair(), agent("eve", policy={"kind": "listen"})]
    simulation = world(plugins=[scripted("talk", [], make=talker("eve")), scripted("listen", [])], agents=agents)
    with pytest.raises(ProcessError, match=r"'ann' may not send to 'eve'; `messages\.to` allows: bob"):
        ended(simulation)


def test_peers_are_the_agents_that_patterns_match_never_oneself() -> None:
    """A situation's peers are those it may send to."""
    peers: dict[str, tuple[str, ...]] = {}

    def make(situation: Situation) -> Any:
        peers[situation.name] = situation.peers
        return lambda observation, t_us: None

    agents = [agent(name, policy={"kind": "talk"}, messages={"to": ["n*"]}) for name in ("n1", "n2", "m")]
    world(plugins=[scripted("talk", [], make=make)], agents=agents)
    assert peers == {"n1": ("n2",), "n2": ("n1",), "m": ("n1", "n2")}
