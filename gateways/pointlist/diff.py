"""What changed between two versions of a list, tag by tag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from gateways.pointlist.address import Base, place_of
from gateways.pointlist.model import Entry, PointList
from gateways.pointlist.writer import CELLS


class Change(Enum):
    """What became of a tag."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    """Same place and point under another tag."""
    MOVED = "moved"
    """Another unit, table or address."""
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One tag that is not the same in both."""

    change: Change
    tag: str
    detail: str

    def __str__(self) -> str:
        return f"{self.change.value:<8} {self.tag}: {self.detail}"


def diff(old: PointList, new: PointList) -> tuple[Difference, ...]:
    """In the order of the old list, then what was added in that of the new one; () where they mean the same."""
    before = {entry.tag: entry for entry in old.entries}
    after = {entry.tag: entry for entry in new.entries}
    added = {_identity(entry): entry for entry in new.entries if entry.tag not in before}
    found: list[Difference] = []
    renamed: dict[str, str] = {}
    for tag, entry in before.items():
        if tag in after:
            found += _changes(entry, after[tag])
        elif (twin := added.get(_identity(entry))) is not None:
            renamed[twin.tag] = tag
            found.append(Difference(Change.RENAMED, tag, f"is now {twin.tag}, {_where(twin)}"))
        else:
            found.append(Difference(Change.REMOVED, tag, _what(entry)))
    found += [Difference(Change.ADDED, tag, _what(entry)) for tag, entry in after.items()
              if tag not in before and tag not in renamed]
    return tuple(found)


def _identity(entry: Entry) -> tuple[object, ...]:
    """Everything but the tag."""
    return (place_of(entry), entry.point, *(cell(entry, Base.ZERO) for name, cell in CELLS.items()
                                      if name not in ("tag", "point")))


def _changes(old: Entry, new: Entry) -> Iterator[Difference]:
    details = []
    if (old.unit, place_of(old)) != (new.unit, place_of(new)):
        details.append(f"{_where(old)} -> {_where(new)}")
    change = Change.MOVED if details else Change.CHANGED
    for name, cell in CELLS.items():
        one, other = cell(old, Base.ZERO), cell(new, Base.ZERO)
        if one != other and name not in ("unit", "table", "address"):
            details.append(f"{name} {_said(one)} -> {_said(other)}")
    if details:
        place = "" if change is Change.MOVED else f" [{_where(new)}]"
        yield Difference(change, old.tag, "; ".join(details) + place)


def _said(text: str) -> str:
    return text or "(default)"


def _where(entry: Entry) -> str:
    return f"unit {entry.unit}, {place_of(entry)}"


def _what(entry: Entry) -> str:
    size = f" {entry.order.value}" if entry.registers > 1 else ""
    return f"{_where(entry)}, {entry.type.value}{size}, {entry.access.value}"
