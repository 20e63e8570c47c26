"""Functions: the examples of the application protocol v1.1b3, exception codes and their order, identification."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.diagnostics import Counters, Diagnostics
from gateways.modbus.identification import read_device_identification
from gateways.modbus.pdu import Request, answer
from tests.gateways.modbus.fakes import (
    BUSY,
    FAILING,
    IDENTIFICATION,
    PEER,
    BrokenBank,
    FakeBank,
    Write,
    ask,
    framed,
    mbap,
    rtu,
    tcp,
    words,
)
from tests.gateways.modbus.golden import Golden

H, C = Table.HOLDING_REGISTERS, Table.COILS


def example_bank() -> FakeBank:
    """The device of the examples in section 6: addresses on the wire are one less than the names in the text."""
    bank = FakeBank()
    bank.tables[C][0x13:0x13 + 19] = [int(bit) for bit in "1011001111010110101"]
    bank.tables[Table.DISCRETE_INPUTS][0xC4:0xC4 + 22] = [int(bit) for bit in "0011010111011011101011"]
    bank.tables[H][0x6B:0x6E] = [0x022B, 0, 0x64]
    bank.tables[Table.INPUT_REGISTERS][8] = 0x000A
    bank.tables[H][3:9] = [0x00FE, 0x0ACD, 1, 3, 0x000D, 0x00FF]
    return bank


@pytest.mark.parametrize(("clause", "request_", "answer"), [
    ("6.1 read coils", "01 0013 0013", "01 03 CD6B05"),
    ("6.2 read discrete inputs", "02 00C4 0016", "02 03 ACDB35"),
    ("6.3 read holding registers", "03 006B 0003", "03 06 022B00000064"),
    ("6.4 read input registers", "04 0008 0001", "04 02 000A"),
    ("6.8 return query data", "08 0000 A537", "08 0000 A537"),
])
def test_examples_of_reads(clause: str, request_: str, answer: str) -> None:
    """Section 6's own bytes."""
    assert ask(bytes.fromhex(request_), example_bank()) == bytes.fromhex(answer), clause


class OpenBank(FakeBank):
    """Lets everything be written, and keeps nothing to itself."""

    def _store(self, address: int, values: list[int]) -> None:
        self.tables[H][address:address + len(values)] = values

    def write_bits(self, address, bits, peer, now_us, frame):  # type: ignore[no-untyped-def]  # as in FakeBank
        """Takes all."""
        self.tables[C][address:address + len(bits)] = [int(bit) for bit in bits]

    def mask_register(self, address, masks, peer, now_us, frame):  # type: ignore[no-untyped-def]  # same
        """Takes all."""
        and_mask, or_mask = masks
        self.tables[H][address] = self.tables[H][address] & and_mask | or_mask & ~and_mask


@pytest.mark.parametrize(("clause", "request_", "answer", "table", "address", "cells"), [
    ("6.5 write single coil", "05 00AC FF00", "05 00AC FF00", C, 0xAC, [1]),
    ("6.6 write single register", "06 0001 0003", "06 0001 0003", H, 1, [3]),
    ("6.11 write multiple coils", "0F 0013 000A 02 CD01", "0F 0013 000A", C, 0x13, [1, 0, 1, 1, 0, 0, 1, 1, 1, 0]),
    ("6.12 write multiple registers", "10 0001 0002 04 000A 0102", "10 0001 0002", H, 1, [0x0A, 0x102]),
    ("6.16 mask write register", "16 0004 00F2 0025", "16 0004 00F2 0025", H, 4, [0x17]),
    ("6.17 read/write multiple registers", "17 0003 0006 000E 0003 06 00FF 00FF 00FF",
     "17 0C 00FE 0ACD 0001 0003 000D 00FF", H, 0x0E, [0xFF, 0xFF, 0xFF]),
])
def test_examples_of_writes(clause: str, request_: str, answer: str, table: Table, address: int,
                            cells: list[int]) -> None:
    """Section 6's own bytes, and what they do: 6.16 makes 0x17 of 0x12."""
    bank = OpenBank()
    bank.tables[H][4] = 0x12
    if request_.startswith("17"):
        bank.tables[H][3:9] = [0x00FE, 0x0ACD, 1, 3, 0x000D, 0x00FF]
    assert ask(bytes.fromhex(request_), bank) == bytes.fromhex(answer), clause
    assert bank.tables[table][address:address + len(cells)] == cells


def test_example_of_identification() -> None:
    """6.21's objects in one answer (the length printed there for "Product code XX", 0D, should read 0F)."""
    bank = FakeBank(identification={0: b"Company identification", 1: b"Product code XX", 2: b"V2.11"})
    expected = (bytes.fromhex("2B0E0181000003") + b"\x00\x16Company identification"
                + b"\x01\x0fProduct code XX" + b"\x02\x05V2.11")
    assert ask(bytes.fromhex("2B0E0100"), bank) == expected


# -- exceptions ------------------------------------------------------------------------------------------------------

VALUE, ADDRESS, FUNCTION = 3, 2, 1


@pytest.mark.parametrize(("pdu", "code"), [
    *((words(fc, 0, quantity), VALUE) for fc in (1, 2) for quantity in (0, 2001, 0xFFFF)),
    *((words(fc, 0, quantity), VALUE) for fc in (3, 4) for quantity in (0, 126, 0xFFFF)),
    *((words(fc, 0xFFFF, 2), ADDRESS) for fc in (1, 2, 3, 4)),
    *((words(fc, 0xFFFF, 0), VALUE) for fc in (1, 2, 3, 4)),
    *((words(fc, 5000, 1), ADDRESS) for fc in (1, 2, 3, 4)),
    *((words(fc, 0), VALUE) for fc in (1, 2, 3, 4, 5, 6, 22)),
    *((words(fc, 0, 1) + b"\x00", VALUE) for fc in (1, 2, 3, 4, 5, 6, 22)),
    *((bytes((fc,)), VALUE) for fc in (1, 2, 3, 4, 5, 6, 8, 15, 16, 22, 23, 43)),
    (words(5, 10, 0x1234), VALUE), (words(5, 10, 0x00FF), VALUE), (words(5, 5000, 0x1234), VALUE),
    (words(5, 5000, 0xFF00), ADDRESS), (words(5, 0, 0xFF00), ADDRESS),
    (words(6, 0, 1), ADDRESS), (words(6, 20, 50001), VALUE), (words(6, 0, 50001), ADDRESS),
    (words(15, 10, 0) + b"\x00", VALUE), (words(15, 10, 8) + b"\x02\x00\x00", VALUE),
    (words(15, 10, 9) + b"\x01\x00", VALUE), (words(15, 10, 8) + b"\x01", VALUE),
    (words(15, 10, 1969) + b"\xf7" + bytes(247), VALUE), (words(15, 0xFFFF, 2) + b"\x01\x00", ADDRESS),
    (words(15, 0xFFFF, 0) + b"\x00", VALUE),
    (words(16, 20, 0) + b"\x00", VALUE), (words(16, 20, 1) + b"\x03" + bytes(3), VALUE),
    (words(16, 20, 2) + b"\x02" + bytes(2), VALUE), (words(16, 20, 124) + b"\xf8" + bytes(247), VALUE),
    (words(16, 0xFFFF, 2) + b"\x04" + bytes(4), ADDRESS), (words(16, 0, 1) + b"\x02" + bytes(2), ADDRESS),
    (words(16, 20, 1) + b"\x02\xff\xff", VALUE),
    (words(22, 0, 0, 0), ADDRESS), (words(22, 20, 0, 0xFFFF), VALUE),
    (words(23, 0, 126, 20, 1) + b"\x02" + bytes(2), VALUE), (words(23, 0, 0, 20, 1) + b"\x02" + bytes(2), VALUE),
    (words(23, 0, 1, 20, 122) + b"\xf4" + bytes(243), VALUE), (words(23, 0, 1, 20, 0) + b"\x00", VALUE),
    (words(23, 0, 1, 20, 1) + b"\x04" + bytes(4), VALUE), (words(23, 0xFFFF, 2, 20, 1) + b"\x02" + bytes(2), ADDRESS),
    (words(23, 0, 1, 0xFFFF, 2) + b"\x04" + bytes(4), ADDRESS), (words(23, 5000, 1, 20, 1) + b"\x02\0\1", ADDRESS),
    (words(8, 3, 0), FUNCTION), (words(8, 19, 0), FUNCTION), (words(8, 0xFFFF, 0), FUNCTION),
    (words(8, 1, 0), FUNCTION), (words(8, 4, 0), FUNCTION),
    (words(8, 10, 1), VALUE), (words(8, 0), VALUE), (words(8, 0, 1) + b"\x00", VALUE), (words(8, 3), FUNCTION),
    (b"\x2b\x0d\x00", FUNCTION), (b"\x2b\x0e\x01", VALUE), (b"\x2b\x0e\x05\x00", VALUE), (b"\x2b\x0e\x00\x00", VALUE),
    (b"\x2b\x0e\x04\x07", ADDRESS), (b"\x2b\x0e\x01\x00\x00", VALUE),
    *((bytes((fc, 0, 0, 0, 1)), FUNCTION) for fc in (0, 7, 9, 11, 17, 20, 24, 0x2C, 0x65, 0x7F, 0x80, 0x83, 0xFF)),
])
def test_exceptions_in_order(pdu: bytes, code: int) -> None:
    """01, then 03, then 02, then the unit's own; nothing that is refused changes a point."""
    bank = FakeBank()
    assert ask(pdu, bank) == bytes((pdu[0] | 0x80, code))
    assert bank.tables == FakeBank().tables


@pytest.mark.parametrize("pdu", [words(1, 0xFFFF, 2), words(3, 0xFFFF, 2), words(4, 0xFFFD, 4),
                                 words(15, 0xFFFF, 2) + b"\x01\0", words(16, 0xFFFF, 2) + bytes((4, 0, 0, 0, 0)),
                                 words(23, 0, 1, 0xFFFF, 2) + bytes((4, 0, 0, 0, 0))])
def test_no_bank_is_asked_beyond_the_last_address(pdu: bytes) -> None:
    """A range that leaves the 65536 addresses is 02 whatever the unit has."""
    bank = FakeBank()
    assert ask(pdu, bank) == bytes((pdu[0] | 0x80, 2))
    assert (bank.reads, bank.writes) == (0, [])


@pytest.mark.parametrize(("register", "code"), [(FAILING, 4), (BUSY, 6)])
def test_the_units_own_exceptions_are_passed_on(register: int, code: int) -> None:
    """04 and 06, for functions 3 and 23."""
    assert ask(words(3, register, 1)) == bytes((0x83, code))
    assert ask(words(23, register, 1, 20, 1) + b"\x02\0\1") == bytes((0x97, code))


def test_exchange_is_all_or_nothing() -> None:
    """6.17: where the range to be read is refused, nothing is asked of the range to be written."""
    bank = FakeBank()
    ask(words(23, 5000, 1, 20, 1) + b"\x02\0\1", bank)
    ask(words(23, FAILING, 1, 20, 1) + b"\x02\0\1", bank)
    assert bank.writes == []


def test_exchange_reads_what_it_wrote() -> None:
    """6.17: "the write operation is performed before the read"."""
    assert ask(words(23, 20, 2, 21, 1) + b"\x02\xff\xff") == bytes.fromhex("97 03")
    assert ask(words(23, 20, 2, 21, 1) + b"\x02\x12\x34") == bytes.fromhex("17 04 008c 1234")


@pytest.mark.parametrize(("pdu", "count"), [(words(1, 0, 300), 300), (words(2, 0, 2000), 2000), (words(3, 0, 125), 125),
                                            (words(4, 25, 125), 125)])
def test_the_largest_reads(pdu: bytes, count: int) -> None:
    """2000 bits and 125 registers fit."""
    answer = ask(pdu)
    size = (count + 7) // 8 if pdu[0] < 3 else 2 * count
    assert (answer[0], answer[1], len(answer)) == (pdu[0], size, 2 + size)


def test_the_largest_writes() -> None:
    """1968 coils, 123 registers, and 121 with a read of 125."""
    assert ask(words(15, 0, 1968) + b"\xf6" + b"\xff" * 246, OpenBank()) == words(15, 0, 1968)
    assert ask(words(16, 20, 123) + b"\xf6" + bytes(246)) == words(16, 20, 123)
    assert len(ask(words(23, 0, 125, 20, 121) + b"\xf2" + bytes(242))) == 252


def test_the_bank_is_told_when_and_what() -> None:
    """A write carries its time of arrival and the whole frame, for the audit."""
    bank = FakeBank()
    frame = mbap(words(6, 20, 7))
    tcp({1: bank}).receive(frame, 1234)
    assert bank.writes == [Write(20, b"\x00\x07", 1234, frame)]


def test_padding_of_coils_is_ignored() -> None:
    """6.11: only as many bits as the quantity says."""
    bank = FakeBank()
    ask(words(15, 10, 3) + b"\x01\xfd", bank)
    assert bank.writes[0].data == (True, False, True)


# -- a unit that errs ------------------------------------------------------------------------------------------------


def test_a_failing_bank_is_04_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Our own mistakes end neither the session nor the log; short data and wrong answers count as mistakes."""
    session = tcp({1: BrokenBank()})
    with caplog.at_level(logging.ERROR):
        out = session.receive(mbap(words(3, 0, 1)) + mbap(words(3, 1, 1)) + mbap(words(6, 1, 1))
                              + mbap(words(16, 1, 1) + b"\x02\0\0"), 0)
    assert out == mbap(b"\x83\x04") * 2 + mbap(b"\x86\x04") + mbap(b"\x90\x04")
    assert len(caplog.records) == 1
    assert session.closing == ""


# -- identification --------------------------------------------------------------------------------------------------


def stream(code: int, objects: dict[int, bytes]) -> dict[int, bytes]:
    """Every object of a category, asked for as a master does."""
    found: dict[int, bytes] = {}
    following, more = 0, True
    while more:
        answer = read_device_identification(objects, bytes((43, 14, code, following)))
        assert isinstance(answer, bytes)
        assert len(answer) <= 253
        more, following, rest = answer[4] == 0xFF, answer[5], answer[7:]
        for _ in range(answer[6]):
            assert rest[0] not in found
            found[rest[0]], rest = rest[2:2 + rest[1]], rest[2 + rest[1]:]
        assert rest == b""
    return found


@given(objects=st.dictionaries(st.integers(0, 255), st.binary(max_size=300), min_size=1),
       code=st.sampled_from((1, 2, 3)))
def test_streams_hold_every_object_once(objects: dict[int, bytes], code: int) -> None:
    """However many answers it takes; none is longer than a PDU, and long values are cut."""
    last = {1: 2, 2: 0x7F, 3: 0xFF}[code]
    if min(objects) > last:
        return
    assert stream(code, objects) == {n: value[:244] for n, value in objects.items() if n <= last}


@pytest.mark.parametrize(("size", "sent"), [(243, 243), (244, 244), (245, 244), (5000, 244)])
def test_the_longest_object_fills_an_answer(size: int, sent: int) -> None:
    """What is longer than a PDU has room for is cut, so that every stream ends."""
    answer = read_device_identification({0: b"x" * size, 1: b"y"}, b"\x2b\x0e\x01\x00")
    assert answer == bytes((43, 14, 1, 0x81, 0xFF, 1, 1, 0, sent)) + b"x" * sent


@pytest.mark.parametrize(("objects", "level"), [((0, 1, 2), 0x81), ((0, 3), 0x82), ((0, 0x7F), 0x82),
                                               ((0, 0x80), 0x83)])
def test_conformity_is_what_there_is(objects: tuple[int, ...], level: int) -> None:
    """The highest category with an object, and single access; a higher code gets what there is."""
    answer = read_device_identification(dict.fromkeys(objects, b"x"), b"\x2b\x0e\x03\x00")
    assert isinstance(answer, bytes)
    assert (answer[3], answer[6]) == (level, len(objects))


def test_a_stream_from_an_unknown_object_begins_anew() -> None:
    """6.21: "as if object 0 were pointed out"; by itself the object is refused."""
    assert ask(b"\x2b\x0e\x01\x63") == ask(b"\x2b\x0e\x01\x00")
    assert ask(b"\x2b\x0e\x04\x63") == b"\xab\x02"


def test_one_object_by_itself() -> None:
    """Code 4: one object, no more to follow."""
    assert ask(b"\x2b\x0e\x04\x01") == bytes.fromhex("2b0e0483000001") + b"\x01\x09" + IDENTIFICATION[1]


def test_a_unit_without_identification_has_no_such_function() -> None:
    """01."""
    assert ask(b"\x2b\x0e\x01\x00", FakeBank(identification={})) == b"\xab\x01"


# -- diagnostics -----------------------------------------------------------------------------------------------------


def test_counters_count_and_clear() -> None:
    """Requests, exceptions and busy answers since the last clearing; totals of the session are not touched by it."""
    session = tcp()

    def read(sub: int) -> int:
        answer = session.receive(mbap(words(8, sub, 0)), 0)
        assert answer[7:10] == bytes((8, 0, sub))
        return int.from_bytes(answer[10:], "big")

    for pdu in (words(3, 0, 1), words(3, 0, 0), words(3, BUSY, 1)):
        session.receive(mbap(pdu), 0)
    session.receive(mbap(words(3, 0, 1), unit=9), 0)
    assert [read(sub) for sub in range(11, 19)] == [5, 0, 2, 7, 0, 0, 1, 0]
    assert read(2) == 0
    assert session.receive(mbap(words(8, 10, 0)), 0) == mbap(words(8, 10, 0))
    assert [read(11), read(13), read(14), read(17)] == [1, 0, 3, 0]
    assert dict(session.counts()) == {"bad_frames": 0, "broadcasts": 0, "busy": 1, "exceptions": 2, "others": 1,
                                      "requests": 17}


def test_counters_wrap() -> None:
    """16 bits."""
    line = Counters()
    diagnostics = Diagnostics(line, line, serial=False)
    line.requests = 0x10002
    assert diagnostics.answer(words(8, 14, 0)) == words(8, 14, 2)


# -- against the model -----------------------------------------------------------------------------------------------

EDGES = st.sampled_from((0, 1, 2, 10, 19, 20, 59, 60, 121, 122, 123, 124, 125, 126, 159, 160, 199, 200, 300, 1968, 1969,
                         2000, 2001, 0x7FFF, 0xFF00, 0xFFFE, 0xFFFF))
NUMBERS = st.one_of(EDGES, st.integers(0, 200), st.integers(0, 0xFFFF))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A PDU, right or nearly right."""
    function = draw(st.sampled_from((1, 2, 3, 4, 5, 6, 8, 15, 16, 22, 23, 43, 0, 7, 0x65, 0x83)))
    if function in (15, 16):
        count = draw(st.integers(1, 60) | EDGES)
        size = min(-(-count // 8) if function == 15 else 2 * count, 247)
        pdu = words(function, draw(NUMBERS), count) + bytes((size,)) + draw(st.binary(min_size=size, max_size=size))
    elif function == 23:
        count = draw(st.integers(1, 30) | st.sampled_from((0, 121, 122)))
        data = draw(st.binary(min_size=2 * count, max_size=2 * count))
        pdu = words(23, draw(NUMBERS), draw(NUMBERS), draw(NUMBERS), count) + bytes((2 * count,)) + data
    elif function == 22:
        pdu = words(22, draw(NUMBERS), draw(NUMBERS), draw(NUMBERS))
    elif function == 43:
        pdu = bytes((43, draw(st.sampled_from((14, 14, 13))), draw(st.integers(0, 5)),
                     draw(st.sampled_from((0, 1, 2, 3, 5, 0x80, 0x81)))))
    elif function == 5:
        pdu = words(5, draw(NUMBERS), draw(st.sampled_from((0, 0xFF00, 0x1234))))
    elif function == 8:
        pdu = words(8, draw(st.integers(0, 22)), draw(st.sampled_from((0, 0, 0xFF00))))
    else:
        pdu = words(function, draw(NUMBERS), draw(NUMBERS))
    how = draw(st.integers(0, 9))
    if how == 0:
        return pdu[:draw(st.integers(1, len(pdu)))]
    return (pdu + draw(st.binary(min_size=1, max_size=3)))[:253] if how == 1 else pdu[:253]


@settings(max_examples=300, deadline=None)
@given(pdus=st.lists(requests(), min_size=1, max_size=12))
def test_every_answer_is_the_models(pdus: list[bytes]) -> None:
    """Exact bytes of the answers and of what is left in the tables, for requests of every function."""
    bank, golden = FakeBank(), Golden()
    session = tcp({1: bank})
    for pdu in pdus:
        assert session.receive(mbap(pdu), 0) == mbap(golden.answer(pdu)), pdu.hex(" ")
    assert bank.tables[C] == golden.coils
    assert bank.tables[H] == golden.holding


@settings(max_examples=60, deadline=None)
@given(pdus=st.lists(requests().filter(lambda pdu: pdu[0] != 8), min_size=1, max_size=6))
def test_rtu_answers_the_same(pdus: list[bytes]) -> None:
    """One set of functions under both framings, where the frame's size agrees with its function."""
    for pdu in pdus:
        session, expected = rtu(), ask(pdu)
        out = session.receive(framed(pdu), 0)
        assert out in (framed(expected), b"")
        assert out or session.closing or session.next_us() == 5_000_000


@pytest.mark.parametrize("pdu", [
    "05 0013 1234", "06 0001", "0F 0013 000A 03 CD0100", "10 0001 0002 03 000A01", "16 0004 00F2",
    "10 FFFF 0002 04 00000000", "17 0003 0000 000E 0001 02 00FF", "17 FFFF 0002 000E 0001 02 00FF"])
def test_a_write_that_is_none_is_told_to_the_bank_for_the_record(pdu: str) -> None:
    """Length, value, quantity, byte count, range: the bank is asked for nothing, and hears of it once."""
    bank = FakeBank()
    frame = bytes.fromhex(pdu)
    answered = answer(Request(frame, b"frame", 5, bank, PEER, Diagnostics(Counters(), Counters(), serial=False)))
    assert isinstance(answered, ExceptionCode)
    assert bank.malformed == [(answered, b"frame")]
    assert bank.writes == []


@pytest.mark.parametrize("pdu", ["03 0000 0000", "01 0000 FFFF", "65", "2B 0D"])
def test_a_read_that_is_none_is_not(pdu: str) -> None:
    """Only writes go on record."""
    bank = FakeBank()
    answer(Request(bytes.fromhex(pdu), b"frame", 5, bank, PEER, Diagnostics(Counters(), Counters(), serial=False)))
    assert bank.malformed == []
