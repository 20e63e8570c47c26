"""Twenty thousand frames with something wrong: the model's answers, byte for byte; no write beyond what was asked."""

from __future__ import annotations

import random

from gateways.modbus.bank import Table
from tests.gateways.modbus.fakes import (
    WRITABLE_COILS,
    WRITABLE_REGISTERS,
    FakeBank,
    Write,
    framed,
    mbap,
    rtu,
    tcp,
    words,
)
from tests.gateways.modbus.fuzzing import mutated
from tests.gateways.modbus.golden import Golden, conversation, word

FRAMES = 20_000
HEALTH = mbap(words(4, 0, 1))
HEALTHY = mbap(b"\x04\x02\0\0")


def untouched(bank: FakeBank) -> bool:
    """Whether all that no master may write is as it was."""
    fresh = FakeBank().tables
    return (bank.tables[Table.DISCRETE_INPUTS] == fresh[Table.DISCRETE_INPUTS]
            and bank.tables[Table.INPUT_REGISTERS] == fresh[Table.INPUT_REGISTERS]
            and all(bank.tables[table][at] == cell for table, allowed in
                    ((Table.COILS, WRITABLE_COILS), (Table.HOLDING_REGISTERS, WRITABLE_REGISTERS))
                    for at, cell in enumerate(fresh[table]) if at not in allowed))


def is_what_the_frame_says(write: Write, pdu: bytes) -> bool:
    """Whether the bank was asked for just what stands in the frame."""
    function = pdu[0]
    bits = "".join(f"{byte:08b}"[::-1] for byte in pdu[6:])
    if function not in (5, 6, 15, 16, 22, 23) or write.address != word(pdu, 5 if function == 23 else 1):
        return False
    if function == 15:
        return write.data == tuple(bit == "1" for bit in bits[:word(pdu, 3)])
    if function == 22:
        return write.data == (word(pdu, 3), word(pdu, 5))
    return write.data == ((pdu[3] == 0xFF,) if function == 5 else pdu[{6: 3, 16: 6, 23: 10}[function]:])


def test_mutated_frames_get_the_models_answers() -> None:
    """Each on a session of its own or behind others, in pieces cut anywhere; a health poll after each thousand."""
    rng = random.Random(20260101)
    bank, golden = FakeBank(), Golden()
    session = tcp({1: bank})
    for number in range(FRAMES):
        stream = mutated(rng)
        at = rng.randrange(len(stream) + 1)
        out = session.receive(stream[:at], number) + session.receive(stream[at:], number)
        expected, closes = conversation(stream, golden)
        assert (out, bool(session.closing)) == (expected, closes), stream.hex(" ")
        for write in bank.writes:
            assert write.frame in stream
            assert is_what_the_frame_says(write, write.frame[7:]), stream.hex(" ")
        bank.writes.clear()
        if session.closing or session._buffer:
            # What is left of a frame would swallow the next: this peer hangs up.
            assert len(session._buffer) < 260
            session = tcp({1: bank})
            golden = Golden(golden.coils, golden.inputs, golden.holding, golden.input_registers)
        if number % 1000 == 999:
            assert tcp({1: bank}).receive(HEALTH, number) == HEALTHY
            assert untouched(bank)
    assert bank.tables[Table.HOLDING_REGISTERS] == golden.holding
    assert bank.tables[Table.COILS] == golden.coils


def test_the_generator_reaches_what_it_is_for() -> None:
    """Sound answers, each exception, closings and silence all occur: the test above compares more than refusals."""
    rng, seen = random.Random(7), dict.fromkeys(("closed", "silent", "answered", "01", "02", "03", "04", "06"), 0)
    written = 0
    fresh = FakeBank().tables[Table.HOLDING_REGISTERS]
    for _ in range(3000):
        bank = FakeBank()
        session = tcp({1: bank})
        out = session.receive(mutated(rng), 0)
        key = "closed" if session.closing else "silent" if not out else f"{out[8]:02x}" if out[7] & 0x80 else "answered"
        seen[key] += 1
        written += bank.tables[Table.HOLDING_REGISTERS] != fresh
    assert min(seen.values()) > 3, seen
    assert seen["answered"] > 450
    assert written > 100


def test_the_generator_is_reproducible() -> None:
    """Chance is an argument."""
    assert [mutated(random.Random(3)) for _ in range(5)] == [mutated(random.Random(3))] * 5


def test_mutated_frames_on_a_line() -> None:
    """RTU, with sound and with broken CRCs: nothing raises, nothing is answered without a right CRC, nothing leaks."""
    rng, bank = random.Random(11), FakeBank()
    sessions = (rtu({1: bank}), rtu({1: bank}))
    for number in range(4000):
        pdu = mutated(rng)[7:253] or b"\x03"
        sound = rng.random() < 0.7
        frame = framed(pdu) if sound else framed(pdu)[:-1] + bytes((rng.randrange(256),))
        session = sessions[number % 2]
        out = session.receive(frame, number)
        assert not out or out == framed(out[1:-2]) or out.startswith(b"\x01")
        for write in bank.writes:
            assert framed(write.frame[1:-2], write.frame[0]) == write.frame
            assert is_what_the_frame_says(write, write.frame[1:-2])
        bank.writes.clear()
        assert len(session._buffer) <= 256
        sessions = (rtu({1: bank}), rtu({1: bank})) if session.closing or session._buffer else sessions
    assert untouched(bank)
