"""`gridloop modbus scan`: what is there, found by reading alone, at a polite rate and within a budget of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from cosim.errors import GatewayError
from gateways.modbus.bank import Table
from gateways.modbus.pdu import MAX_READ_BITS, MAX_READ_REGISTERS
from gateways.pointlist.address import Place
from hil.pacer import Clock, MonotonicClock
from hil.scada.blocks import is_bits
from hil.scada.endpoint import Endpoint
from hil.scada.link import Link, Outcome, Reply
from hil.scada.splitting import is_answer

#: Where SunSpec's marker may stand (SunSpec Device Information Model Specification, 5).
SUNSPEC_BASES = (40_000, 0, 50_000)
_MARKER, _END = b"SunS", 0xFFFF
_MOST_MODELS = 100
_MODELS = {1: "common", 101: "inverter, single phase", 103: "inverter, three phase", 113: "inverter, float",
           120: "nameplate", 121: "settings", 122: "status", 123: "controls", 124: "storage", 201: "meter, one phase",
           203: "meter, three phase", 701: "DER AC measurement", 702: "DER capacity", 703: "DER enter service",
           704: "DER AC controls", 705: "DER volt-var", 706: "DER volt-watt", 707: "DER trip LV", 708: "DER trip HV",
           709: "DER trip LF", 710: "DER trip HF", 711: "DER droop", 712: "DER watt-var", 713: "DER storage",
           714: "DER DC measurement", 715: "DER control", 802: "battery"}


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Where to look: units, addresses 0 to `upto` - 1 of every table; at most `budget` requests a table.

    `wait_s`: how long it is waited for somebody to listen there.
    """

    endpoint: Endpoint
    units: tuple[int, ...]
    upto: int = 200
    budget: int = 250
    per_second: float = 100.0
    timeout_s: float = 0.5
    wait_s: float = 0.0


@dataclass(slots=True)
class TableFound:
    """What a table answered: ranges (first, last) that can be read, those within them that gave exception 04."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    bad: int = 0
    note: str = ""

    def add(self, first: int, last: int) -> None:
        """Addresses that exist."""
        if self.ranges and self.ranges[-1][1] + 1 == first:
            self.ranges[-1] = (self.ranges[-1][0], last)
        else:
            self.ranges.append((first, last))


@dataclass(slots=True)
class UnitFound:
    """One unit that answers."""

    unit: int
    tables: dict[Table, TableFound] = field(default_factory=dict)
    identification: dict[int, str] = field(default_factory=dict)
    sunspec_base: int | None = None
    models: list[tuple[int, int, int]] = field(default_factory=list)
    """(model, address of its header, length of its body)."""


def run_probe(request: ProbeRequest, progress: Callable[[str], None], clock: Clock | None = None) -> list[UnitFound]:
    """The units that answer and what they have; raises GatewayError when nothing can be reached."""
    return asyncio.run(_Probe(request, progress, clock or MonotonicClock()).run())


def model_name(model: int) -> str:
    """A model in words."""
    return _MODELS.get(model, "")


class _Probe:
    def __init__(self, request: ProbeRequest, progress: Callable[[str], None], clock: Clock) -> None:
        self._request, self._progress, self._clock = request, progress, clock
        self._link = Link(request.endpoint, request.timeout_s)
        self._next_s = 0.0
        self.requests = 0

    async def run(self) -> list[UnitFound]:
        problem = await self._link.open_within(self._request.wait_s)
        if problem:
            raise GatewayError(problem)
        try:
            return [found for unit in self._request.units if (found := await self._unit(unit)) is not None]
        finally:
            self._link.close()

    async def _unit(self, unit: int) -> UnitFound | None:
        self._progress(f"unit {unit}: does it answer?")
        if not is_answer(await self._read(unit, Table.HOLDING_REGISTERS, 0, 1)):
            return None
        found = UnitFound(unit)
        for table in (Table.HOLDING_REGISTERS, Table.INPUT_REGISTERS, Table.COILS, Table.DISCRETE_INPUTS):
            found.tables[table] = await self._table(unit, table)
        await self._pace()
        _, objects = await self._link.identify(unit)
        found.identification = {key: value.decode("utf-8", "replace") for key, value in objects.items()}
        await self._sunspec(found)
        return found

    async def _table(self, unit: int, table: Table) -> TableFound:
        """Walk the addresses: steps double while reads succeed and halve while they fail."""
        found, at, step = TableFound(), 0, 32
        most = MAX_READ_BITS if is_bits(table) else MAX_READ_REGISTERS
        for _ in range(self._request.budget):
            if at >= self._request.upto:
                return found
            step = min(step, self._request.upto - at, most)
            self._progress(f"unit {unit}: {Place(table, at)}")
            reply = await self._read(unit, table, at, step)
            if reply.outcome is Outcome.REFUSED and reply.code == 1:
                found.note = "not offered"
                return found
            if not is_answer(reply):
                found.note = f"stopped at {at}: {reply.words}"
                return found
            if reply.is_done or (step == 1 and reply.code == 4):
                found.bad += not reply.is_done
                found.add(at, at + step - 1)
                at, step = at + step, step * 2
            elif step == 1:
                at += 1
            else:
                step //= 2
        found.note = f"stopped at {at} after {self._request.budget} requests (--budget)"
        return found

    async def _sunspec(self, found: UnitFound) -> None:
        for base in SUNSPEC_BASES:
            reply = await self._read(found.unit, Table.HOLDING_REGISTERS, base, 2)
            if reply.is_done and reply.data == _MARKER:
                found.sunspec_base = base
                await self._models(found, base + 2)
                return

    async def _models(self, found: UnitFound, at: int) -> None:
        for _ in range(_MOST_MODELS):
            if at > 65_534:
                return
            reply = await self._read(found.unit, Table.HOLDING_REGISTERS, at, 2)
            if not reply.is_done:
                return
            model, length = int.from_bytes(reply.data[:2], "big"), int.from_bytes(reply.data[2:], "big")
            if model == _END:
                return
            found.models.append((model, at, length))
            at += 2 + length

    async def _read(self, unit: int, table: Table, address: int, count: int) -> Reply:
        """One read at the polite rate; a connection that the device closed is made anew, once."""
        await self._pace()
        reply = await self._link.read(unit, table, address, count)
        if reply.outcome in (Outcome.LOST, Outcome.GARBLED):
            self._link.close()
            problem = await self._link.open()
            if problem:
                raise GatewayError(f"{reply.words}; then {problem}")
            if reply.outcome is Outcome.GARBLED:
                raise GatewayError(reply.words)
        return reply

    async def _pace(self) -> None:
        now_s = self._clock.now_ns() / 1e9
        await asyncio.sleep(max(self._next_s - now_s, 0.0))
        self._next_s = max(self._next_s, now_s) + 1 / self._request.per_second
        self.requests += 1
