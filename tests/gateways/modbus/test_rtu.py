"""RTU: CRC, frames found by size and by silence, a shared line, broadcasts, listen-only mode, and RTU over TCP."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.modbus.bank import Table
from gateways.modbus.rtu import RtuSession, crc16, t35_us
from gateways.modbus.session import SessionOptions
from tests.gateways.modbus.fakes import BUSY, FakeBank, framed, rtu, words
from tests.gateways.modbus.golden import Golden
from tests.gateways.modbus.test_session import VALID

T35 = 1750
READ = words(3, 0, 2)
READ_ANSWER = bytes.fromhex("03 04 0000 0007")
WRITE = words(6, 20, 9)


def line(units: dict[int, FakeBank] | None = None) -> RtuSession:
    """A serial line above 19200 baud."""
    return rtu(units or {1: FakeBank()}, SessionOptions(t35_us=T35))


def read(session: RtuSession, sub: int, unit: int = 1) -> int:
    """A counter of function 8."""
    answer = session.receive(framed(words(8, sub, 0), unit), 0)
    assert answer == framed(answer[1:-2], unit)
    return int.from_bytes(answer[4:6], "big")


# -- CRC and times ---------------------------------------------------------------------------------------------------


def test_crc_of_the_standards_example() -> None:
    """Serial Line v1.02, 6.2.2: 02 07 goes out as 02 07 41 12; and the catalogue's check value for CRC-16/MODBUS."""
    assert crc16(b"\x02\x07").to_bytes(2, "little") == b"\x41\x12"
    assert crc16(b"123456789") == 0x4B37


@given(data=st.binary(max_size=300))
def test_crc_is_the_bitwise_one(data: bytes) -> None:
    """And 0 over a frame with its own."""
    assert framed(data)[-2:] == crc16(b"\x01" + data).to_bytes(2, "little")
    assert crc16(framed(data)) == 0


@pytest.mark.parametrize(("baud", "silence_us"), [(9600, 4011), (19200, 2006), (38400, 1750), (115200, 1750),
                                                (1200, 32084)])
def test_silence_by_baud(baud: int, silence_us: int) -> None:
    """3.5 characters of 11 bits, 1750 µs above 19200 baud."""
    assert t35_us(baud) == silence_us


# -- both ways -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [rtu(), line()], ids=["tcp", "line"])
def test_a_request_is_answered_at_once(session: RtuSession) -> None:
    """Its size is known from its function: no silence is waited for."""
    assert session.receive(framed(READ), 0) == framed(READ_ANSWER)
    assert session.receive(framed(words(3, 0, 0)), 0) == framed(b"\x83\x03")
    assert dict(session.counts()) == {"bad_frames": 0, "broadcasts": 0, "busy": 0, "exceptions": 1, "others": 0,
                                      "requests": 2}


@pytest.mark.parametrize("options", [SessionOptions(), SessionOptions(t35_us=T35)], ids=["tcp", "line"])
@settings(max_examples=60, deadline=None)
@given(pdus=st.lists(VALID.filter(lambda pdu: pdu[0] not in (0x65, 8)), min_size=1, max_size=10), data=st.data())
def test_any_split_gives_the_same_answers(options: SessionOptions, pdus: list[bytes], data: st.DataObject) -> None:
    """However the bytes arrive, as long as nobody is silent."""
    golden, session = Golden(), rtu(options=options)
    stream = b"".join(framed(pdu) for pdu in pdus)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    out = b"".join(session.receive(stream[start:stop], 0)
                   for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True))
    assert out == b"".join(framed(golden.answer(pdu)) for pdu in pdus)


@pytest.mark.parametrize("options", [SessionOptions(), SessionOptions(t35_us=T35)], ids=["tcp", "line"])
@given(pieces=st.lists(st.binary(max_size=300) | st.binary(min_size=1, max_size=250).map(framed), max_size=8),
       gap_us=st.sampled_from((0, T35)))
def test_arbitrary_bytes_never_raise(options: SessionOptions, pieces: list[bytes], gap_us: int) -> None:
    """Nor make the buffer grow beyond a frame."""
    session = rtu(options=options)
    for n, piece in enumerate(pieces):
        session.receive(piece, n * gap_us)
        session.on_timer(n * gap_us + gap_us)
        assert len(session._buffer) <= 256


def test_a_broadcast_is_carried_out_by_all_and_answered_by_none() -> None:
    """Unit 0, for functions that only write; exceptions are not answered either, nor counted as if they were."""
    units = {1: FakeBank(), 2: FakeBank()}
    session = line(units)
    assert session.receive(framed(WRITE, 0), 0) == b""
    assert session.receive(framed(words(6, 0, 1), 0), 0) == b""
    assert [bank.tables[Table.HOLDING_REGISTERS][20] for bank in units.values()] == [9, 9]
    assert session.receive(framed(READ, 0) + framed(words(8, 10, 0), 0), 0) == b""
    assert dict(session.counts()) == {"bad_frames": 0, "broadcasts": 2, "busy": 0, "exceptions": 0, "others": 2,
                                      "requests": 2}
    assert [read(session, 14, 1), read(session, 15, 1), read(session, 13, 1)] == [3, 2, 0]


# -- a line ----------------------------------------------------------------------------------------------------------


def test_a_wrong_crc_is_not_answered_and_silence_begins_anew() -> None:
    """Counted once; the next frame is heard."""
    session = line()
    bad = bytearray(framed(READ))
    bad[-1] ^= 1
    assert session.receive(bytes(bad), 0) == b""
    assert session.next_us() == T35
    assert session.on_timer(T35 - 1) == b""
    assert session.next_us() == T35
    assert session.on_timer(T35) == b""
    assert (session.next_us(), session.closing) == (None, "")
    assert session.receive(framed(READ), T35 + 1) == framed(READ_ANSWER)
    assert session.counts()["bad_frames"] == 1


def test_silence_counts_without_a_timer() -> None:
    """What came before a silence is dropped by the byte after it."""
    session = line()
    session.receive(framed(READ)[:5], 0)
    assert session.receive(framed(READ), T35) == framed(READ_ANSWER)
    assert session.counts()["bad_frames"] == 1


def test_late_bytes_complete_their_frame() -> None:
    """A process that was busy sees a silence where there was none: the CRC is the better witness."""
    session = line()
    session.receive(framed(WRITE)[:5], 0)
    assert session.receive(framed(WRITE)[5:] + framed(READ), 50_000) == framed(WRITE) + framed(READ_ANSWER)
    assert session.counts()["bad_frames"] == 0


def test_an_unknown_function_is_refused_after_the_silence() -> None:
    """Only silence tells where it ends; so it is with a longer function 8."""
    for pdu, answer in ((b"\x65\1\2\3", b"\xe5\x01"), (words(8, 0, 1, 2, 3), words(8, 0, 1, 2, 3))):
        session = line()
        assert session.receive(framed(pdu), 0) == b""
        assert session.on_timer(T35) == framed(answer)
        assert session.receive(framed(pdu), 2 * T35) == b""
        assert session.receive(framed(READ), 4 * T35) == framed(answer) + framed(READ_ANSWER)


@pytest.mark.parametrize("answer", [
    b"\x03\x04\0\0\0\7", b"\x03\x06\0\0\0\7\0\1", b"\x01\x03\1\2\3", b"\x83\x02", words(16, 20, 2), words(15, 20, 2),
    WRITE, b"\x17\x02\0\1", words(22, 1, 2, 3), b"\x07\x55", b"\x11\x02\x01\xff", b"\x2b\x0e\x04\x83\0\0\1\0\1x"])
def test_other_units_answers_do_not_confuse(answer: bytes) -> None:
    """A shared line: a request to unit 9 and its answer, then one to us, with silences between or in one lump."""
    request = words(answer[0] & 0x7F, 0, 2) if answer[0] & 0x7F < 7 else b"\x07"
    session = line()
    session.receive(framed(request, 9), 0)
    session.receive(framed(answer, 9), 5000)
    assert session.receive(framed(READ), 10_000) == framed(READ_ANSWER)
    assert session.counts()["bad_frames"] == 0
    if answer[0] != 0x2B:
        lump = framed(request, 9) + framed(answer, 9) + framed(READ)
        assert line().receive(lump, 0) == framed(READ_ANSWER)


def test_what_looks_like_an_exception_is_not_answered_on_a_line() -> None:
    """It is an answer: ours, from an adapter that echoes, would otherwise be answered for ever."""
    session = line()
    assert session.receive(framed(b"\x83\x02"), 0) + session.on_timer(T35) == b""
    assert session.counts()["others"] == 1


def test_noise_without_end_is_dropped_up_to_the_next_silence() -> None:
    """Bounded, counted once, and over with the silence."""
    session = line()
    noise = random.Random(1).randbytes(3000)
    for at in range(0, len(noise), 100):
        session.receive(noise[at:at + 100], at)
        assert len(session._buffer) <= 256
    assert session.receive(framed(READ), 2901) == b""
    assert session.receive(framed(READ), 2901 + T35) == framed(READ_ANSWER)
    assert session.counts()["bad_frames"] == 1


def test_a_line_is_never_idle_and_never_unknown() -> None:
    """Other units' requests are theirs, whatever the options say of connections."""
    session = rtu(options=SessionOptions(t35_us=T35, unknown_unit="exception", any_unit=True, idle_s=1))
    assert session.next_us() is None
    assert session.receive(framed(READ, 9), 0) == b""
    session.on_timer(10 ** 9)
    assert session.closing == ""


# -- diagnostics -----------------------------------------------------------------------------------------------------


def test_listen_only_mode_ends_with_a_restart() -> None:
    """6.8, 4 and 1: no answers, no actions, broadcasts included; the restart that ends it is not answered."""
    units = {1: FakeBank(), 2: FakeBank()}
    session = line(units)
    assert session.receive(framed(words(8, 4, 0)), 0) == b""
    assert session.receive(framed(READ) + framed(WRITE) + framed(WRITE, 0) + framed(words(8, 0, 5)), 0) == b""
    assert (units[1].writes, len(units[2].writes)) == ([], 1)
    assert session.receive(framed(READ, 2), 0) == framed(READ_ANSWER, 2)
    assert session.receive(framed(words(8, 1, 0)), 0) == b""
    assert session.receive(framed(READ), 0) == framed(READ_ANSWER)
    assert session.receive(framed(words(8, 1, 0xFF00)), 0) == framed(words(8, 1, 0xFF00))
    assert session.receive(framed(words(8, 1, 1)), 0) == framed(b"\x88\x03")


def test_counters_are_the_lines_and_the_units() -> None:
    """11 and 12 count what is on the line, 13 to 17 what concerns the unit."""
    session = line({1: FakeBank(), 2: FakeBank()})
    session.receive(framed(READ) + framed(words(3, BUSY, 1)) + framed(words(3, 0, 0), 2) + framed(READ, 9) + b"xxx", 0)
    session.on_timer(T35)
    assert [read(session, sub) for sub in range(11, 19)] == [5, 1, 1, 6, 0, 0, 1, 0]
    assert [read(session, sub, 2) for sub in (13, 14, 17)] == [1, 3, 0]
    assert session.receive(framed(words(8, 10, 0)), 0) == framed(words(8, 10, 0))
    assert [read(session, 12), read(session, 13), read(session, 13, 2)] == [0, 0, 1]


# -- RTU over TCP ----------------------------------------------------------------------------------------------------


def test_a_wrong_crc_closes_a_connection() -> None:
    """There is no silence to begin anew after; what came before is answered."""
    session = rtu()
    bad = bytearray(framed(READ))
    bad[3] ^= 1
    assert session.receive(framed(READ) + bytes(bad), 0) == framed(READ_ANSWER)
    assert session.closing == "bad checksum"
    assert session.receive(framed(READ), 0) == b""


def test_unknown_functions_end_where_their_crc_holds() -> None:
    """Over TCP: refused at once, in the middle of a stream, and in pieces."""
    stream = framed(b"\x65\1\2\3") + framed(words(8, 0, 1, 2, 3)) + framed(b"\x83\x01") + framed(READ)
    answers = framed(b"\xe5\x01") + framed(words(8, 0, 1, 2, 3)) + framed(b"\x83\x01") + framed(READ_ANSWER)
    assert rtu().receive(stream, 0) == answers
    session = rtu()
    assert b"".join(session.receive(stream[at:at + 1], 0) for at in range(len(stream))) == answers


@pytest.mark.parametrize("pdu", [b"\x65\x00\x00\x00\x04\x00\x00", b"\x08\x00\x00\x00\x1b"])
def test_a_crc_that_ends_in_zero_does_not_shift_what_follows(pdu: bytes) -> None:
    """Such a CRC holds one byte before the frame's end: the byte belongs to it all the same, a broadcast's does not."""
    assert framed(pdu).endswith(b"\x00"), "the case that is tested"
    session = rtu()
    first, following = session.receive(framed(pdu) + framed(b"\x03\x00\x00\x00\x01"), 1), framed(b"\x03\x02\x00\x00")
    assert first.endswith(following)
    assert len(first) > len(following)
    bank = FakeBank()
    session = rtu({1: bank})
    plain = framed(b"\x65\x00\x00\x00\x04\x00\x01")
    session.receive(plain + framed(b"\x06\x00\x20\x00\x01", 0), 1)
    assert (len(bank.writes), session.closing) == (1, "")


def test_a_segment_of_doubtful_ends_is_taken_without_recursion() -> None:
    """Hundreds of unknown functions on end, each seemingly followed by the 0 that would belong to it."""
    frames = b"".join(framed(b"\x65", 0) for _ in range(512))
    session = rtu()
    session.receive(frames, 1)
    assert session.counts()["bad_frames"] <= 1


def test_an_echo_is_whole_byte_by_byte_whatever_its_crc() -> None:
    """Function 8 over TCP, of unknown length, one byte a segment."""
    for word in range(600):
        session = rtu()
        frame = framed(b"\x08\x00\x00" + word.to_bytes(2, "big"))
        assert b"".join(session.receive(frame[i:i + 1], 1) for i in range(len(frame))) == frame


def test_256_bytes_without_a_frame_close_a_connection() -> None:
    """An unknown function whose CRC holds nowhere."""
    session = rtu()
    session.receive(b"\x01\x65" + bytes(253), 0)
    assert session.closing == ""
    session.receive(b"\0", 0)
    assert session.closing == "bad checksum"


def test_a_frame_that_cannot_be_closes_a_connection_at_once() -> None:
    """A byte count that would make it longer than 256: nothing is waited for."""
    session = rtu()
    session.receive(framed(words(16, 20, 123) + b"\xff")[:7], 0)
    assert session.closing == "bad checksum"


def test_a_connection_has_limits_in_time() -> None:
    """As over TCP's own framing."""
    session = rtu(options=SessionOptions(frame_s=2))
    session.receive(framed(READ)[:5], 0)
    session.on_timer(2_000_000)
    assert session.closing == "frame not completed in 2 s"


def test_units_over_tcp() -> None:
    """Unknown ones by the options; the only one to any number but 0."""
    assert rtu().receive(framed(READ, 9), 0) == b""
    assert rtu(options=SessionOptions(unknown_unit="exception")).receive(framed(READ, 9), 0) == framed(b"\x83\x0b", 9)
    session = rtu(options=SessionOptions(any_unit=True, unknown_unit="exception"))
    assert session.receive(framed(READ, 9) + framed(READ, 0), 0) == framed(READ_ANSWER, 9)
