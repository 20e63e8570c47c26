"""A default list for a run: every device, and the main points of the grid, at places that can be foretold.

Layout of one unit, the same in each of the tables: the grid's points first, one area for each quantity (bus voltages,
loadings, …); then one block for each device, all of the same size, so that the place of a point in its block is the
same for every device of a kind.  Every area and block keeps room to grow.  Measurements are input registers, float32;
counters input registers, uint32; binary inputs discrete inputs; setpoints holding registers, float32, and switches
coils: both read-only unless a pattern allows writing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cosim.errors import GridloopError, PointListError, Problem
from cosim.points import Point, PointDatabase, PointKind, match
from gateways.modbus.bank import Table
from gateways.pointlist.address import ADDRESSES, SHORT
from gateways.pointlist.check import checked
from gateways.pointlist.codec import REGISTERS
from gateways.pointlist.entries import MAX_UNIT
from gateways.pointlist.model import Access, DataType, Entry, Overflow, PointList

#: First words of names that belong to the network or to the run, and to no device.
GRID = ("grid", "shield")
NETWORK = ("bus", "line", "trafo", "gen", "switch", "shunt")
_OTHERS = ("agent", "channel")
#: Quantities of the network that a control room shows; angles and the flows on every line are left out.
_MAIN = ("v_pu", "loading", "closed", "tap", "step")

_TABLES = {PointKind.ANALOG_INPUT: Table.INPUT_REGISTERS, PointKind.COUNTER: Table.INPUT_REGISTERS,
           PointKind.BINARY_INPUT: Table.DISCRETE_INPUTS, PointKind.ANALOG_OUTPUT: Table.HOLDING_REGISTERS,
           PointKind.BINARY_OUTPUT: Table.COILS}
_TYPES = {PointKind.ANALOG_INPUT: DataType.FLOAT32, PointKind.COUNTER: DataType.UINT32,
          PointKind.ANALOG_OUTPUT: DataType.FLOAT32, PointKind.BINARY_INPUT: DataType.BOOL,
          PointKind.BINARY_OUTPUT: DataType.BOOL}
#: Areas begin at multiples of this, and so do devices' blocks; and the room that each keeps, as a share of its size.
_AREA, _BLOCK, _ROOM = 100, 10, 0.25
#: Energy counters: 0.1 kWh, up to 429 GWh.
_KWH = 0.1


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """What goes into a list: `wanted` patterns over point names (none: every device and the main grid points);
    `writable` patterns (none: nothing can be written); with `unit_per_device` the grid is unit 1 and devices follow."""

    wanted: Sequence[str] = ()
    writable: Sequence[str] = ()
    unit_per_device: bool = False


@dataclass(slots=True)
class _Owner:
    """A quantity of the grid or a device, and its points."""

    name: str
    is_device: bool
    points: list[Point] = field(default_factory=list)


def generate(run: PointDatabase, options: GenerateOptions | None = None, source: str = "generated") -> PointList:
    """The list; raises PointListError when it does not fit or a pattern matches nothing."""
    options = options or GenerateOptions()
    chosen = _chosen(run, options, source)
    allowed = {run.names[i] for i in _matching(run, options.writable, source)}
    unfit = [name for name in run.names if name in allowed and not run.points[run.index[name]].kind.writable]
    for pattern in options.writable:
        if not any(run.points[i].kind.writable for i in match(pattern, run.names)):
            raise PointListError((Problem(f"writable '{pattern}' matches no setpoint or switch, only {unfit[0]} ...; "
                                          "expected a pattern such as *.p_set_kw", file=source),))
    owners = _owners(chosen)
    _refuse_too_many(owners, options, source)
    entries = [replace(_entry(point, place, point.name in allowed), feedback=_feedback(point, run))
               for point, place in _placed(owners, options)]
    beyond = [entry for entry in entries if entry.address + entry.registers > ADDRESSES]
    if beyond:
        last = max(entry.address + entry.registers for entry in beyond)
        raise PointListError((Problem(
            f"{len(entries)} points need {last} addresses in {SHORT[beyond[0].table]} with the room between them; a "
            f"table of one unit has {ADDRESSES}: expected one unit per device, or fewer points by patterns",
            file=source),))
    return checked(entries, source)


def is_device_point(name: str) -> bool:
    """Whether a point belongs to a device, by its name: grid points are ``bus.NAME.v_pu``, devices' ``NAME.p_kw``."""
    first, _, rest = name.partition(".")
    return first not in GRID and not (first in (*NETWORK, *_OTHERS) and "." in rest)


# -- which points -----------------------------------------------------------------------------------------------------


def _chosen(run: PointDatabase, options: GenerateOptions, source: str) -> list[Point]:
    if options.wanted:
        return [run.points[i] for i in sorted(_matching(run, options.wanted, source))]
    return [point for point in run.points if is_device_point(point.name) or _is_main(point.name)]


def _is_main(name: str) -> bool:
    first, _, rest = name.partition(".")
    suffix = name.rpartition(".")[2]
    is_flow = first in ("trafo", "gen") and suffix in ("p_kw", "q_kvar")
    return first in GRID or (first in NETWORK and "." in rest and (suffix in _MAIN or is_flow))


def _matching(run: PointDatabase, patterns: Iterable[str], source: str) -> list[int]:
    """Ids, each once, in the order of the patterns."""
    found: dict[int, None] = {}
    for pattern in patterns:
        try:
            found |= dict.fromkeys(int(i) for i in run.ids_of([pattern]))
        except GridloopError as error:
            raise PointListError((Problem(str(error), file=source),)) from None
    return list(found)


def _owners(points: Iterable[Point]) -> list[_Owner]:
    """Quantities of the grid first, then devices, each in the order in which the run has them."""
    owners: dict[tuple[bool, str], _Owner] = {}
    for point in points:
        is_device = is_device_point(point.name)
        first = point.name.partition(".")[0]
        owner, _, suffix = point.name.rpartition(".")
        name = owner if is_device else (first if first in (*GRID, *_OTHERS) else f"{first}.{suffix}")
        owners.setdefault((is_device, name), _Owner(name, is_device)).points.append(point)
    return sorted(owners.values(), key=lambda owner: owner.is_device)


def _refuse_too_many(owners: Sequence[_Owner], options: GenerateOptions, source: str) -> None:
    devices = sum(owner.is_device for owner in owners)
    if options.unit_per_device and devices >= MAX_UNIT:
        raise PointListError((Problem(f"{devices} devices and one unit for the grid; there are {MAX_UNIT} unit "
                                      "identifiers: expected fewer points by patterns, or one unit", file=source),))


# -- where they lie ---------------------------------------------------------------------------------------------------


def _placed(owners: Sequence[_Owner], options: GenerateOptions) -> list[tuple[Point, tuple[int, int]]]:
    """Every point with its (unit, address)."""
    placed: list[tuple[Point, tuple[int, int]]] = []
    next_free = dict.fromkeys(Table, 0)
    grid, devices = [o for o in owners if not o.is_device], [o for o in owners if o.is_device]
    for owner in grid:
        start = dict(next_free)
        placed += ((point, (1, address)) for point, address in _laid(owner.points, start))
        for table, end in start.items():
            if end > next_free[table]:
                next_free[table] = _up(end + _ROOM * (end - next_free[table]), _AREA)
    first = _up(max(next_free.values()), _AREA)
    stride = max((_up((1 + _ROOM) * max(_sizes(owner).values()), _BLOCK) for owner in devices), default=0)
    for i, owner in enumerate(devices):
        unit, base = (2 + i, 0) if options.unit_per_device else (1, first + i * stride)
        placed += ((point, (unit, address)) for point, address in _laid(owner.points, dict.fromkeys(Table, base)))
    return placed


def _laid(points: Iterable[Point], free: dict[Table, int]) -> list[tuple[Point, int]]:
    """Points one after the other, each in its table from `free` on, which moves on."""
    laid = []
    for point in points:
        table = _TABLES[point.kind]
        laid.append((point, free[table]))
        free[table] += REGISTERS[_TYPES[point.kind]]
    return laid


def _sizes(owner: _Owner) -> dict[Table, int]:
    sizes = dict.fromkeys(Table, 0)
    _laid(owner.points, sizes)
    return sizes


def _up(number: float, step: int) -> int:
    return math.ceil(number / step) * step


def _feedback(point: Point, run: PointDatabase) -> str:
    """Where a switch, a tap or a bank stands: what reads show of its order, which is nothing while nobody asks."""
    owner, dot, what = point.name.rpartition(".")
    if not point.kind.writable:
        return ""
    names = (f"{owner}{dot}{name}" for name in (f"is_{what}", f"{what}_in", f"{what}_position"))
    return next((name for name in names if name in run.index), "")


def _entry(point: Point, place: tuple[int, int], is_writable: bool) -> Entry:
    kind = _TYPES[point.kind]
    # What is not bounded keeps the NaN of `Entry` itself, so that a list that is written and read again is equal.
    limits: dict[str, Any] = {name: bound for name, bound in (("low", point.low), ("high", point.high))
              if point.kind is PointKind.ANALOG_OUTPUT and math.isfinite(bound)}
    is_energy = point.kind is PointKind.COUNTER and point.unit == "kWh"
    return Entry(
        tag=point.name, point=point.name, unit=place[0], table=_TABLES[point.kind], address=place[1], type=kind,
        registers=REGISTERS[kind], scale=_KWH if is_energy else 1.0, units="" if point.unit == "1" else point.unit,
        overflow=Overflow.FLAG if point.kind is PointKind.COUNTER else Overflow.EXCEPTION,
        access=Access.READ_WRITE if is_writable and point.kind.writable else Access.READ,
        deadband=point.deadband if math.isfinite(point.deadband) else 0.0,
        description=" ".join(point.description.split()), **limits)
