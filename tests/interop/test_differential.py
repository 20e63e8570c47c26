"""The same random requests to us and to a slave made of libmodbus: where the two differ, and who is right.

`tests.interop.standard` is the judge.  Ours has to answer as it says, always.  libmodbus may differ, for one of the
reasons below and no other: what is not listed here would be news about one of the two.
"""

from __future__ import annotations

import random
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from tests.hil.served import ask
from tests.interop.peers import PROGRAM_S, compiled
from tests.interop.plant import RTU, Plant, open_plant
from tests.interop.standard import ADDRESS, FUNCTION, VALUE, Map, Value, Verdict, judge

pytestmark = pytest.mark.slow
N = 500
#: The point list of tests/interop/points.csv: store.set, sun.cap (tenths), cap.steps, sun.q_set (CDAB), store.p, ties.
MAP = Map(coils=2, inputs=3, input_registers=15, holding=(
    Value(0, ">f", -400, 400, registers=2), Value(2, ">h", 0, 4000), Value(3, ">H", 0, 4),
    Value(4, ">f", -200, 200, swapped=True, registers=2), Value(6, registers=2), Value(8, ">H", 0, 3)))
#: Beyond the rate at which one tag may be written: asked again, as a master would.
BUSY = b"\x06"


def reason(pdu: bytes, told: Verdict, theirs: Verdict | None) -> str:
    """Why libmodbus (seen: 3.1.6) may differ from the standard and this list; "": it may not."""
    function = pdu[0]
    if theirs is None:
        return "function 7 is known there and never answered" if function == 7 else ""
    if function == 17 and told == ("exception", FUNCTION):
        return "function 17 is served there; here not, as it is for serial lines only"
    if function in (6, 16, 22, 23) and theirs[0] == "answer" and told in (("exception", ADDRESS), ("exception", VALUE)):
        return "its registers have no types: none is read-only, half of a value, or out of range"
    if function == 5 and told == ("exception", VALUE) and theirs == ("exception", ADDRESS):
        return "a coil's value is looked at after its address; the standard's diagram has the value first"
    return ""


def requests(seed: int) -> list[bytes]:
    """Valid and invalid ones, each as long as its function has it: libmodbus loses its place after any other, and so
    functions 8 and 43, which it does not know, are left to the other peers."""
    chance = random.Random(seed)
    makers = [_read] * 5 + [_single] * 2 + [_several] * 3 + [_masked, _exchanged, _unknown]
    return [chance.choice(makers)(chance) for _ in range(N)]


def _address(chance: random.Random) -> int:
    return chance.choice([0, 0, 1, 2, 3, 4, 5, 6, 8, 8, 9, 14, 15, 100, 0xFFFF])


def _word(chance: random.Random) -> int:
    return chance.choice([0, 1, 2, 3, 4, 5, 100, 4000, 4001, 0x7FC0, 0x8000, 0xFF00, 0xFFFF, chance.randrange(0x10000)])


def _data(chance: random.Random, count: int) -> bytes:
    """Registers: floats in range as often as anything."""
    if count == 2 and chance.random() < 0.6:
        return struct.pack(">f", chance.choice([0.0, 1.5, -399.0, 400.0, 400.5, float("nan"), float("inf"), -1e30]))
    return b"".join(_word(chance).to_bytes(2, "big") for _ in range(count))


def _read(chance: random.Random) -> bytes:
    count = chance.choice([0, 1, 1, 2, 2, 3, 3, 9, 10, 15, 16, 125, 126, 2000, 2001, 0xFFFF])
    return struct.pack(">BHH", chance.choice([1, 2, 3, 4]), _address(chance), count)


def _single(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return struct.pack(">BHH", 5, _address(chance), chance.choice([0, 0xFF00, 0xFF00, 1, 0x1234, 0xFFFF]))
    return struct.pack(">BHH", 6, _address(chance), _word(chance))


def _several(chance: random.Random) -> bytes:
    count = chance.choice([1, 1, 2, 2, 2, 3, 9, 123])
    if chance.random() < 0.4:
        data = bytes((count + 7) // 8)
        function = 15
    else:
        data, function = _data(chance, count), 16
    told = chance.choice([0, count + 1, 1969]) if chance.random() < 0.15 else count
    return struct.pack(">BHHB", function, _address(chance), told, len(data)) + data


def _masked(chance: random.Random) -> bytes:
    """Of the register of bits, or of one that is not there."""
    return struct.pack(">BHHH", 22, chance.choice([8, 8, 8, 9, 100, 0xFFFF]),
                       chance.choice([0xFFFF, 0xFFFC, 0xFFFE, 0]), chance.choice([0, 1, 2, 3, 4, 0x8000]))


def _exchanged(chance: random.Random) -> bytes:
    count = chance.choice([1, 2, 2, 3])
    return struct.pack(">BHHHHB", 23, _address(chance), chance.choice([0, 1, 2, 9, 10, 125, 126]), _address(chance),
                       count, 2 * count) + _data(chance, count)


def _unknown(chance: random.Random) -> bytes:
    return bytes([chance.choice([7, 9, 11, 12, 17, 65, 100, 127])])


class Slave:
    """libmodbus behind one connection; a new one after whatever it does not answer."""

    def __init__(self, port: int) -> None:
        self._port, self._number = port, 0
        self._connection = self._connect()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=0.2)

    def ask(self, pdu: bytes) -> bytes | None:
        """The answer's PDU; None: there was none."""
        self._number += 1
        try:
            self._connection.sendall(struct.pack(">HHHB", self._number, 0, len(pdu) + 1, 1) + pdu)
            answer = self._connection.recv(300)
        except TimeoutError:
            answer = b""
        if len(answer) < 8:
            self.close()
            self._connection = self._connect()
            return None
        assert struct.unpack(">HHH", answer[:6]) == (self._number, 0, len(answer) - 6)
        return answer[7:]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture
def slave(tmp_path: Path) -> Iterator[Slave]:
    """Compiled, started, ended by the end of its input."""
    program = compiled("libmodbus_server.c", tmp_path)
    sizes = [str(n) for n in (MAP.coils, MAP.inputs, MAP.holdings, MAP.input_registers)]
    with subprocess.Popen([str(program), *sizes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            opened = Slave(int(process.stdout.readline()))
            yield opened
            opened.close()
            process.stdin.close()
            process.wait(timeout=PROGRAM_S)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def stands_still(tmp_path: Path) -> Iterator[Plant]:
    """A plant whose time stands still, so that reads say the same from the first request to the last."""
    with open_plant(tmp_path) as plant:
        with plant.paused():
            yield plant
        plant.finish()


def verdict(request: bytes, answer: bytes | None) -> Verdict | None:
    """An answer as the judge words it."""
    if answer is None:
        return None
    assert answer[0] & 0x7F == request[0], answer.hex()
    return ("exception", answer[1]) if answer[0] & 0x80 else ("answer", len(answer))


def patiently(plant: Plant, pdu: bytes) -> bytes:
    """Our answer; what the rate limit refuses is asked again."""
    for _ in range(40):
        answer = ask(plant.ports["lan"], pdu, unit=RTU)[0]
        if answer[1:] != BUSY or not answer[0] & 0x80:
            break
        sleep(0.05)
    return answer


def test_ours_is_as_the_standard_has_it_and_libmodbus_differs_for_known_reasons(slave: Slave,
                                                                                stands_still: Plant) -> None:
    """500 requests; every answer of ours is the judge's, every difference has one of the reasons."""
    reasons: Counter[str] = Counter()
    before = [stands_still.registers(3, 0, 9), stands_still.registers(4, 0, 15)]
    for pdu in requests(4):
        ours = patiently(stands_still, pdu)
        told, theirs = judge(pdu, MAP), verdict(pdu, slave.ask(pdu))
        assert verdict(pdu, ours) == told, f"{pdu.hex()} got {ours.hex()}"
        if theirs != told:
            why = reason(pdu, told, theirs)
            assert why, f"{pdu.hex()}: the standard has {told}, libmodbus {theirs}"
            reasons[why] += 1
    assert before == [stands_still.registers(3, 0, 9), stands_still.registers(4, 0, 15)]
    assert sum(reasons.values()) < N / 3
    assert len(reasons) == 4, reasons
