"""Channels of a scenario: points, directions, routes and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.channel import Corrupted, Fate
from cosim.errors import ScenarioError
from cosim.points import PointKind


def _late(ms):
    return {"kind": "latency", "distribution": "constant", "delay_ms": ms}


def _run(kernel):
    kernel.advance_to(kernel.now_us + 10_000_000)


def test_points_and_their_values(channels):
    """A channel has six points each way, and measure writes their values in that order."""
    kernel, built = channels({"name": "wan", "rules": [_late(20), {"kind": "bandwidth", "bits_per_second": 8000}]})
    wan = built["wan"]
    names = [point.name for point in wan.points()]
    suffixes = ("sent", "delivered", "lost", "queue", "delay_s", "age_s")
    assert names == [f"channel.wan.{way}.{suffix}" for way in ("up", "down") for suffix in suffixes]
    assert [point.kind for point in wan.points()[:3]] == [PointKind.COUNTER] * 3
    out = np.empty(12)
    wan.measure(out)
    np.testing.assert_array_equal(out, [0, 0, 0, 0, np.nan, np.nan] * 2)
    for _ in range(3):
        wan.up.send(100, lambda _: None, None)
    kernel.advance_to(150_000)
    wan.measure(out)
    np.testing.assert_allclose(out[:6], [3, 1, 0, 2, 0.12, 0.15])


def test_directions_have_their_own_rules(channels):
    """`up` and `down` stand in place of `rules` for their direction."""
    _, built = channels({"name": "wan", "rules": [_late(1)], "down": [_late(7), {"kind": "loss", "probability": 0}]},
                        {"name": "lan", "rules": [_late(1)], "up": []})
    def first(traffic):
        return next(traffic._quick)

    assert [first(t) for t in built["wan"].directions] == [1000, 7000]
    assert [first(t) for t in built["lan"].directions] == [0, 1000]


def test_hops_add(channels):
    """A route's delays are the sum of its hops', up in the order named and down in reverse."""
    kernel, built = channels({"name": "radio", "rules": [_late(10)], "down": [_late(1)]},
                             {"name": "backbone", "rules": [_late(5)]},
                             {"name": "path", "hops": ["radio", "backbone"]})
    heard = []
    path = built["path"]
    assert path.up.send(10, lambda p: heard.append((kernel.now_us, p)), "up")
    assert path.down.send(10, lambda p: heard.append((kernel.now_us, p)), "down")
    kernel.advance_to(5_500)
    # Down, backbone is behind it and radio still carries it; up, radio still carries it.
    assert [built["backbone"].down.delivered, built["radio"].down.in_flight, built["radio"].up.in_flight] == [1, 1, 1]
    assert path.up.in_flight == path.down.in_flight == 1
    _run(kernel)
    assert heard == [(6_000, "down"), (15_000, "up")]
    assert (path.up.delivered, path.up.in_flight) == (1, 0)
    assert path.up.last_delay_us == path.up.mean_delay_us == 15_000
    assert path.up.age_us(20_000) == 20_000


def test_a_route_counts_what_its_hops_do(channels):
    """A loss, copy or damage in a hop counts in the route from end to end; the balance holds and each has one fate."""
    kernel, built = channels(
        {"name": "a", "rules": [{"kind": "duplication", "probability": 0.2}, {"kind": "loss", "probability": 0.2}]},
        {"name": "b", "rules": [_late(3), {"kind": "corruption", "probability": 0.1, "deliver": True},
                                {"kind": "corruption", "probability": 0.1}]},
        {"name": "path", "hops": ["a", "b"]}, seed=1)
    heard, told = [], []
    up = built["path"].up
    up.on_fate = lambda *fate: told.append(fate)
    for i in range(2000):
        kernel.at(i * 10, lambda i: up.send(1, heard.append, i), i)
    kernel.advance_to(10_000)
    assert up.sent + up.duplicated == up.delivered + up.lost + up.corrupted + up.in_flight
    assert up.in_flight > 0
    _run(kernel)
    assert up.sent + up.duplicated == up.delivered + up.lost + up.corrupted == len(told)
    assert up.delivered == len(heard)
    assert (up.lost, up.duplicated) == (built["a"].up.lost, built["a"].up.duplicated)
    assert up.corrupted == built["b"].up.corrupted > 0
    marked = [payload for payload in heard if isinstance(payload, Corrupted)]
    assert 0 < len(marked) <= up.damaged
    assert all(isinstance(payload.payload, int) for payload in marked)
    assert {fate[2] for fate in told} == {Fate.DELIVERED, Fate.LOST, Fate.CORRUPTED}
    assert all(fate[0] == getattr(fate[4], "payload", fate[4]) * 10 for fate in told)


def test_hops_share_their_queue(channels):
    """Two routes over one line wait for each other."""
    kernel, built = channels({"name": "line", "rules": [{"kind": "bandwidth", "bits_per_second": 8000}]},
                             {"name": "one", "hops": ["line"]}, {"name": "two", "hops": ["line"]})
    heard = []
    for name in ("one", "two"):
        built[name].up.send(100, lambda p: heard.append((kernel.now_us, p)), name)
    assert built["two"].up.queue(0) == 2
    _run(kernel)
    assert heard == [(100_000, "one"), (200_000, "two")]


def test_a_blocked_hop_blocks_the_route(channels):
    """The sender of a route hears of a block of its first hop, and not of a later one; both count."""
    kernel, built = channels({"name": "a"}, {"name": "b", "rules": [_late(1)]}, {"name": "path", "hops": ["a", "b"]})
    path = built["path"].up
    built["a"].block(10)
    assert not path.send(1, print, None)
    built["a"].open_()
    built["b"].block(10)
    assert path.send(1, print, None)
    kernel.advance_to(5)
    assert (path.dropped_partition, path.in_flight) == (2, 0)


@pytest.mark.parametrize("where", ["path", "a"])
def test_a_cut_takes_what_is_on_the_route(channels, where):
    """A cut of the route, or of the hop it is on, drops a message under way once; later ones pass."""
    kernel, built = channels({"name": "a", "rules": [_late(2)]}, {"name": "b", "rules": [_late(2)]},
                             {"name": "path", "hops": ["a", "b"]})
    heard, told = [], []
    path = built["path"].up
    path.on_fate = lambda *fate: told.append(fate[2])
    path.send(1, heard.append, "old")
    kernel.advance_to(1_000)
    built[where].block(1_001, drop_in_flight=True)
    kernel.at(1_500, lambda _: path.send(1, heard.append, "new"))
    _run(kernel)
    assert heard == ["new"]
    assert (path.sent, path.delivered, path.dropped_partition, path.in_flight) == (2, 1, 1, 0)
    assert told == [Fate.PARTITIONED, Fate.DELIVERED]


def test_a_dead_message_is_dropped_once(channels):
    """What a cut of the route took and a later hop then loses counts once, as partitioned."""
    kernel, built = channels({"name": "a", "rules": [_late(2)]}, {"name": "b", "rules": [_late(2)]},
                             {"name": "path", "hops": ["a", "b"]})
    told = []
    path = built["path"].up
    path.on_fate = lambda *fate: told.append(fate[2])
    path.send(1, told.append, "dead")
    path.cut()
    built["a"].up.cut()
    _run(kernel)
    assert (path.sent, path.dropped_partition, path.dropped, path.in_flight) == (1, 1, 1, 0)
    assert told == [Fate.PARTITIONED]


def test_a_route_can_be_blocked_itself(channels):
    """Blocking a route leaves its hops open to others."""
    _, built = channels({"name": "a"}, {"name": "path", "hops": ["a"]})
    built["path"].block()
    assert not built["path"].up.send(1, print, None)
    assert built["a"].up.send(1, print, None)


def test_all_problems_come_at_once(channels):
    """Every problem of every rule is in one error, once, with its place and what is accepted."""
    with pytest.raises(ScenarioError) as error:
        channels({"name": "a", "rules": [{"kind": "nope"}, {"kind": "loss", "probability": -1}]},
                 {"name": "b", "rules": [{"kind": "loss", "probability": 2}], "down": [{"kind": "loss"}]})
    assert [str(problem) for problem in error.value.problems][1:] == [
        "channels.0.rules.1.probability: found -1; expected at least 0",
        "channels.1.rules.0.probability: found 2; expected at most 1",
        "channels.1.down.0.probability: missing: Chance that a message is lost, 0 to 1."]
    assert "channels.0.rules.0.kind: unknown rule kind 'nope'; known: bandwidth" in str(error.value)
