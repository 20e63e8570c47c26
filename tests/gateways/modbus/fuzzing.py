"""Frames as a hostile or broken master sends them: near enough to right ones to get past the first checks."""

from __future__ import annotations

import random
import struct

_EDGES = (0, 1, 2, 9, 10, 19, 20, 59, 60, 120, 123, 124, 125, 126, 159, 160, 165, 180, 200, 255, 256,
          1968, 1969, 2000, 2001, 0x7FFF, 0x8000, 0xFF00, 0xFFFE, 0xFFFF)
_FUNCTIONS = (1, 2, 3, 4, 5, 6, 8, 15, 16, 22, 23, 43)
_STRANGERS = (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes.fromhex("16030100c8010000c40303"),
              b"\x05\x64\x05\xc0\x01\x00", b"\x68\x04\x07\x00\x00\x00", b"SSH-2.0-x\r\n", b"\x00" * 40, b"\xff" * 40)


def _number(rng: random.Random) -> int:
    """16 bits, often on an edge of something, often small."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(_EDGES)
    return rng.randrange(200) if kind < 0.9 else rng.randrange(0x10000)


def request(rng: random.Random) -> bytes:
    """A PDU whose parts agree with each other; whether its address, quantity and values will do is another matter."""
    function = rng.choice(_FUNCTIONS)
    address, count = _number(rng), _number(rng) if rng.random() < 0.4 else rng.randrange(1, 9)
    if function == 5:
        return struct.pack(">BHH", 5, address, rng.choice((0, 0xFF00, 0x1234)))
    if function == 8:
        return struct.pack(">BHH", 8, rng.choice((*range(22), 0xFFFF)), rng.choice((0, 0, 0, 0xA537)))
    if function == 15:
        count = min(count, 1968) or 1
        return struct.pack(">BHHB", 15, address, count, (count + 7) // 8) + rng.randbytes((count + 7) // 8)
    if function == 16:
        count = min(count, 123) or 1
        return struct.pack(">BHHB", 16, address, count, 2 * count) + rng.randbytes(2 * count)
    if function == 22:
        return struct.pack(">BHHH", 22, address, rng.randrange(0x10000), rng.randrange(0x10000))
    if function == 23:
        writes = min(_number(rng), 121) or 1
        return struct.pack(">BHHHHB", 23, address, count, _number(rng), writes, 2 * writes) + rng.randbytes(2 * writes)
    if function == 43:
        return bytes((43, rng.choice((14, 14, 14, 13)), rng.randrange(6), rng.choice((0, 1, 2, 5, 7, 0x80, 0xFF))))
    return struct.pack(">BHH", function, address, count)


def _mutated_pdu(rng: random.Random, pdu: bytes) -> bytes:
    """One thing wrong inside."""
    kind = rng.randrange(6)
    if kind == 0:
        at = rng.randrange(len(pdu))
        return pdu[:at] + bytes((pdu[at] ^ 1 << rng.randrange(8),)) + pdu[at + 1:]
    if kind == 1:
        return pdu[:rng.randrange(1, len(pdu) + 1)]
    if kind == 2:
        return (pdu + rng.randbytes(rng.randrange(1, 20)))[:253]
    if kind == 3:
        return bytes((rng.randrange(256),)) + pdu[1:]
    if kind == 4 and len(pdu) > 5:
        return pdu[:5] + bytes((rng.randrange(256),)) + pdu[6:]
    at = rng.randrange(len(pdu))
    return (pdu[:at] + rng.choice(_EDGES).to_bytes(2, "big") + pdu[at + 2:])[:253]


def _mutated_frame(rng: random.Random, frame: bytes) -> bytes:
    """One thing wrong with the head, or with how the bytes arrive."""
    kind = rng.randrange(6)
    if kind == 0:
        return frame[:4] + rng.choice((0, 1, 2, 5, 7, 254, 255, 256, 0xFFFF)).to_bytes(2, "big") + frame[6:]
    if kind == 1:
        return frame[:2] + rng.randrange(0x10000).to_bytes(2, "big") + frame[4:]
    if kind == 2:
        return frame[:rng.randrange(len(frame))]
    if kind == 3:
        return frame[:6] + bytes((rng.randrange(256),)) + frame[7:]
    if kind == 4:
        at = rng.randrange(len(frame))
        return frame[:at] + rng.randbytes(rng.randrange(1, 4)) + frame[at:]
    return frame * rng.randrange(2, 5)


def mutated(rng: random.Random) -> bytes:
    """Bytes for a Modbus TCP server with unit 1: two in five sound, most with one thing wrong, some from elsewhere."""
    kind = rng.random()
    if kind < 0.02:
        return rng.choice(_STRANGERS)
    if kind < 0.04:
        return rng.randbytes(rng.randrange(1, 300))
    pdu = request(rng)
    if kind < 0.45:
        pdu = _mutated_pdu(rng, pdu)
    frame = struct.pack(">HHHB", rng.randrange(0x10000), 0, len(pdu) + 1, 1) + pdu
    return _mutated_frame(rng, frame) if kind > 0.85 else frame
