"""The gate around a real run: answers, one submission, limits, the switch, and both ends of every write."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest

from cosim.commands import CommandKind, CommandStatus
from cosim.recorder import RunResult
from cosim.replay import replay
from gateways.gate import WriteAnswer
from gateways.peer import Role
from hil.gate import GateOptions
from hil.rates import RateLimit
from tests.hil.sessions import MASTER, UNLIMITED, Served

P, Q = "store.p_set_kw", "store.q_set_kvar"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A session at t = 2.5 s."""
    session = Served(tmp_path)
    session.to(2_500_000)
    return session


def test_a_write_enters_once_and_replays(served: Served) -> None:
    """One row of the journal at its arrival, as station and role; the replay has the same digest."""
    assert served.ask({P: 100.0, Q: 50.0}) is WriteAnswer.TAKEN
    assert served.submitted == 1
    served.to(10_000_000)
    served.end()
    (command,) = RunResult.load(served.out).journal()
    assert (command.t_us, command.source, command.kind, command.values) == (
        2_500_000, "rtu/operator", CommandKind.SET, (100.0, 50.0))
    assert replay(served.out).same


@pytest.mark.parametrize(("values", "answer"), [
    ({P: 1e9}, WriteAnswer.OUT_OF_RANGE), ({"shield.stop": 0.5}, WriteAnswer.OUT_OF_RANGE),
    ({P: 1.0, Q: 1e9}, WriteAnswer.OUT_OF_RANGE), ({"bus.18.v_pu": 1.0}, WriteAnswer.NOT_WRITABLE),
    ({"no such point": 1.0}, WriteAnswer.NOT_WRITABLE), ({P: float("inf")}, WriteAnswer.OUT_OF_RANGE),
    ({"bus.18.v_pu": nan}, WriteAnswer.NOT_WRITABLE), ({P: nan, "bus.18.v_pu": nan}, WriteAnswer.NOT_WRITABLE)])
def test_what_the_run_refuses(served: Served, values: dict[str, float], answer: WriteAnswer) -> None:
    """Refused as a whole, journalled as refused, nothing in force."""
    assert served.ask(values) is answer
    assert served.submitted == 0
    served.to(4_000_000)
    served.end()
    assert CommandStatus.ACCEPTED not in [command.status for command in RunResult.load(served.out).journal()]
    assert np.isnan(served.simulation.inbox.in_force.values[:2]).all()
    assert served.gate.counts[answer.value] == served.gate.counts["writes"] == 1


def test_release_and_set_in_one_request(served: Served) -> None:
    """NaN lets go; what is set is set at the same instant."""
    served.ask({P: 100.0})
    served.to(3_500_000)
    assert served.ask({P: nan, Q: 20.0}) is WriteAnswer.TAKEN
    served.to(4_000_000)
    values = served.simulation.inbox.in_force.values
    assert (values[0] != values[0], values[1]) == (True, 20.0)
    served.end()
    times = [(command.t_us, command.kind) for command in RunResult.load(served.out).journal()]
    assert times[1:] == [(3_500_000, CommandKind.SET), (3_500_000, CommandKind.RELEASE)]


@pytest.mark.parametrize(("q_kvar", "ttl_s"), [(1e9, None), (20.0, 0.0)])
def test_a_refused_set_releases_nothing(served: Served, q_kvar: float, ttl_s: float | None) -> None:
    """All or nothing, also for a time to live that is none."""
    served.ask({P: 100.0})
    served.to(3_500_000)
    assert served.ask({P: nan, Q: q_kvar}, ttl_s=ttl_s) is WriteAnswer.OUT_OF_RANGE
    served.to(4_000_000)
    assert served.simulation.inbox.in_force.values[0] == 100.0


def test_time_to_live(served: Served) -> None:
    """It ends by itself."""
    served.ask({P: 100.0}, ttl_s=1.0)
    served.to(3_000_000)
    assert served.simulation.inbox.in_force.values[0] == 100.0
    served.to(4_000_000)
    assert served.simulation.inbox.in_force.values[0] != 100.0


def test_read_only(served: Served) -> None:
    """Flips while running; stations' own doings go on; both flips are on record."""
    served.gate.read_only = True
    assert served.ask({P: 1.0}) is WriteAnswer.READ_ONLY
    assert served.gate.own("rtu", (served.simulation.points.id_of(P),), (5.0,), "comm_loss", 2_500_000) is (
        WriteAnswer.TAKEN)
    served.gate.read_only = False
    assert served.ask({P: 1.0}) is WriteAnswer.TAKEN
    assert [record.detail for record in served.records() if record.kind == "switch"] == [
        "read-only on", "read-only off"]


def test_rates_by_peer_and_tag(tmp_path: Path) -> None:
    """Peers by host, tags by station; refusals of the station cost its peer, not the tag; time gives back."""
    served = Served(tmp_path, GateOptions(RateLimit(1, 3), RateLimit(0.5, 1)))
    assert served.ask({P: 1.0}, refusal="not you") is WriteAnswer.REFUSED
    assert served.ask({P: 1.0}) is WriteAnswer.TAKEN
    assert served.ask({P: 1.0}) is WriteAnswer.RATE_LIMITED  # the tag
    assert served.ask({Q: 1.0}) is WriteAnswer.RATE_LIMITED  # the peer
    assert served.ask({Q: 1.0}, peer=replace(MASTER, address="127.0.0.1:9", session=9)) is WriteAnswer.RATE_LIMITED
    assert served.ask({Q: 1.0}, peer=replace(MASTER, host="10.0.0.9")) is WriteAnswer.TAKEN
    served.now_us = 2_000_000
    assert served.ask({P: 1.0}) is WriteAnswer.TAKEN
    reasons = [record.detail for record in served.records() if "rate_limited" in record.detail]
    assert "rate_limited (tag store.p_set_kw: more than 1 at once and 0.5 a second)" in reasons[0]
    assert "rate_limited (peer 127.0.0.1: more than 3 at once and 1 a second)" in reasons[1]


def test_open_writes_are_bounded(tmp_path: Path) -> None:
    """More than wait for a scan at once are refused; after the scan there is room again."""
    served = Served(tmp_path, replace(UNLIMITED, open_writes=2))
    assert [served.ask({P: float(i)}) for i in range(3)] == [WriteAnswer.TAKEN, WriteAnswer.TAKEN,
                                                             WriteAnswer.QUEUE_FULL]
    served.to(1_000_000)
    assert served.ask({P: 4.0}) is WriteAnswer.TAKEN


def test_an_effect_says_what_the_shield_did(served: Served) -> None:
    """After the first SOLVE: asked, in force, stands, and the limit that explains it."""
    served.ask({P: 2500.0})
    served.to(4_000_000)
    write, effect = served.records()
    assert (write.kind, write.t_us, write.fields["entry_us"]) == ("write", 2_500_000, 2_500_000.0)
    assert (effect.kind, effect.t_us, effect.fields["write"]) == ("effect", 3_000_000, 0.0)
    stands = served.simulation.points.read(P)
    assert stands < 2400
    assert effect.detail.startswith(f"store.p_set_kw: in force 2500.0 kW by rtu/operator, {stands:.1f} kW stands "
                                    f"(moved by the shield: bus.18.v_pu would be 1.1")
    served.ask({P: 100.0})
    served.to(5_000_000)
    assert served.records()[-1].detail == "store.p_set_kw: in force 100.0 kW by rtu/operator, 100.0 kW stands"


def test_own_is_audited_with_its_effect(served: Served) -> None:
    """The source is the station and the first word."""
    served.gate.own("rtu", (served.simulation.points.id_of(P),), (7.0,), "comm_loss of 3 s", 2_600_000)
    served.to(3_000_000)
    own, effect = served.records()
    assert own.detail == "comm_loss of 3 s: store.p_set_kw = 7 kW (was nothing); taken"
    assert effect.detail == "store.p_set_kw: in force 7.0 kW by rtu/comm_loss, 7.0 kW stands"
    assert served.gate.counts["own"] == 1


def test_the_end_closes_what_is_open(served: Served) -> None:
    """A write after the last scan was not seen to take effect, and the log says so; the wire's hash comes last."""
    served.ask({P: 1.0}, peer=replace(MASTER, role=Role.ADMIN))
    served.end()
    effect, wire = served.records()[1:]
    assert (effect.kind, effect.detail) == ("effect", "the run ended before the next scan")
    assert wire.kind == "wire"


def test_a_write_of_no_point_is_audited(served: Served) -> None:
    """What a station keeps for itself (a timer's register) is judged and written down, and enters nothing."""
    assert served.ask({}, tags=("WMaxLimPct_RvrtTms",)) is WriteAnswer.TAKEN
    assert served.submitted == 0
    (record,) = served.records()
    assert ": WMaxLimPct_RvrtTms; taken; bytes 00" in record.detail


def test_a_flood_is_counted_and_not_written_out(tmp_path: Path) -> None:
    """Ten thousand writes beyond the rate: every one refused and counted, a record for the first and one a second."""
    served = Served(tmp_path, GateOptions(per_peer=RateLimit(1.0, 3.0), per_tag=RateLimit()))
    served.to(2_500_000)
    answers = [served.ask({P: float(i % 100)}) for i in range(10_000)]
    assert answers[:3] == [WriteAnswer.TAKEN] * 3
    assert set(answers[3:]) == {WriteAnswer.RATE_LIMITED}
    assert served.gate.counts["rate_limited"] == 9_997
    served.end()
    kinds = [record.kind for record in served.records()]
    assert kinds.count("write") == 4
    (flood,) = [record for record in served.records() if record.kind == "flood"]
    assert flood.fields["writes"] == 9_996
