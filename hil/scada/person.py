"""`gridloop modbus poll` and `write`: one device, one person, everything shown."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cosim.errors import GatewayError
from gateways.modbus.bank import Table
from gateways.pointlist.address import SHORT, TABLE_WORDS, Place, place_of, read_place
from gateways.pointlist.codec import REGISTERS, encode
from gateways.pointlist.model import Access, DataType, Entry, WordOrder
from gateways.pointlist.reader import read_point_list
from hil.pacer import Clock, MonotonicClock
from hil.scada.blocks import Block, is_bits, places, plan
from hil.scada.endpoint import Endpoint
from hil.scada.link import Link, Outcome, Reply
from hil.scada.operate import number, send
from hil.scada.readings import TagQuality, companions, from_flags, reading, text_of
from hil.scada.splitting import is_answer, read_split

#: Values that one poll of bare addresses may ask for.
MAX_COUNT = 2_000
#: Polls that one command makes unless told otherwise by Ctrl-C.
MAX_POLLS = 10_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One value as read.  `shown` is what to print; `trouble` why there is none."""

    tag: str
    unit: int
    place: Place
    value: float
    shown: str
    units: str
    quality: str
    raw: bytes
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class PollRequest:
    """What to read, how often (`every_s` None: once); `wait_s`: how long it is waited for somebody to listen there."""

    endpoint: Endpoint
    entries: tuple[Entry, ...]
    timeout_s: float = 1.0
    every_s: float | None = None
    times: int = 1
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """A value for an entry."""

    entry: Entry
    value: float


@dataclass(frozen=True, slots=True)
class Written:
    """One write from beginning to end; NaN and "" where nothing could be read."""

    entry: Entry
    asked: float
    before: str
    sent: bytes
    received: bytes
    answer: str
    is_taken: bool
    after: str


# -- what to read or write --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selection:
    """Bare addresses: `count` values of a type, from `address` (any notation) on."""

    address: str
    table: str | None = None
    unit: int = 1
    count: int = 1
    type: str | None = None
    order: str = "ABCD"


def entries_of_list(path: Path, unit: int | None = None) -> tuple[Entry, ...]:
    """Entries of a point list, at another unit where told; raises PointListError."""
    entries = read_point_list(path).entries
    return entries if unit is None else tuple(replace(entry, unit=unit) for entry in entries)


def select(asked: Selection) -> tuple[Entry, ...]:
    """Entries for bare addresses; raises GatewayError that says what is accepted."""
    if asked.table is not None and asked.table not in TABLE_WORDS:
        raise GatewayError(f"'{asked.table}' is no table; expected {', '.join(SHORT.values())}")
    place = read_address_of(asked.address, TABLE_WORDS[asked.table] if asked.table else None)
    word = asked.type or ("bool" if is_bits(place.table) else "uint16")
    known = [kind.value for kind in DataType]
    if word not in known:
        raise GatewayError(f"'{word}' is no type; expected {', '.join(known)}")
    if is_bits(place.table) and word != "bool":
        raise GatewayError(f"{place} is a bit; its type is bool, not {word}")
    if not 1 <= asked.count <= MAX_COUNT:
        raise GatewayError(f"{asked.count} values; expected 1 to {MAX_COUNT}")
    kind = DataType(word)
    size = asked.count if kind is DataType.STRING else REGISTERS[kind]
    last = place.address + size * (1 if kind is DataType.STRING else asked.count)
    if last > 65_536:
        raise GatewayError(f"{place} and {asked.count} values of {word} end at {last}; the last address is 65535")
    at = [place.address] if kind is DataType.STRING else range(place.address, last, size)
    return tuple(Entry(tag=str(Place(place.table, a)), point="", unit=asked.unit, table=place.table, address=a,
                       type=kind, registers=size, order=WordOrder(asked.order), access=Access.READ_WRITE) for a in at)


def read_address_of(text: str, table: Table | None) -> Place:
    """``40021``, ``hr20``, ``hr 20``, or with a table the plain wire address ``20``; raises GatewayError."""
    letters = text.rstrip("0123456789")
    place = read_place(f"{letters.rstrip(' :')} {text[len(letters):]}") if letters else None
    if not letters and text.isdecimal():
        is_modicon = len(text) >= 5 and (table is None or read_place(text) is not None)
        place = read_place(text) if is_modicon else None
        if place is None and table is not None and int(text) < 65_536:
            return Place(table, int(text))
        if place is None and len(text) < 5:
            return Place(Table.HOLDING_REGISTERS, int(text))
    if place is None:
        raise GatewayError(f"'{text}' is no address; expected 40021 or 400021, hr20, or with --table hr the address "
                           f"on the wire, 0 to 65535")
    if table is not None and place.table is not table:
        raise GatewayError(f"'{text}' is {place}, but --table says {SHORT[table]}; leave one of them out")
    return place


def targets_of(entries: tuple[Entry, ...], words: list[str]) -> list[WriteTarget]:
    """``tag=value`` words for entries of a list; raises GatewayError for an unknown tag or a value that cannot be."""
    known = {entry.tag: entry for entry in entries}
    found = []
    for word in words:
        tag, sign, text = word.rpartition("=")
        if not sign or tag not in known:
            near = [name for name in known if tag.lower() in name.lower()][:5]
            raise GatewayError(f"'{word}': expected TAG=VALUE with a tag of the list, e.g. "
                               f"{', '.join(near or list(known)[:3])}")
        found.append(WriteTarget(known[tag], number(text)))
    return found


def check_target(target: WriteTarget) -> None:
    """Raises GatewayError for what cannot even be sent."""
    entry = target.entry
    if entry.table not in (Table.COILS, Table.HOLDING_REGISTERS):
        raise GatewayError(f"{entry.tag}: {place_of(entry)} can only be read; written are coils and holding registers")
    if entry.type is DataType.STRING or encode(target.value, entry) is None:
        raise GatewayError(f"{entry.tag}: {target.value:g} cannot be said in {entry.type.value}"
                           f"{f' with scale {entry.scale:g}' if entry.scale != 1 else ''}")


# -- poll -------------------------------------------------------------------------------------------------------------


def run_poll(request: PollRequest, show: Callable[[list[Row]], None], clock: Clock | None = None) -> list[Row]:
    """Poll once or on absolute deadlines until `times` or Ctrl-C; returns the last rows.

    Raises GatewayError when the device cannot be reached or does not answer.
    """
    return asyncio.run(_poll(request, show, clock or MonotonicClock()))


async def _poll(request: PollRequest, show: Callable[[list[Row]], None], clock: Clock) -> list[Row]:
    link = Link(request.endpoint, request.timeout_s)
    blocks = plan(request.entries, places(request.entries))
    rows: list[Row] = []
    with _ending(link):
        await _opened(link, request.wait_s)
        begun_ns, stop = clock.now_ns(), asyncio.Event()
        with _on_interrupt(stop) if request.every_s else contextlib.nullcontext():
            for n in range(request.times):
                rows = await _rows(link, blocks, request.entries)
                show(rows)
                if request.every_s is None or n + 1 == request.times:
                    break
                due_s = begun_ns / 1e9 + (n + 1) * request.every_s
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(due_s - clock.now_ns() / 1e9, 0.001))
                if stop.is_set():
                    break
    return rows


async def _rows(link: Link, blocks: tuple[Block, ...], entries: tuple[Entry, ...]) -> list[Row]:
    """In the order of the list, qualities applied."""
    by_tag: dict[str, Row] = {}
    for block in blocks:
        for part, reply in await read_split(lambda b: link.read(b.unit, b.table, b.address, b.count), block):
            if not is_answer(reply):
                raise GatewayError(reply.words)
            for entry in part.entries:
                by_tag[entry.tag] = _row(entry, part.part(reply.data, entry) if reply.is_done else None, reply)
    for tag, beside in companions(entries).items():
        if tag in by_tag and beside in by_tag:
            quality = max(from_flags(by_tag[beside].value), TagQuality[by_tag[tag].quality.upper()])
            by_tag[tag] = replace(by_tag[tag], quality=quality.name.lower())
    return [by_tag[entry.tag] for entry in entries if entry.tag in by_tag]


def _row(entry: Entry, data: bytes | None, reply: Reply) -> Row:
    if data is None:
        return Row(entry.tag, entry.unit, place_of(entry), math.nan, "—", entry.units, "bad", b"", reply.words)
    found = reading(entry, data)
    shown = repr(text_of(entry, data)) if entry.type is DataType.STRING else (
        "—" if math.isnan(found.value) else f"{found.value:.{7 if entry.type is DataType.FLOAT32 else 15}g}")
    quality = found.quality.name.lower()
    return Row(entry.tag, entry.unit, place_of(entry), found.value, shown, entry.units, quality, data)


# -- write ------------------------------------------------------------------------------------------------------------


def run_write(endpoint: Endpoint, targets: list[WriteTarget], wait_s: float, timeout_s: float) -> list[Written]:
    """Write in order, each shown before and after; raises GatewayError when the device cannot be reached."""
    for target in targets:
        check_target(target)
    return asyncio.run(_write(endpoint, targets, wait_s, timeout_s))


async def _write(endpoint: Endpoint, targets: list[WriteTarget], wait_s: float, timeout_s: float) -> list[Written]:
    link = Link(endpoint, timeout_s)
    done: list[Written] = []
    with _ending(link):
        await _opened(link)
        for target in targets:
            entry = target.entry
            before = await _shown(link, entry)
            reply = await send(link, entry, target.value)
            if reply.outcome not in (Outcome.DONE, Outcome.REFUSED):
                raise GatewayError(f"{entry.tag}: sent {reply.sent.hex(' ')}; {reply.words}; whether it was taken is "
                                   f"not known")
            await asyncio.sleep(wait_s)
            answer = "taken" if reply.is_done else reply.words
            done.append(Written(entry, target.value, before, reply.sent, reply.received, answer, reply.is_done,
                                await _shown(link, entry)))
    return done


async def _shown(link: Link, entry: Entry) -> str:
    """What an entry says now, or why not."""
    if entry.access is Access.WRITE:
        return "(write-only)"
    reply = await link.read(entry.unit, entry.table, entry.address, entry.registers)
    if not reply.is_done:
        return f"({reply.words})"
    row = _row(entry, reply.data, reply)
    return f"{row.shown} {entry.units}".rstrip() + f"  [{row.raw.hex(' ')}]"


async def _opened(link: Link, wait_s: float = 0.0) -> None:
    problem = await link.open_within(wait_s)
    if problem:
        raise GatewayError(problem)


@contextmanager
def _ending(link: Link) -> Iterator[None]:
    try:
        yield
    finally:
        link.close()


@contextmanager
def _on_interrupt(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C ends repeated polls in order."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
        loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)
