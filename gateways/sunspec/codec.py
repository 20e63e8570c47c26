"""SunSpec's types as registers: big-endian, each with the raw value that says "not implemented".

Source: SunSpec Device Information Model Specification v1.2, table "point types" (int16 0x8000, uint16, enum16 and
bitfield16 0xFFFF, accumulators 0, strings NUL, float32 0x7FC00000, and so on for the longer ones).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isnan, log10
from struct import Struct

#: Largest exponent, either way (SunSpec Device Information Model Specification, type sunssf).
SF_MAX = 10
#: Full scale of a 16-bit point is put below this: it holds signed and unsigned alike, with room to the sentinel.
FULL_16 = 32_000


@dataclass(frozen=True, slots=True)
class Codec:
    """A numeric type: `low`…`high` are the raw values that mean something, `missing` is the one that means none."""

    struct: Struct
    low: int
    high: int
    missing: bytes
    real: bool = False
    wraps: bool = False


def _signed(form: str, bits: int) -> Codec:
    top = 1 << (bits - 1)
    return Codec(Struct(form), 1 - top, top - 1, top.to_bytes(bits // 8, "big"))


def _unsigned(form: str, bits: int) -> Codec:
    top = (1 << bits) - 1
    return Codec(Struct(form), 0, top - 1, top.to_bytes(bits // 8, "big"))


def _zero(form: str, bits: int, *, wraps: bool = False) -> Codec:
    return Codec(Struct(form), 0, (1 << bits) - 1, bytes(bits // 8), wraps=wraps)


CODECS: Mapping[str, Codec] = {
    "int16": _signed(">h", 16), "sunssf": _signed(">h", 16), "int32": _signed(">i", 32), "int64": _signed(">q", 64),
    **dict.fromkeys(("uint16", "count", "enum16", "bitfield16", "raw16"), _unsigned(">H", 16)),
    **dict.fromkeys(("uint32", "enum32", "bitfield32"), _unsigned(">I", 32)),
    "uint64": _unsigned(">Q", 64),
    "acc16": _zero(">H", 16, wraps=True), "acc32": _zero(">I", 32, wraps=True), "acc64": _zero(">Q", 64, wraps=True),
    "pad": _zero(">H", 16), "ipaddr": _zero(">I", 32),
    "float32": Codec(Struct(">f"), 0, 0, bytes.fromhex("7fc00000"), real=True),
    "float64": Codec(Struct(">d"), 0, 0, bytes.fromhex("7ff8000000000000"), real=True),
}


def missing(kind: str, registers: int) -> bytes:
    """The bytes of a point that is not implemented."""
    codec = CODECS.get(kind)
    if codec is not None:
        return codec.missing
    return b"\xff" * 8 if kind == "eui48" else bytes(2 * registers)


def encode(kind: str, value: float, exponent: int) -> bytes:
    """`value` (engineering units) in units of 10**exponent.

    NaN, and what the type cannot hold, become "not implemented": no number is better than a wrong one.  Accumulators
    wrap, as they do in a meter.
    """
    codec = CODECS[kind]
    if not -1e300 < value < 1e300:  # NaN and infinities
        return codec.missing
    if codec.real:
        return codec.struct.pack(value) if codec.struct.size == 8 or abs(value) < 3.4e38 else codec.missing
    raw = round(value * 10 ** -exponent if exponent <= 0 else value / 10**exponent)
    if codec.wraps:
        raw %= codec.high + 1
    return codec.struct.pack(raw) if codec.low <= raw <= codec.high else codec.missing


def decode(kind: str, data: bytes, exponent: int) -> float | None:
    """Engineering value; None: the bytes say "not implemented", or the type is no number."""
    codec = CODECS.get(kind)
    if codec is None or (data == codec.missing and any(codec.missing)):
        return None
    raw = codec.struct.unpack(data)[0]
    if codec.real:
        return None if isnan(raw) else float(raw)
    return float(raw * 10**exponent if exponent >= 0 else raw / 10**-exponent)


def text(value: str, registers: int) -> bytes:
    """A string, cut to its registers and padded with NUL."""
    return value.encode("utf-8")[:2 * registers].ljust(2 * registers, b"\0")


def exponent_for(full: float) -> int:
    """Scale factor with which `full` (engineering units) fills a 16-bit point best: 4 digits at least, no overflow."""
    if not 0 < full < 1e300:
        return 0
    return min(max(ceil(log10(full / FULL_16)), -SF_MAX), SF_MAX)
