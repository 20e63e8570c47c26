"""Streams cut into frames, in words, and requests with their answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.modbus.rtu import crc16
from hil.wire.exchanges import Exchange, Exchanges
from hil.wire.frames import Cutter, Frame, may_write
from hil.wire.layout import Framing, Kind, WireRecord, texts
from hil.wire.words import answer_words, request_words


def mbap(pdu: bytes, transaction: int = 1, unit: int = 1) -> bytes:
    """A Modbus TCP frame."""
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


def rtu(pdu: bytes, unit: int = 1) -> bytes:
    """An RTU frame."""
    body = bytes([unit]) + pdu
    return body + crc16(body).to_bytes(2, "little")


PDUS = [bytes.fromhex(text) for text in (
    "0100000009", "0200000001", "0300000002", "040000007d", "050001ff00", "0600000190", "08000012 34",
    "0f000000090201ff", "10000000020400010002", "160000fff20025", "17000000010000000102abcd", "2b0e0100")]
ANSWERS = [bytes.fromhex(text) for text in (
    "0102ff01", "020101", "030400010002", "0402abcd", "050001ff00", "0600000190", "0f00000009", "1000000002",
    "160000fff20025", "1702abcd", "8302", "2b0e01010000020003414243010144")]


@given(st.lists(st.sampled_from(PDUS), min_size=1, max_size=8), st.data(), st.booleans())
def test_however_a_stream_is_cut(pdus: list[bytes], data: st.DataObject, is_rtu: bool) -> None:
    """The frames are the same, whether they come byte by byte or all at once."""
    frames = [rtu(pdu) if is_rtu else mbap(pdu, i) for i, pdu in enumerate(pdus)]
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    cutter = Cutter(Framing.RTU if is_rtu else Framing.MBAP, answers=False)
    found = [frame for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
             for frame in cutter.feed(stream[begin:end])]
    assert [frame.data for frame in found] == frames
    assert [frame.pdu for frame in found] == pdus
    assert list(cutter.end()) == []


@given(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=8))
def test_answers_byte_by_byte(pdus: list[bytes]) -> None:
    """Answers of RTU have lengths of their own, device identification too."""
    cutter = Cutter(Framing.RTU, answers=True)
    found = [frame for pdu in pdus for byte in rtu(pdu) for frame in cutter.feed(bytes([byte]))]
    assert [frame.pdu for frame in found] == pdus


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30), st.sampled_from(Framing), st.booleans())
def test_anything_at_all(chunks: list[bytes], framing: Framing, answers: bool) -> None:
    """Nothing is lost, nothing raises, and every frame can be said in words."""
    cutter = Cutter(framing, answers=answers)
    found = [frame for chunk in chunks for frame in cutter.feed(chunk)]
    found += cutter.end()
    assert b"".join(frame.data for frame in found) == b"".join(chunks)
    for frame in found:
        assert request_words(frame)
        assert answer_words(frame, None)


@pytest.mark.parametrize(("data", "fault"), [
    (b"GET / HTTP/1.1\r\n", "protocol id 21536, not 0"), (b"\0\1\0\0\0\1\1\3", "length 1, not 2 to 254"),
    (b"\0\1\0\0\xff\xff\1\3", "length 65535, not 2 to 254")])
def test_faults_are_named(data: bytes, fault: str) -> None:
    """What makes it no frame."""
    (frame,) = Cutter(Framing.MBAP, answers=False).feed(data)
    assert (frame.fault, frame.data) == (fault, data)


def test_a_wrong_checksum() -> None:
    """The frame is told, and the next one is found."""
    good = rtu(b"\3\0\0\0\1")
    frames = list(Cutter(Framing.RTU, answers=False).feed(good[:-1] + b"\0" + good))
    assert frames[0].fault.startswith("checksum 00")
    assert frames[1].pdu == b"\3\0\0\0\1"


SOUND = rtu(b"\3\0\0\0\1")


@pytest.mark.parametrize("before", [
    rtu(bytes.fromhex("08000012345678")), rtu(bytes.fromhex("0800001234567890ab")), rtu(b"\3\4\0\1\0\2", 2),
    rtu(b"\x10\0\0\0\2", 2), rtu(b"\x83\2", 2), rtu(bytes.fromhex("2b0e01010000020003414243010144"), 2),
    rtu(b"\7"), rtu(bytes.fromhex("650102"))], ids=lambda data: data.hex())
def test_what_a_session_tells_apart(before: bytes) -> None:
    """A loopback of several words, other units' answers on a shared line and rarer functions are frames of their own.

    The next request is found behind them, whole chunks or byte by byte.
    """
    for cut in (1, 256):
        stream, cutter = before + SOUND, Cutter(Framing.RTU, answers=False)
        found = [frame for at in range(0, len(stream), cut) for frame in cutter.feed(stream[at:at + cut])]
        assert [(frame.data, frame.fault) for frame in found] == [(before, ""), (SOUND, "")]
        assert list(cutter.end()) == []


@pytest.mark.parametrize("noise", [b"\xff", b"\xff\x55", b"\x55" * 20, b"\1\3\x9c\0\0\1xx", b"\1\x10\0", b"\0" * 300,
                                   b"\1\x08\0\0\1\2\3"], ids=lambda data: data.hex()[:20])
@pytest.mark.parametrize("is_one_chunk", [True, False])
def test_behind_noise(noise: bytes, is_one_chunk: bool) -> None:
    """The next frames whose CRCs hold are found; at the latest when the session ends."""
    cutter = Cutter(Framing.RTU, answers=False)
    found = [frame for chunk in ([noise + SOUND + SOUND] if is_one_chunk else [noise, SOUND, SOUND])
             for frame in cutter.feed(chunk)] + list(cutter.end())
    assert [frame.data for frame in found if not frame.fault] == [SOUND, SOUND]
    assert b"".join(frame.data for frame in found) == noise + SOUND + SOUND


READ, WRITE = PDUS[2], PDUS[5]


@pytest.mark.parametrize("framing", [Framing.MBAP, Framing.RTU])
def test_only_a_single_read_is_no_write(framing: Framing) -> None:
    """A write in the same chunk, before a read or behind it, parts, and what cannot be told must be kept."""
    framed = rtu if framing is Framing.RTU else mbap
    read, write = framed(READ), framed(WRITE)
    assert not may_write(read, framing)
    kept = [write, read + write, write + read, read + read, read + b"\0", read[:-1], b"\1", framed(b"\x65\1"),
            framed(b"\x08\0\4\0\0"), framed(b"\x86\2")]
    assert [data.hex() for data in kept if not may_write(data, framing)] == []


@pytest.mark.parametrize(("pdu", "words"), [
    ("0300000002", "read holding registers hr 0 = 40001 (400001) to hr 1 = 40002 (400002), unit 1"),
    ("0400130001", "read input register ir 19 = 30020 (300020), unit 1"),
    ("0100000009", "read coils co 0 = 00001 (000001) to co 8 = 00009 (000009), unit 1"),
    ("0600000190", "write holding register hr 0 = 40001 (400001), unit 1: 400"),
    ("050001ff00", "write coil co 1 = 00002 (000002), unit 1: on"),
    ("0500011234", "write coil co 1 = 00002 (000002), unit 1: 0x1234"),
    ("10000a00020400010002", "write holding registers hr 10 = 40011 (400011) to hr 11 = 40012 (400012), unit 1: 1 2"),
    ("0f000000090201ff", ("write coils co 0 = 00001 (000001) to co 8 = 00009 (000009), unit 1: "
                          "1 0 0 0 0 0 0 0 … (9 of them)")),
    ("160000fff20025", "mask holding register hr 0 = 40001 (400001), unit 1: and 0xfff2 or 0x0025"),
    ("17000000010005000102abcd", ("write holding register hr 5 = 40006 (400006): 43981; then read holding register "
                                  "hr 0 = 40001 (400001), unit 1")),
    ("2b0e0100", "read device identification 1, from object 0, unit 1"),
    ("03ffff007d", "read holding registers hr 65535 = 465536 to beyond the table (125 of them), unit 1"),
    ("0300", "function 3, unit 1, cut short: 03 00"), ("6501", "function 101, unit 1: 65 01")])
def test_requests_in_words(pdu: str, words: str) -> None:
    """Function, address in the three notations, unit, values."""
    assert request_words(Frame(b"", 1, 1, bytes.fromhex(pdu))) == words


@pytest.mark.parametrize(("pdu", "asked", "words"), [
    ("030400010002", "0300000002", "1 2"), ("0102ff01", "0100000009", "1 1 1 1 1 1 1 1 … (9 of them)"),
    ("0600000190", "0600000190", "done"), ("1000000002", "10000000020400010002", "done"),
    ("8302", "0300000002", "exception 02 (illegal data address)"), ("8309", "0300000002",
                                                                   "exception 09 (not of the standard)"),
    ("2b0e01010000020003414243010144", "2b0e0100", "0 'ABC' 1 'D'")])
def test_answers_in_words(pdu: str, asked: str, words: str) -> None:
    """Values, done, or the exception's name."""
    assert answer_words(Frame(b"", 1, 1, bytes.fromhex(pdu)), Frame(b"", 1, 1, bytes.fromhex(asked))) == words


def exchanged(*records: tuple[Kind, int, bytes]) -> list[Exchange]:
    """What records at 1, 2, 3 … µs say."""
    return list(Exchanges(WireRecord(kind, session, i, i, data) for i, (kind, session, data) in enumerate(records, 1)))


def opened(session: int, listener: str = "modbus") -> tuple[Kind, int, bytes]:
    """A session's opening."""
    return Kind.OPENED, session, texts(listener=listener, address=f"10.0.0.{session}:5000", host=f"10.0.0.{session}",
                                       role="operator")


def test_pipelined_requests_of_two_sessions() -> None:
    """Answers find their requests by session and transaction; the order is that of the requests."""
    a, b = PDUS[2], PDUS[5]
    found = exchanged(opened(1), opened(2), (Kind.RECEIVED, 1, mbap(a, 5) + mbap(b, 6)), (Kind.RECEIVED, 2, mbap(a, 5)),
                      (Kind.SENT, 2, mbap(ANSWERS[2], 5)), (Kind.SENT, 1, mbap(ANSWERS[2], 5) + mbap(b, 6)))[2:]
    assert [(e.session.number, e.request and e.request.transaction, e.answered_us) for e in found] == [
        (1, 5, 6), (1, 6, 6), (2, 5, 5)]


def test_requests_without_an_answer() -> None:
    """An answer to a later one, or the end of the session, says that there will be none."""
    found = exchanged(opened(1), (Kind.RECEIVED, 1, mbap(PDUS[2], 1, unit=9)), (Kind.RECEIVED, 1, mbap(PDUS[2], 2)),
                      (Kind.SENT, 1, mbap(ANSWERS[2], 2)), (Kind.RECEIVED, 1, mbap(PDUS[2], 3)),
                      (Kind.RECEIVED, 1, b"\0\1\0"), (Kind.CLOSED, 1, texts(reason="by the peer")))
    assert [e.answer is not None for e in found if e.request is not None] == [False, True, False, False]
    assert [e.words for e in found if e.words] == ["session opened at modbus as operator",
                                                   "session closed: by the peer"]
    assert next(e for e in found if e.request is not None and e.request.fault).request == Frame(
        b"\0\1\0", -1, -1, b"", "3 bytes of a frame")


def test_an_rtu_listener() -> None:
    """Its kind says how its bytes are framed."""
    found = exchanged((Kind.LISTENER, 0, texts(name="line", kind="modbus_rtu", where="/dev/tty0 9600 8N1")),
                      opened(1, "line"), (Kind.RECEIVED, 1, rtu(PDUS[2])), (Kind.SENT, 1, rtu(ANSWERS[2])))
    assert (found[2].request, found[2].answer) == (Frame(rtu(PDUS[2]), -1, 1, PDUS[2]),
                                                   Frame(rtu(ANSWERS[2]), -1, 1, ANSWERS[2]))


def test_a_session_whose_opening_was_not_kept() -> None:
    """Its bytes are told all the same."""
    (found,) = exchanged((Kind.RECEIVED, 4, mbap(PDUS[2])))
    assert (found.session.number, found.session.address) == (4, "?")
