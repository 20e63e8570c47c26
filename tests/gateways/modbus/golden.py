"""What a server must answer, worked out another way than the product does: text and lists, no structs, no speed.

`Golden` keeps its own copy of `fakes.FakeBank`'s points and follows the application protocol v1.1b3 clause by clause.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.gateways.modbus.fakes import BUSY, FAILING, IDENTIFICATION, MAX_VALUE, WRITABLE_COILS, WRITABLE_REGISTERS

KNOWN = (1, 2, 3, 4, 5, 6, 8, 15, 16, 22, 23, 43)


class RefusalError(Exception):
    """An exception answer."""


def need(condition: bool, code: int) -> None:
    """Go on, or refuse with `code`."""
    if not condition:
        raise RefusalError(code)


def word(pdu: bytes, at: int) -> int:
    """16 bits at byte `at`."""
    return pdu[at] * 256 + pdu[at + 1]


def packed(bits: list[int]) -> bytes:
    """Bits as on the wire, by way of text."""
    text = "".join(map(str, bits)) + "0" * (-len(bits) % 8)
    return bytes(int(text[at:at + 8][::-1], 2) for at in range(0, len(text), 8))


@dataclass
class Golden:
    """One unit behind one TCP session."""

    coils: list[int] = field(default_factory=lambda: [n % 2 for n in range(300)])
    inputs: list[int] = field(default_factory=lambda: [n % 2 for n in range(2100)])
    holding: list[int] = field(default_factory=lambda: [7 * n for n in range(200)])
    input_registers: list[int] = field(default_factory=lambda: [7 * n for n in range(150)])
    requests: int = 0
    others: int = 0
    exceptions: int = 0
    busy: int = 0
    base: tuple[int, int, int, int] = (0, 0, 0, 0)

    def answer(self, pdu: bytes) -> bytes:
        """The PDU that answers `pdu`."""
        self.requests += 1
        try:
            need(pdu[0] in KNOWN, 1)
            return bytes([pdu[0]]) + self.body(pdu)
        except RefusalError as refusal:
            self.exceptions += 1
            self.busy += refusal.args[0] == 6
            return bytes([pdu[0] | 128, refusal.args[0]])

    def body(self, pdu: bytes) -> bytes:
        """What follows the function in the answer."""
        function = pdu[0]
        if function in (1, 2, 3, 4):
            return self.read(pdu)
        if function in (5, 6, 22):
            return self.write_one(pdu)
        if function in (15, 16):
            return self.write_many(pdu)
        if function == 23:
            return self.exchange(pdu)
        return self.diagnose(pdu) if function == 8 else identify(pdu)

    def read(self, pdu: bytes) -> bytes:
        """6.1 to 6.4."""
        need(len(pdu) == 5, 3)
        first, count = word(pdu, 1), word(pdu, 3)
        need(1 <= count <= (2000 if pdu[0] < 3 else 125), 3)
        if pdu[0] < 3:
            bits = (self.coils if pdu[0] == 1 else self.inputs)[first:first + count]
            need(len(bits) == count, 2)
            data = packed(bits)
        else:
            data = self.registers(self.holding if pdu[0] == 3 else self.input_registers, first, count)
        return bytes([len(data)]) + data

    def registers(self, table: list[int], first: int, count: int) -> bytes:
        """Registers as bytes."""
        need(first + count <= len(table), 2)
        if table is self.holding:
            need(not first <= FAILING < first + count, 4)
            need(not first <= BUSY < first + count, 6)
        return bytes.fromhex("".join(f"{value:04x}" for value in table[first:first + count]))

    def store(self, first: int, values: list[int]) -> None:
        """Holding registers, all or none."""
        need(all(at in WRITABLE_REGISTERS for at in range(first, first + len(values))), 2)
        need(all(value <= MAX_VALUE for value in values), 3)
        for at, value in enumerate(values):
            self.holding[first + at] = value

    def write_one(self, pdu: bytes) -> bytes:
        """6.5, 6.6, 6.16: the answer is the request."""
        need(len(pdu) == (7 if pdu[0] == 22 else 5), 3)
        at = word(pdu, 1)
        if pdu[0] == 5:
            need(pdu[3:] in (b"\x00\x00", b"\xff\x00"), 3)
            need(at in WRITABLE_COILS, 2)
            self.coils[at] = int(pdu[3] == 255)
        elif pdu[0] == 6:
            self.store(at, [word(pdu, 3)])
        else:
            need(at in WRITABLE_REGISTERS, 2)
            keep = f"{word(pdu, 3):016b}"
            pairs = zip(keep, f"{self.holding[at]:016b}", f"{word(pdu, 5):016b}", strict=True)
            self.store(at, [int("".join(old if kept == "1" else new for kept, old, new in pairs), 2)])
        return pdu[1:]

    def write_many(self, pdu: bytes) -> bytes:
        """6.11, 6.12: the answer is address and quantity."""
        need(len(pdu) >= 6, 3)
        first, count, size = word(pdu, 1), word(pdu, 3), pdu[5]
        need(1 <= count <= (1968 if pdu[0] == 15 else 123), 3)
        need(size == (-(-count // 8) if pdu[0] == 15 else 2 * count), 3)
        need(len(pdu) == 6 + size, 3)
        if pdu[0] == 15:
            bits = [int(char) for byte in pdu[6:] for char in f"{byte:08b}"[::-1]][:count]
            need(all(at in WRITABLE_COILS for at in range(first, first + count)), 2)
            for at, bit in enumerate(bits):
                self.coils[first + at] = bit
        else:
            self.store(first, [word(pdu, 6 + 2 * at) for at in range(count)])
        return pdu[1:5]

    def exchange(self, pdu: bytes) -> bytes:
        """6.17."""
        need(len(pdu) >= 10, 3)
        need(1 <= word(pdu, 3) <= 125, 3)
        need(1 <= word(pdu, 7) <= 121, 3)
        need(pdu[9] == 2 * word(pdu, 7), 3)
        need(len(pdu) == 10 + pdu[9], 3)
        need(word(pdu, 5) + word(pdu, 7) <= 65536, 2)
        self.registers(self.holding, word(pdu, 1), word(pdu, 3))
        self.store(word(pdu, 5), [word(pdu, 10 + 2 * at) for at in range(word(pdu, 7))])
        data = self.registers(self.holding, word(pdu, 1), word(pdu, 3))
        return bytes([len(data)]) + data

    def diagnose(self, pdu: bytes) -> bytes:
        """6.8, as much of it as makes sense over TCP."""
        need(len(pdu) >= 3, 3)
        sub = word(pdu, 1)
        need(sub in (0, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20), 1)
        if sub == 0:
            need(len(pdu) >= 5 and (len(pdu) - 3) % 2 == 0, 3)
            return pdu[1:]
        need(len(pdu) == 5 and pdu[3:] == b"\x00\x00", 3)
        now = (self.requests + self.others, self.exceptions, self.requests, self.busy)
        if sub == 10:
            self.base = now
        value = {11: now[0] - self.base[0], 13: now[1] - self.base[1],
                 14: now[2] - self.base[2], 17: now[3] - self.base[3]}.get(sub, 0)
        return pdu[1:3] + (value % 65536).to_bytes(2, "big")


def identify(pdu: bytes) -> bytes:
    """6.21 for `fakes.IDENTIFICATION`, whose objects 5 and 0x80 do not fit into one answer together."""
    need(len(pdu) >= 2, 3)
    need(pdu[1] == 14, 1)
    need(len(pdu) == 4, 3)
    code, wanted = pdu[2], pdu[3]
    need(code != 4 or wanted in IDENTIFICATION, 2)
    need(code in (1, 2, 3, 4), 3)
    groups = {1: (0, 1, 2), 2: (0, 1, 2, 5), 3: (0, 1, 2, 5, 0x80)}
    ids = [wanted] if code == 4 else [n for n in groups[code] if wanted not in groups[code] or n >= wanted]
    more = bytes([0, 0])
    if 5 in ids and 0x80 in ids:
        ids.remove(0x80)
        more = bytes([0xFF, 0x80])
    objects = b"".join(bytes([n, len(IDENTIFICATION[n])]) + IDENTIFICATION[n] for n in ids)
    return bytes([14, code, 0x83]) + more + bytes([len(ids)]) + objects


def conversation(stream: bytes, unit: Golden) -> tuple[bytes, bool]:
    """The answers of unit 1 to a stream from a master that is sent whole, and whether the server closes."""
    answers = b""
    while len(stream) >= 4:
        if word(stream, 2):
            return answers, True
        if len(stream) < 6:
            break
        size = word(stream, 4)
        if not 2 <= size <= 254:
            return answers, True
        if len(stream) < 6 + size:
            break
        frame, stream = stream[:6 + size], stream[6 + size:]
        if frame[6] != 1:
            unit.others += 1
            continue
        pdu = unit.answer(frame[7:])
        answers += frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + b"\x01" + pdu
    return answers, False
