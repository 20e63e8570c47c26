"""What holds under any rules: the balance, order, limits, reproducibility; and who is told what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.channel import Fate
from cosim.channel.link import Link
from cosim.channel.rule import Drawn, Forking, Judged
from cosim.channel.stage import compile_stages
from cosim.errors import PluginError, ProcessError, ScenarioError
from cosim.kernel import Kernel, Phase

RULES = st.lists(st.sampled_from([
    {"kind": "latency", "distribution": "constant", "delay_ms": 0.3},
    {"kind": "latency", "distribution": "uniform", "low_ms": 0, "high_ms": 2},
    {"kind": "latency", "distribution": "gamma", "shape": 0.5, "mean_ms": 1},
    {"kind": "loss", "probability": 0.2},
    {"kind": "gilbert_elliott", "p": 0.1, "r": 0.3},
    {"kind": "gilbert_elliott", "mean_good_s": 0.002, "mean_bad_s": 0.001},
    {"kind": "duplication", "probability": 0.3},
    {"kind": "duplication", "probability": 0.3, "extra_delay_ms": 0.7},
    {"kind": "corruption", "probability": 0.2},
    {"kind": "corruption", "probability": 0.2, "deliver": True},
    {"kind": "bandwidth", "bits_per_second": 4_000_000, "queue_messages": 3},
    {"kind": "partition", "windows": [[0.002, 0.003], [0.006, 0.007]]},
    {"kind": "partition", "windows": [[0.004, 0.005]], "drop_in_flight": True},
]), max_size=5)
TIMES = st.lists(st.integers(0, 9_000), min_size=1, max_size=40).map(sorted)


def _balance(link):
    return (link.delivered + link.lost + link.dropped_queue + link.dropped_partition + link.corrupted
            + link.in_flight) - link.sent - link.duplicated


@settings(max_examples=150, deadline=None)
@given(RULES, TIMES, st.integers(0, 5), st.sampled_from(["free", "fifo"]), st.sampled_from([3, 1000]))
def test_messages_are_conserved(line, rules, times_us, seed, ordering, capacity):
    """At any time every message sent or copied is delivered, dropped for one reason, or in flight; in flight is what
    still comes; each has exactly one fate."""
    out = line(rules, seed, ordering=ordering, capacity=capacity)
    fates = []
    out.link.on_fate = lambda sent_us, arrival_us, fate, size, payload: fates.append((fate, arrival_us))
    for i, t_us in enumerate(times_us):
        out.kernel.at(t_us, out.send, i)
    for t_us in range(0, 12_000, 250):
        out.kernel.advance_to(t_us)
        assert out.link.delivered == len(out.arrived)
        assert out.link.sent == sum(1 for sent_us in times_us if sent_us <= t_us)
        assert _balance(out.link) == 0
        assert out.link.in_flight >= 0
    out.kernel.advance_to(2_000_000)
    assert out.link.in_flight == 0
    assert _balance(out.link) == 0
    assert len(fates) == out.link.sent + out.link.duplicated
    assert [arrival_us for fate, arrival_us in fates if fate == Fate.DELIVERED] == [t_us for t_us, _ in out.arrived]
    counted = (out.link.lost, out.link.dropped_queue, out.link.dropped_partition, out.link.corrupted)
    assert counted == tuple(sum(fate == code for fate, _ in fates) for code in (-1, -2, -3, -4))


@settings(max_examples=150, deadline=None)
@given(RULES, TIMES, st.integers(0, 5))
def test_fifo_never_overtakes(line, rules, times_us, seed):
    """On a FIFO link messages arrive in the order in which they were sent, whatever the rules."""
    out = line(rules, seed, ordering="fifo").send_at(times_us)
    order = [getattr(payload, "payload", payload) for _, payload in out.arrived]
    assert order == sorted(order)


def test_free_links_do_overtake(line):
    """Without FIFO a faster message overtakes: the FIFO test can fail."""
    rule = {"kind": "latency", "distribution": "uniform", "low_ms": 0, "high_ms": 2}
    order = [i for _, i in line([rule]).send_at(range(100)).arrived]
    assert order != sorted(order)


@settings(max_examples=50, deadline=None)
@given(RULES, st.integers(0, 3))
def test_same_seed_same_fate(line, rules, seed):
    """The same seed and names give the same arrivals, message by message."""
    times_us = range(0, 9_000, 100)
    assert line(rules, seed).send_at(times_us).arrived == line(rules, seed).send_at(times_us).arrived


def test_streams_are_independent(line, channels):
    """Other seeds, names and directions draw other delays; their correlation is none."""
    rule = {"kind": "latency", "distribution": "uniform", "low_ms": 0, "high_ms": 1}
    times_us = np.arange(4000) * 1000

    def delays(seed=0, name="wan"):
        return line([rule], seed, name=name, ordering="fifo").send_at(times_us).delays_us(times_us)

    base = delays()
    others = [delays(seed=1), delays(name="lan")]
    both = line([rule])
    up_us = both.send_at(times_us).delays_us(times_us)
    assert (up_us == base).all()
    _, built = channels({"name": "wan", "rules": [rule]})
    down_us = [next(built["wan"].down._quick) for _ in range(4000)]
    for other in (*others, np.array(down_us)):
        assert abs(np.corrcoef(base, other)[0, 1]) < 3 / np.sqrt(4000)


def test_another_channel_leaves_the_draws_alone(channels):
    """Adding a channel before or after does not change what another one draws."""
    raw = {"name": "wan", "rules": [{"kind": "loss", "probability": 0.5}]}
    other = {"name": "lan", "rules": [{"kind": "loss", "probability": 0.5}]}

    def draws(built):
        return [next(built["wan"].up._quick) for _ in range(1000)]

    alone = draws(channels(raw)[1])
    assert alone == draws(channels(other, raw)[1]) == draws(channels(raw, other)[1])


def test_capacity_bounds_what_is_in_flight(line):
    """More than `capacity` messages in flight are refused, told to the sender and counted."""
    out = line([{"kind": "latency", "distribution": "constant", "delay_ms": 1}], capacity=3)
    out.send_at([0, 0, 0, 0, 999, 1001, 1001])
    assert out.answers == [True, True, True, False, False, True, True]
    assert out.link.dropped_queue == 2
    assert [i for _, i in out.arrived] == [0, 1, 2, 5, 6]


def test_delays_add_and_later_rules_see_later_times(line):
    """Constant delays add, and a window after a delay is met by what gets there inside it."""
    late = {"kind": "latency", "distribution": "constant", "delay_ms": 500}
    out = line([late, {"kind": "partition", "windows": [[1, 2]]}, late]).send_at([400_000, 500_000, 1_500_000])
    assert out.arrived == [(1_400_000, 0), (2_500_000, 2)]
    # The sender is told: the fate was known before any event.
    assert out.answers == [True, False, True]


def test_what_is_sent_after_drive_arrives_in_the_next_microsecond(line):
    """A message without delay sent in PUBLISH cannot arrive in the same instant: it arrives 1 us later."""
    out = line([])

    def publish(_):
        out.kernel.enter_phase(Phase.PUBLISH)
        out.send("late")

    out.kernel.at(50, publish, None, Phase.PUBLISH)
    out.send_at([])
    assert out.arrived == [(51, "late")]


def test_statistics(line):
    """Delays, bytes and age of information are those of the messages delivered."""
    out = line([{"kind": "latency", "distribution": "trace", "values_ms": [5, 1], "order": "sequence"}])
    assert out.link.age_us(0) is None
    assert np.isnan(out.link.mean_delay_us)
    out.send_at([0, 2000], [100, 50])
    assert out.arrived == [(3000, 1), (5000, 0)]
    assert out.link.bytes == 150
    assert out.link.last_delay_us == 5000
    assert out.link.mean_delay_us == 3000
    # The older message came last and made nothing fresher.
    assert out.link.age_us(10_000) == 8000


def test_observer_sees_what_happened(line):
    """on_fate is told once a message: delivered with its arrival, dropped with -1."""
    out = line([{"kind": "latency", "distribution": "constant", "delay_ms": 1}, {"kind": "loss", "probability": 0.5}])
    told = []
    out.link.on_fate = lambda *fate: told.append(fate)
    out.send_at(np.arange(200) * 10, 7)
    delivered = sorted(fate[4] for fate in told if fate[2] == Fate.DELIVERED)
    assert delivered == sorted(i for _, i in out.arrived)
    assert 0 < len(delivered) < 200 == len(told)
    for sent_us, arrival_us, fate, size_bytes, payload in told:
        assert (sent_us, size_bytes) == (payload * 10, 7)
        assert arrival_us == (sent_us + 1000 if fate == Fate.DELIVERED else -1)


def test_a_failing_receiver_is_named(line):
    """An exception in a receiver names the receiver and the link, not only the link."""
    out = line([])

    def broken_receiver(payload):
        raise ValueError("no such register")

    out.link.send(1, broken_receiver, None)
    with pytest.raises(ProcessError, match=r"broken_receiver \(message over channel.wan.up\) .*no such register"):
        out.send_at([])


def test_an_unknown_rule_kind_lists_the_known(line):
    """An unknown kind names close matches and all known kinds; a rule without a kind too."""
    with pytest.raises(ScenarioError, match=r"did you mean 'latency'.*bandwidth, corruption, duplication"):
        line([{"kind": "latensy"}])
    with pytest.raises(ScenarioError, match=r"channels.0.rules.0.kind: missing; expected a rule kind: bandwidth"):
        line([{"probability": 0.1}])


def test_only_rules_make_a_stage():
    """An object of a plugin that is no rule is refused."""
    with pytest.raises(PluginError, match="expected a Drawn, Judged or Forking rule"):
        compile_stages([object.__new__(type("Odd", (), {"ordered": False, "reorders": False}))])


def test_stages_break_only_where_they_must(line):
    """A queue behind a constant delay needs no event of its own; behind a random one it does; a fork ends a stage."""
    constant = {"kind": "latency", "distribution": "constant", "delay_ms": 1}
    random = {"kind": "latency", "distribution": "uniform", "low_ms": 1, "high_ms": 2}
    queue = {"kind": "bandwidth", "bits_per_second": 1000}
    fork = {"kind": "duplication", "probability": 0.1}

    def events(*rules):
        return [stage.by_event for stage in line(rules).link._stages]

    assert events(constant, queue, queue) == [False]
    assert events(random, queue, random, queue) == [False, True, True]
    assert events(fork, random, queue, fork) == [False, False, True]


def test_a_plugin_rule_may_replace_a_message(line):
    """A forking rule of a plugin may hand on any messages: here three parts, each later than the one before."""

    class Split(Forking):
        reorders = True

        def fork(self, payload):
            return tuple((1000 * part, (payload, part)) for part in range(3))

    base = line([])
    base.link = Link("split", base.kernel, [Split()], fifo=False, capacity=10)
    base.send_at([0])
    assert base.arrived == [(0, (0, 0)), (1000, (0, 1)), (2000, (0, 2))]
    assert (base.link.duplicated, _balance(base.link)) == (2, 0)


class _Careless(Judged):
    """A rule of a plugin that drops with a code nobody knows."""

    kind = "careless"

    def judge(self, t_us, size_bytes):
        return -9


class _Guessing(Drawn):
    """The same by chance; `verdicts` says what it draws."""

    kind = "guessing"
    verdicts = staticmethod(lambda n: np.full(n, -9))

    def draw(self, n):
        return self.verdicts(n)


class _Fractional(_Guessing):
    """Delays that are no whole microseconds."""

    verdicts = staticmethod(lambda n: np.full(n, 0.5))


@pytest.mark.parametrize(("rules", "message"), [
    ([_Careless()], r"rule 'careless': found verdict -9; expected a delay in us \(0 or more\) or one of -1 \(LOST\)"),
    ([_Careless(), _Careless()], r"rule 'careless': found verdict -9"),
    ([_Guessing()], r"rule 'guessing': found verdict -9"),
    ([_Guessing(), _Careless()], r"rule 'guessing': found verdict -9"),
    ([_Fractional()], r"rule 'guessing': `draw\(512\)` gave float64 of shape \(512,\); expected whole numbers"),
])
def test_a_rule_with_unknown_verdicts_is_named(rules, message):
    """A plugin's rule that returns what is neither a delay nor a fate is named, with what is accepted."""
    link = Link("odd", Kernel(0), rules, fifo=False, capacity=10)
    with pytest.raises(PluginError, match=message):
        link.send(1, print, None)
