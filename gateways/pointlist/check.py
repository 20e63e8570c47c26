"""What the entries of a list must keep between them, and what a list must keep toward the run that it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby

from cosim.errors import PointListError, Problem
from cosim.points import Point, PointDatabase
from gateways.modbus.bank import Table
from gateways.pointlist.address import SHORT, place_of
from gateways.pointlist.columns import did_you_mean
from gateways.pointlist.model import CommLoss, DataType, Entry, PointList, Quality
from gateways.pointlist.rules import FLOATS, faults, held, writable

#: Wrong names for which close ones are looked for: each takes a look at all names.
MAX_HINTS = 20


def name_of(entry: Entry) -> str:
    """An entry in messages: tag and place in all notations."""
    return f"{entry.tag}, {place_of(entry)}"


def problem(entry: Entry, source: str, column: str, message: str) -> Problem:
    """Something wrong with an entry."""
    return Problem(f"{message} [{name_of(entry)}]", column, source, entry.line, 0, "point-list")


def check_list(entries: Sequence[Entry], source: str, tags: Mapping[str, int]) -> list[Problem]:
    """Interlocks that lead nowhere and places taken twice; `tags`: the line of every tag of the list."""
    strings = {entry.tag for entry in entries if entry.type is DataType.STRING}
    found: list[Problem] = []
    for entry in entries:
        if message := _interlock(entry, tags if len(found) < MAX_HINTS else {}, tags, strings):
            found.append(problem(entry, source, "interlock", message))
    ordered = sorted(entries, key=lambda e: (e.unit, e.table, e.address, e.line))
    for _, members in groupby(ordered, key=lambda e: (e.unit, e.table)):
        found += _overlaps(members, source)
    return found


def checked(entries: Sequence[Entry], source: str) -> PointList:
    """The list of entries that a program made; raises PointListError with everything wrong with them."""
    tags: dict[str, int] = {}
    found: list[Problem] = []
    for i, entry in enumerate(entries):
        if tags.setdefault(entry.tag, i) != i:
            found.append(problem(entry, source, "tag", f"found '{entry.tag}' twice; expected each tag once"))
        found += (problem(entry, source, column, message) for column, message in faults(entry))
    found += check_list(entries, source, tags)
    if found:
        raise PointListError(tuple(found))
    return PointList(tuple(entries), source)


def _interlock(entry: Entry, near: Iterable[str], tags: Mapping[str, int], strings: AbstractSet[str]) -> str:
    """What is wrong with an entry's interlock, "" nothing; `near`: what may have been meant."""
    tag = entry.interlock.removeprefix("!").strip()
    if not tag:
        return ""
    if tag not in tags:
        return f"found '{entry.interlock}'{did_you_mean(tag, near)}; expected a tag of this list (or !tag)"
    return f"found '{tag}', which is a string; expected something that reads 1 or 0" if tag in strings else ""


def _overlaps(entries: Iterable[Entry], source: str) -> Iterator[Problem]:
    """Entries of one table, by address: each against the one that reaches furthest so far."""
    reach: Entry | None = None
    shared: dict[int | None, Entry] = {}
    for entry in entries:
        if reach is None or entry.address >= reach.address + reach.registers:
            reach, shared = entry, {entry.bit: entry}
            continue
        is_bit = entry.bit is not None and reach.bit is not None and entry.address == reach.address
        if is_bit and entry.bit not in shared:
            shared[entry.bit] = entry
            continue
        other = shared.get(entry.bit, reach) if is_bit else reach
        what = f"bit {entry.bit} of {place_of(entry)}" if is_bit else str(place_of(entry))
        yield problem(entry, source, "address", f"{what} of unit {entry.unit} belongs to '{other.tag}' already (line "
                                                f"{other.line}, {span(other)}); expected a free place")
        if entry.address + entry.registers > reach.address + reach.registers:
            reach, shared = entry, {entry.bit: entry}


def span(entry: Entry) -> str:
    """First and last address: ``hr 20 to 21``."""
    last = entry.address + entry.registers - 1
    return f"{SHORT[entry.table]} {entry.address}" + (f" to {last}" if last > entry.address else "")


# -- against a run ----------------------------------------------------------------------------------------------------


def check_against(points: PointList, run: PointDatabase) -> list[Problem]:
    """Everything for which a list cannot serve a run: points that it does not have, writes that it does not take."""
    found: list[Problem] = []
    for entry in points.entries:
        for column, name in _shown(entry):
            if name not in run.index:
                near = run.names if len(found) < MAX_HINTS else ()
                hint = did_you_mean(name, near) or f"; the run has {len(run)} points"
                found.append(problem(entry, points.source, column, f"the run has no point '{name}'{hint}"))
            elif writable(entry) and column != "feedback":
                found += (problem(entry, points.source, column, message) for column, message in
                          _unfit_for_writes(entry, run.points[run.index[name]]))
    return found


def remarks(points: PointList, run: PointDatabase) -> list[Problem]:
    """What works but may not be what is meant: units that differ, types that cannot show what the point does."""
    found = list(_modicon_by_mistake(points))
    for entry in points.entries:
        for column, name in _shown(entry):
            if name in run.index and entry.shows is Quality.VALUE:
                found += (problem(entry, points.source, column, message) for column, message in
                          _unusual(entry, run.points[run.index[name]]))
    return found


def _modicon_by_mistake(points: PointList) -> Iterator[Problem]:
    """Tables whose every address on the wire would be a five-digit number of their own in modicon notation."""
    for table, first in ((Table.DISCRETE_INPUTS, 10_000), (Table.INPUT_REGISTERS, 30_000),
                         (Table.HOLDING_REGISTERS, 40_000)):
        entries = [entry for entry in points.entries if entry.table is table]
        if entries and all(first <= entry.address < first + 10_000 for entry in entries):
            yield problem(entries[0], points.source, "address", (
                f"all of {SHORT[table]} lies behind {first}: if {first + 1} is meant as the first of its table, the "
                "list needs `# base: modicon`"))


def _shown(entry: Entry) -> Iterator[tuple[str, str]]:
    """(column, point) of every point that an entry needs."""
    if entry.type is DataType.STRING:
        return
    if entry.bits:
        yield from (("bits", name) for name in entry.bits)
    else:
        yield "point", entry.point
        if entry.feedback:
            yield "feedback", entry.feedback


def _unfit_for_writes(entry: Entry, point: Point) -> Iterator[tuple[str, str]]:
    if not point.kind.writable:
        kind = point.kind.value.replace("_", " ")
        yield "access", f"found {entry.access.value}, but '{point.name}' of the run is no output ({kind}); expected R"
        return
    bounds = f"the run's point takes {point.low:g} to {point.high:g} {point.unit}".rstrip()
    if entry.low < point.low or entry.low > point.high:
        yield "min", f"found {entry.low:g}; {bounds}"
    if entry.high > point.high or entry.high < point.low:
        yield "max", f"found {entry.high:g}; {bounds}"
    value = entry.comm_loss_value
    if entry.on_comm_loss is CommLoss.VALUE and not point.low <= value <= point.high:
        yield "on_comm_loss", f"found {value:g}, which could not be asked for; {bounds}"


def _unusual(entry: Entry, point: Point) -> Iterator[tuple[str, str]]:
    if entry.units and point.unit not in ("", "1", entry.units):
        yield "units", (f"found '{entry.units}', the run's point is in {point.unit}: scale and offset lead to the "
                        "point's unit")
    if entry.type is DataType.BOOL and "analog" in point.kind.value:
        yield "type", f"a bool shows only whether the analog point '{point.name}' is 0"
    if entry.table is Table.DISCRETE_INPUTS and point.kind.writable:
        yield "table", f"'{point.name}' can be asked for; a discrete input only shows it"
    if writable(entry) and entry.type not in (*FLOATS, DataType.BOOL):
        low, high = held(entry)
        if math.isfinite(point.low) and math.isnan(entry.low) and point.low < low:
            yield "type", f"holds no less than {low:g}; the point takes {point.low:g}"
        if math.isfinite(point.high) and math.isnan(entry.high) and point.high > high:
            yield "type", f"holds no more than {high:g}; the point takes {point.high:g}"
