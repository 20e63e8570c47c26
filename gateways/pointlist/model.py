"""A point list as data: entries with their Modbus place, type, scaling, access and behaviour.

Addresses are kept as on the wire (0…65535) whatever notation the file used.  Engineering value = raw × scale + offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateways.modbus.bank import Table
from gateways.peer import Role


class DataType(Enum):
    """How a value lies in registers; the value is the word used in files."""

    BOOL = "bool"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"
    BITFIELD = "bitfield"


class WordOrder(Enum):
    """Order of the bytes of a 32-bit value ABCD (A the most significant); longer types follow the same pattern."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


class Overflow(Enum):
    """What is done with a value that its type (or min, max) cannot hold."""

    CLAMP = "clamp"
    EXCEPTION = "exception"
    FLAG = "flag"
    """Reads show the sentinel; writes are refused as with `exception`."""


class Access(Enum):
    """What masters may do with an entry."""

    READ = "R"
    READ_WRITE = "RW"
    WRITE = "W"


class BadQuality(Enum):
    """What a read shows when the value is NaN or not to be trusted: never zero."""

    SENTINEL = "sentinel"
    """The type's not-a-value: 0x8000, 0xFFFF, NaN … (SunSpec's choice); a discrete has none and gives exception 04."""
    EXCEPTION = "exception"
    """Exception 04 for any read that touches it."""
    LAST = "last"
    """The last good value; meant to be read beside a quality register."""


class CommLoss(Enum):
    """What becomes of what masters asked through an entry once none of them has been heard for the station's time."""

    HOLD = "hold"
    RELEASE = "release"
    VALUE = "value"
    """`comm_loss_value` is asked for instead."""


class Quality(Enum):
    """What an entry shows of its point."""

    VALUE = "value"
    QUALITY = "quality"
    """The point's quality flags (`cosim.points.Quality`) as a number, instead of its value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a point list.

    `tag` is unique in the list and the name masters' people use; `point` is the run's point (default: the tag).  Of a
    `bool` in a register table `bit` names the bit (0 least significant).  A `string` is constant `text` of `registers`
    registers.  A `bitfield` shows the points `bits` (bit 0 first), or a number as it is.  NaN in `low` and `high`:
    unbounded beyond what the run's point bounds itself.
    """

    tag: str
    point: str
    unit: int
    table: Table
    address: int
    type: DataType
    registers: int
    order: WordOrder = WordOrder.ABCD
    bit: int | None = None
    bits: tuple[str, ...] = ()
    text: str = ""
    scale: float = 1.0
    offset: float = 0.0
    units: str = ""
    low: float = float("nan")
    high: float = float("nan")
    overflow: Overflow = Overflow.EXCEPTION
    access: Access = Access.READ
    bad_quality: BadQuality = BadQuality.SENTINEL
    shows: Quality = Quality.VALUE
    interlock: str = ""
    """Tag in this list that must read 1 for a write to be taken; ``!tag``: must read 0."""
    role_read: Role = Role.OBSERVER
    role_write: Role = Role.OPERATOR
    on_comm_loss: CommLoss = CommLoss.HOLD
    comm_loss_value: float = float("nan")
    deadband: float = 0.0
    event_class: int | None = None
    variation: str = ""
    description: str = ""
    feedback: str = ""
    """Point shown by reads in the place of `point`: an output has no value while nobody asks for anything."""
    line: int = 0
    """Line in the file, for messages; 0: none."""

    @property
    def shown(self) -> str:
        """Name of the point that reads show."""
        return self.feedback or self.point


@dataclass(frozen=True, slots=True)
class PointList:
    """A checked list: no overlaps, every value whole within its table; `source` is the file for messages."""

    entries: tuple[Entry, ...]
    source: str = ""
