"""What bytes say of a tag: its value, and whether to trust it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from cosim.points import Quality as PointQuality
from gateways.pointlist.codec import decode
from gateways.pointlist.model import DataType, Entry, Quality, WordOrder
from hil.scada.blocks import Block

SUFFIX = ".quality"


class TagQuality(IntEnum):
    """From best to worst."""

    GOOD = 0
    SUBSTITUTED = 1
    """The device says that somebody put this value in place of the measured one."""
    STALE = 2
    """It was good, but has not been refreshed."""
    BAD = 3
    """There is no such value (the type's not-a-value, an exception, never read)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One entry as read: `value` in engineering units, NaN where there is none."""

    entry: Entry
    value: float
    quality: TagQuality


def read_block(block: Block, data: bytes) -> list[Reading]:
    """Every entry of a block; companions of quality are not applied yet."""
    return [reading(entry, block.part(data, entry)) for entry in block.entries]


def reading(entry: Entry, data: bytes) -> Reading:
    """One entry from its own bytes.  A string has no value and is good."""
    if entry.type is DataType.STRING:
        return Reading(entry, math.nan, TagQuality.GOOD)
    value = decode(data, entry)
    return Reading(entry, value, TagQuality.BAD if math.isnan(value) else TagQuality.GOOD)


def refused(block: Block) -> list[Reading]:
    """What a block says that the device would not give."""
    return [Reading(entry, math.nan, TagQuality.BAD) for entry in block.entries]


def from_flags(value: float) -> TagQuality:
    """The quality that a companion's number (`cosim.points.Quality` as flags) gives its tag."""
    if math.isnan(value) or value < 0:
        return TagQuality.BAD
    flags = PointQuality(int(value) & 0xF)
    if flags & (PointQuality.RESTART | PointQuality.INVALID):
        return TagQuality.BAD
    if flags & PointQuality.STALE:
        return TagQuality.STALE
    return TagQuality.SUBSTITUTED if flags & PointQuality.SUBSTITUTED else TagQuality.GOOD


def companions(entries: Iterable[Entry]) -> dict[str, str]:
    """By tag the tag that shows its quality: ``X.quality`` for ``X``, else the one entry of the same point."""
    known = {entry.tag: entry for entry in entries}
    shown = [entry for entry in known.values() if entry.shows is Quality.QUALITY]
    found: dict[str, str] = {}
    by_point = {entry.point: entry.tag for entry in reversed(shown)}
    for entry in known.values():
        if entry.shows is Quality.QUALITY:
            continue
        beside = known.get(entry.tag + SUFFIX)
        if beside is not None and beside.shows is Quality.QUALITY:
            found[entry.tag] = beside.tag
        elif entry.point in by_point:
            found[entry.tag] = by_point[entry.point]
    return found


def text_of(entry: Entry, data: bytes) -> str:
    """What a string entry says, without its padding."""
    if entry.order in (WordOrder.BADC, WordOrder.DCBA):
        data = b"".join(data[i + 1:i + 2] + data[i:i + 1] for i in range(0, len(data), 2))
    return data.rstrip(b"\x00 ").decode("utf-8", "replace")
