"""The whole map of a station: the `SunS` marker, the models one after the other, and the end model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateways.modbus.bank import ExceptionCode
from gateways.sunspec.layout import ModelImage, Place

MARKER = b"SunS"
END = b"\xff\xff\x00\x00"


@dataclass(frozen=True, slots=True)
class Piece:
    """Points that a write covers, in order, with the bytes for each: all of one model."""

    image: ModelImage
    parts: tuple[tuple[Place, bytes], ...]


class RegisterMap:
    """`start` is the address of the marker; what lies outside the map gives exception 02."""

    def __init__(self, images: Sequence[ModelImage], start: int) -> None:
        self.images = tuple(images)
        self.start = start
        self._ends = [bytearray(MARKER), bytearray(END)]
        self._begins: list[int] = []
        address = start
        for registers in (len(MARKER) // 2, *(image.registers for image in images), len(END) // 2):
            self._begins.append(address)
            address += registers
        self.end = address

    def address_of(self, model: int, path: str) -> int:
        """Address of a point."""
        index = next(i for i, image in enumerate(self.images) if image.model == model)
        return self._begins[index + 1] + self.images[index].places[path].offset

    def read(self, address: int, count: int, refresh: Callable[[ModelImage], None]) -> bytes | ExceptionCode:
        """Registers as they are; `refresh` is called for every model that is read."""
        if address < self.start or address + count > self.end:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        out, at = [], address
        while at < address + count:
            index = bisect_right(self._begins, at) - 1
            begin, data = self._begins[index], self._data(index, refresh)
            stop = min(address + count, begin + len(data) // 2)
            out.append(bytes(data[2 * (at - begin):2 * (stop - begin)]))
            at = stop
        return b"".join(out)

    def piece(self, address: int, data: bytes) -> Piece | None:
        """The whole points of one model that a write covers; None where it covers a part of one, or no such thing."""
        index = bisect_right(self._begins, address) - 1
        if not 1 <= index <= len(self.images):
            return None
        image, offset, rest = self.images[index - 1], address - self._begins[index], data
        parts = []
        while rest:
            place = image.at.get(offset)
            if place is None or len(rest) < 2 * place.point.size:
                return None
            size = place.point.size
            parts.append((place, rest[:2 * size]))
            offset, rest = offset + size, rest[2 * size:]
        return Piece(image, tuple(parts))

    def _data(self, index: int, refresh: Callable[[ModelImage], None]) -> bytearray:
        if not 1 <= index <= len(self.images):
            return self._ends[index > 0]
        image = self.images[index - 1]
        refresh(image)
        return image.data
