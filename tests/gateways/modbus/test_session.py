"""The session over TCP: framing, pipelining, units, limits in time; the 25 probes of the robustness table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import GatewayError
from gateways.modbus.mbap import TcpSession
from gateways.modbus.session import SessionOptions
from gateways.session import ServerSession
from tests.gateways.modbus.fakes import FAILING, PEER, FakeBank, mbap, tcp, words
from tests.gateways.modbus.golden import Golden

READ = words(3, 0, 10)
READ_ANSWER = b"\x03\x14" + b"".join((7 * n).to_bytes(2, "big") for n in range(10))
SECOND = 1_000_000


def burst(count: int) -> bytes:
    """So many reads at once, with transactions from 1."""
    return b"".join(mbap(READ, transaction=n) for n in range(1, count + 1))


def burst_answer(count: int) -> bytes:
    """All of them, in order."""
    return b"".join(mbap(READ_ANSWER, transaction=n) for n in range(1, count + 1))


# -- the probes (reference, section 7, M) ----------------------------------------------------------------------------

PROBES: tuple[tuple[str, bytes, bytes, str], ...] = (
    ("10 pipelined reads", burst(10), burst_answer(10), ""),
    ("16 pipelined reads", burst(16), burst_answer(16), ""),
    ("unknown function 0x65", mbap(b"\x65\0\0\0\1", 0xBEEF), mbap(b"\xe5\x01", 0xBEEF), ""),
    ("quantity 0", mbap(words(3, 0, 0)), mbap(b"\x83\x03"), ""),
    ("quantity 126", mbap(words(3, 0, 126)), mbap(b"\x83\x03"), ""),
    ("quantity 65535", mbap(words(3, 0, 65535)), mbap(b"\x83\x03"), ""),
    ("0xFFFF and 2", mbap(words(3, 0xFFFF, 2)), mbap(b"\x83\x02"), ""),
    ("out of the map", mbap(words(3, 9000, 1)), mbap(b"\x83\x02"), ""),
    ("16 with a wrong byte count", mbap(words(16, 20, 2) + b"\x03\0\0\0"), mbap(b"\x90\x03"), ""),
    ("5 with 0x1234", mbap(words(5, 10, 0x1234)), mbap(b"\x85\x03"), ""),
    ("unknown unit", mbap(READ, unit=7), b"", ""),
    ("protocol id 1", b"\0\1\0\1\0\6\1" + READ, b"", "bad protocol id"),
    ("length 0", b"\0\1\0\0\0\0\1" + READ, b"", "bad length"),
    ("length 1", b"\0\1\0\0\0\1\1" + READ, b"", "bad length"),
    ("length 255", b"\0\1\0\0\0\xff\1" + READ, b"", "bad length"),
    ("length 0xFFFF", b"\0\1\0\0\xff\xff\1" + READ, b"", "bad length"),
    ("TLS hello", bytes.fromhex("16030100c8010000c40303"), b"", "bad protocol id"),
    ("HTTP GET", b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n", b"", "bad protocol id"),
    ("noise", bytes.fromhex("9f3a77c21e0b44d8a1"), b"", "bad protocol id"),
    ("what comes before noise is answered", burst(2) + b"\xff" * 30, burst_answer(2), "bad protocol id"),
    ("half a frame", mbap(READ)[:7], b"", ""),
    ("write to what is read only", mbap(words(6, 0, 1)), mbap(b"\x86\x02"), ""),
    ("write out of range", mbap(words(6, 20, 50001)), mbap(b"\x86\x03"), ""),
    ("transaction 65535, then 0", mbap(READ, 65535) + mbap(READ, 0),
     mbap(READ_ANSWER, 65535) + mbap(READ_ANSWER, 0), ""),
    ("a unit that fails", mbap(words(3, FAILING, 1)), mbap(b"\x83\x04"), ""),
)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("stream", "answer", "closing"), [probe[1:] for probe in PROBES],
                         ids=[probe[0] for probe in PROBES])
def test_probes(stream: bytes, answer: bytes, closing: str, bytewise: bool) -> None:
    """What each of the 25 must get, in one segment and in many."""
    session = tcp()
    pieces = [bytes((byte,)) for byte in stream] if bytewise else [stream]
    assert b"".join(session.receive(piece, 0) for piece in pieces) == answer
    assert session.closing == closing
    assert session.counts()["bad_frames"] == bool(closing)


def test_nothing_is_heard_after_the_end() -> None:
    """A session that is closing neither answers nor wants to be called."""
    session = tcp()
    session.receive(b"\0\1\0\1\0\6", 0)
    assert session.receive(burst(2), 0) == b""
    assert session.receive(mbap(READ), 0) == b""
    assert session.next_us() is None
    assert session.on_timer(10 ** 12) == b""
    assert session.closing == "bad protocol id"


# -- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pdu", "answer"), [(READ, b"\x83\x0b"), (b"\x65", b"\xe5\x0b"),
                                             (words(6, 20, 1), b"\x86\x0b")])
def test_an_unknown_unit_may_be_told(pdu: bytes, answer: bytes) -> None:
    """0B where the options say so, the unit echoed; counted as others, and as exceptions."""
    session = tcp(options=SessionOptions(unknown_unit="exception"))
    assert session.receive(mbap(pdu, unit=9), 0) == mbap(answer, unit=9)
    assert (session.counts()["others"], session.counts()["exceptions"], session.counts()["requests"]) == (1, 1, 0)


@pytest.mark.parametrize("unit", [0, 1, 9, 255])
def test_the_only_unit_may_answer_to_any_id(unit: int) -> None:
    """`any_unit`, with the identifier echoed, for plain reads and for all else."""
    session = tcp(options=SessionOptions(any_unit=True))
    assert session.receive(mbap(READ, unit=unit), 0) == mbap(READ_ANSWER, unit=unit)
    assert session.receive(mbap(words(6, 20, 1), unit=unit), 0) == mbap(words(6, 20, 1), unit=unit)


def test_one_of_two_units_answers_to_its_own_id_only() -> None:
    """`any_unit` means nothing where there are several; over TCP, unit 0 is no broadcast."""
    units = {1: FakeBank(), 2: FakeBank()}
    session = tcp(units, SessionOptions(any_unit=True))
    assert session.receive(mbap(READ, unit=2), 0) == mbap(READ_ANSWER, unit=2)
    assert session.receive(mbap(words(6, 20, 1), unit=0), 0) == b""
    assert [bank.writes for bank in units.values()] == [[], []]


# -- time ------------------------------------------------------------------------------------------------------------


def test_a_frame_must_be_completed_in_time() -> None:
    """From its first byte on, however many bytes drip in; what was dripped is counted once."""
    session = tcp(options=SessionOptions(frame_s=2, idle_s=60))
    for second in (10, 11):
        session.receive(b"\0", second * SECOND)
    assert session.next_us() == 12 * SECOND
    session.on_timer(12 * SECOND - 1)
    assert session.closing == ""
    session.on_timer(12 * SECOND)
    assert session.closing == "frame not completed in 2 s"
    assert session.counts()["bad_frames"] == 1


def test_a_new_frame_has_its_own_time() -> None:
    """The end of one frame and the beginning of the next may share a segment."""
    session = tcp(options=SessionOptions(frame_s=2))
    frame = mbap(READ)
    session.receive(frame[:5], 10 * SECOND)
    session.receive(frame[5:] + frame[:5], 11 * SECOND)
    assert session.next_us() == 13 * SECOND
    session.receive(frame[5:], 12 * SECOND)
    assert session.next_us() == (12 + 300) * SECOND


def test_an_idle_session_is_closed() -> None:
    """After `idle_s` without a byte, which is no fault of its frames."""
    session = tcp(options=SessionOptions(idle_s=60))
    assert session.next_us() == 60 * SECOND
    session.receive(mbap(READ), 50 * SECOND)
    session.on_timer(60 * SECOND)
    assert (session.closing, session.next_us()) == ("", 110 * SECOND)
    session.on_timer(110 * SECOND)
    assert session.closing == "idle for 60 s"
    assert session.counts()["bad_frames"] == 0


def test_a_session_that_was_not_told_the_time_asks_for_it() -> None:
    """Without a beginning, idle time counts from the first call."""
    session = TcpSession({1: FakeBank()}, PEER, SessionOptions(idle_s=60))
    assert session.next_us() == 0
    session.on_timer(1000 * SECOND)
    assert (session.closing, session.next_us()) == ("", 1060 * SECOND)


@pytest.mark.parametrize("options", [{"frame_s": 0.0}, {"idle_s": -1.0}, {"idle_s": float("inf")}, {"t35_us": 0},
                                     {"frame_s": float("nan")}])
def test_limits_are_positive(options: dict[str, Any]) -> None:
    """Nothing is unlimited, and what is wrong is named."""
    with pytest.raises(GatewayError, match=next(iter(options))):
        SessionOptions(**options)


# -- streams ---------------------------------------------------------------------------------------------------------


def test_64_kib_in_one_piece() -> None:
    """All whole requests are answered, the rest is kept."""
    session = tcp()
    stream = burst(5500)
    assert session.receive(stream[:65536], 0) == burst_answer(65536 // 12)
    assert session.receive(stream[65536:], 0) == burst_answer(5500)[65536 // 12 * 29:]


VALID = st.one_of(
    st.builds(words, st.sampled_from((1, 2)), st.integers(0, 250), st.integers(1, 60)),
    st.builds(words, st.sampled_from((3, 4)), st.integers(0, 100), st.integers(1, 60)),
    st.builds(words, st.just(5), st.integers(0, 70), st.sampled_from((0, 0xFF00))),
    st.builds(words, st.just(6), st.integers(10, 170), st.integers(0, 0xFFFF)),
    st.builds(words, st.just(22), st.integers(10, 170), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.binary(min_size=2, max_size=20).map(lambda data: words(16, 30, len(data) // 2)
                                           + bytes((len(data) // 2 * 2,)) + data[:len(data) // 2 * 2]),
    st.sampled_from((b"\x2b\x0e\x03\x00", b"\x65", words(8, 0, 5), words(8, 14, 0))))


@settings(max_examples=150, deadline=None)
@given(pdus=st.lists(VALID, min_size=1, max_size=20), data=st.data())
def test_any_split_gives_the_same_answers(pdus: list[bytes], data: st.DataObject) -> None:
    """However a stream is cut into pieces, the answers are the model's, and no more than a frame is kept."""
    golden, session = Golden(), tcp()
    stream = b"".join(mbap(pdu, n) for n, pdu in enumerate(pdus))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    out = b""
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += session.receive(stream[start:stop], 0)
        assert len(session._buffer) < 260
    assert out == b"".join(mbap(golden.answer(pdu), n) for n, pdu in enumerate(pdus))
    assert session.counts()["requests"] == len(pdus)


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.one_of(st.binary(max_size=400), st.binary(max_size=300).map(lambda data: data and mbap(
    data[:253]))), max_size=8))
def test_arbitrary_bytes_never_raise(pieces: list[bytes]) -> None:
    """Nor make the buffer grow."""
    session = tcp()
    for piece in pieces:
        assert isinstance(session.receive(piece, 0), bytes)
        assert len(session._buffer) < 260


def test_a_session_is_what_transports_drive() -> None:
    """It has the shape of `gateways.session.ServerSession`."""
    session: ServerSession = tcp()
    assert session.receive(b"", 0) == b""


def test_a_plain_read_asks_the_unit_once() -> None:
    """Also where the answer is an exception."""
    bank = FakeBank()
    tcp({1: bank}).receive(mbap(READ) + mbap(words(3, 9000, 1)), 0)
    assert bank.reads == 2
