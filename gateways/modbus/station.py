"""The station kind ``modbus``: a remote terminal unit, meter or relay whose registers are a point list.

    stations:
      - {name: rtu1, kind: modbus, unit: 1, points: pointlists/rtu1.csv, comm_loss_s: 30}

Without `points` it serves a default list of everything the run has (`gridloop points generate` writes the same one),
read-only but for the names and patterns in `writable`.

Communication loss: when no request of a master that may write something here has reached the unit for `comm_loss_s`,
each point that masters have asked for since the last loss is held, released or set as its entry's `on_comm_loss` says.
Masters that may only read do not count: a historian that polls on must not keep a setpoint alive whose operator is
gone (give it the role observer).  A read counts as heard at the last publish before it, so the time is kept to one
scan.  A station that nobody has asked for anything has nothing to lose; after a loss the next write takes over as
usual.  What the run does not take (an interlock, a full queue) is tried again every second, the rest is done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field

from cosim import __version__
from cosim.errors import Problem, ScenarioError
from cosim.plugins.stations import StationConfig, StationSite
from cosim.points import PointDatabase
from gateways.gate import Gate, WriteAnswer, WriteRequest
from gateways.modbus.bank import CODES, Bank, ExceptionCode, Table, malformed_words
from gateways.modbus.image import ImageMaker
from gateways.modbus.writes import Ask, WriteMap
from gateways.peer import Peer, Role
from gateways.pointlist.check import check_against
from gateways.pointlist.generate import GenerateOptions, generate
from gateways.pointlist.model import Access, CommLoss, Entry, PointList
from gateways.pointlist.reader import read_point_list
from gateways.station import RETRY_US


@dataclass(frozen=True, slots=True)
class BankOptions:
    """How a bank differs from the plain one.

    `tags`: entries that interlocks may name beside its own; `gaps_zero`: holes read 0; `ttl_s`: life of what is asked.
    """

    tags: Mapping[str, Entry] = field(default_factory=dict)
    identification: Mapping[int, bytes] = field(default_factory=dict)
    gaps_zero: bool = False
    ttl_s: float | None = None


class ListBank:
    """A point list's entries as one unit's tables (`gateways.modbus.bank.Bank`)."""

    def __init__(self, name: str, entries: Sequence[Entry], points: PointDatabase, gate: Gate,
                 options: BankOptions | None = None) -> None:
        """`entries` fit the database (`check_against`)."""
        options = options or BankOptions()
        self.identification: Mapping[int, bytes] = options.identification
        self.asked: dict[int, Entry] = {}
        """Points asked for since the last loss of communication, with the entry that asked last."""
        self.heard_us = 0
        """Simulation time of the last request of a master that may write, to one publish."""
        self._name, self._gate, self._ttl_s, self._points = name, gate, options.ttl_s, points
        self._maker = ImageMaker(entries, points, gaps_zero=options.gaps_zero)
        self._writes = WriteMap(entries, points, {**options.tags, **{entry.tag: entry for entry in entries}})
        self._guarded = any(span.roles is not None for span in self._maker.spans)
        self._own: set[int] = set()
        self._least = min((entry.role_write for entry in entries if entry.access is not Access.READ),
                          default=Role.OBSERVER)
        self._image, self._image_us = self._maker.make(), -1

    @property
    def writable(self) -> int:
        """How many entries masters may write."""
        return self._writes.writable

    # -- reads -----------------------------------------------------------------------------------------------------

    def read_registers(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """From the image of the last publish."""
        t_us = self._points.t_us
        if peer.role >= self._least:
            self.heard_us = t_us
        if t_us != self._image_us:
            self._renew(t_us)
        if self._guarded and not self._maker.spans[table].may(address, count, peer.role):
            return ExceptionCode.ILLEGAL_FUNCTION
        return self._image.registers(table, address, count)

    def read_bits(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """From the image of the last publish."""
        t_us = self._points.t_us
        if peer.role >= self._least:
            self.heard_us = t_us
        if t_us != self._image_us:
            self._renew(t_us)
        if self._guarded and not self._maker.spans[table].may(address, count, peer.role):
            return ExceptionCode.ILLEGAL_FUNCTION
        return self._image.bits(table, address, count)

    def _renew(self, t_us: int) -> None:
        self._image = self._maker.make()
        # Build publishes at t = 0 and so does the first instant: there the time does not tell one from the other.
        # Every later instant publishes once.
        self._image_us = t_us if t_us > 0 else -1

    # -- writes ----------------------------------------------------------------------------------------------------

    def write_bits(self, address: int, bits: Sequence[bool], peer: Peer, now_us: int,
                   frame: bytes) -> ExceptionCode | None:
        """Functions 5 and 15."""
        return self._submit(self._writes.bits(address, bits, peer.role), peer, now_us, frame)

    def write_registers(self, address: int, data: bytes, peer: Peer, now_us: int,
                        frame: bytes) -> ExceptionCode | None:
        """Functions 6, 16 and 23."""
        return self._submit(self._writes.registers(address, data, peer.role, self._own), peer, now_us, frame)

    def mask_register(self, address: int, masks: tuple[int, int], peer: Peer, now_us: int,
                      frame: bytes) -> ExceptionCode | None:
        """Function 22."""
        return self._submit(self._writes.mask(address, masks, peer.role, self._own), peer, now_us, frame)

    def refused(self, code: ExceptionCode, peer: Peer, now_us: int, frame: bytes) -> None:
        """What the session refused goes on record as every write does."""
        self._gate.write(WriteRequest(self._name, peer, frame, self._gate.sim_us(now_us), (), (), (),
                                      malformed_words(code)))

    def _submit(self, ask: Ask, peer: Peer, now_us: int, frame: bytes) -> ExceptionCode | None:
        """Every write goes to the gate, a refused one too: it is the gate that audits."""
        arrival_us = self._gate.sim_us(now_us)
        if ask.role >= self._least:
            self.heard_us = max(self.heard_us, arrival_us)
        tags = tuple(entry.tag for entry in ask.entries.values())
        answer = self._gate.write(WriteRequest(self._name, peer, frame, arrival_us, tags, tuple(ask.values),
                                               tuple(ask.values.values()), ask.refusal, self._ttl_s))
        if ask.code is not None:
            return ExceptionCode.ILLEGAL_FUNCTION if answer is WriteAnswer.READ_ONLY else ask.code
        if answer is WriteAnswer.TAKEN:
            self.asked.update(ask.entries)
            self._own.update(ask.entries)
        return CODES[answer]

    def lost(self, why: str, t_us: int) -> bool:
        """Do what the entries say of everything asked for; False: the run did not take some of it, try again."""
        fallen = {point: fallback(entry) for point, entry in self.asked.items()
                  if entry.on_comm_loss is not CommLoss.HOLD}
        self.asked = {point: self.asked[point] for point in fallen}
        if self._own_doing(fallen, why, t_us):
            self.asked.clear()
        elif len(fallen) > 1:
            # A request is all or nothing: one point behind an interlock must not keep the others.
            for point, value in fallen.items():
                if self._own_doing({point: value}, why, t_us):
                    del self.asked[point]
        return not self.asked

    def _own_doing(self, wanted: Mapping[int, float], why: str, t_us: int) -> bool:
        return not wanted or self._gate.own(self._name, tuple(wanted), tuple(wanted.values()), why,
                                            t_us) is WriteAnswer.TAKEN


def fallback(entry: Entry) -> float:
    """What is asked for through an entry once its masters are gone; NaN releases."""
    return entry.comm_loss_value if entry.on_comm_loss is CommLoss.VALUE else math.nan


class ModbusStationConfig(StationConfig):
    """Options of a Modbus station."""

    kind: Literal["modbus"] = "modbus"
    points: str | None = Field(None, description="Point list (CSV), relative to the scenario; default: a list of every "
                                                 "point of the run. Of a list with several units, this unit's rows.")
    writable: tuple[str, ...] = Field((), description="Names and * patterns of points that masters may write; only "
                                                      "without `points` (a list has its own column `access`).")
    gaps: Literal["error", "zero"] = Field("error", description="Reading an unmapped address between mapped ones: "
                                                                "exception 02, or 0 for masters that read over holes.")
    comm_loss_s: float | None = Field(None, gt=0, description="Without a request of any master that may write for "
                                                       "so long, `on_comm_loss` acts.")
    ttl_s: float | None = Field(None, gt=0, description="Life of what masters ask for, unless they ask again.")
    vendor: str = Field("Gridloop", max_length=200, description="Device identification (43/14), object 0.")
    product: str = Field("SIMULATOR", max_length=200, description="Object 1, product code.")
    revision: str = Field(__version__, max_length=200, description="Object 2.")
    url: str = Field("", max_length=200, description="Object 3.")
    product_name: str = Field("Gridloop simulated station", max_length=200, description="Object 4.")
    model: str = Field("", max_length=200, description="Object 5, model name.")
    application: str = Field("", max_length=200, description="Object 6, user application name (default: the name).")


class ListStation:
    """A point list behind a unit identifier (`gateways.station.Station`)."""

    kind = "modbus"

    def __init__(self, config: ModbusStationConfig, points: PointList, site: StationSite) -> None:
        """`points` fits the run; rows of other units only serve as interlocks."""
        self.name, self.unit, self.listener = config.name, config.unit, config.listener
        entries = own_rows(points, config.unit)
        options = BankOptions({entry.tag: entry for entry in points.entries}, identification(config),
                              config.gaps == "zero", config.ttl_s)
        self._rows = ListBank(config.name, entries, site.points, site.gate, options)
        self.bank: Bank = self._rows
        self._points, self._size, self._source = site.points, len(entries), points.source
        self._comm_loss_us = None if config.comm_loss_s is None else round(config.comm_loss_s * 1e6)
        self._retry_us = 0

    # -- time ------------------------------------------------------------------------------------------------------

    def next_us(self) -> int | None:
        """When communication counts as lost, if nobody is heard until then and anything was asked for."""
        if self._comm_loss_us is None or not self._rows.asked:
            return None
        return max(self._rows.heard_us + self._comm_loss_us, self._retry_us)

    def on_time(self, t_us: int) -> None:
        """Act on a loss that is due."""
        due_us, rows = self.next_us(), self._rows
        if due_us is None or t_us < due_us:
            return
        if rows.heard_us == self._points.t_us < t_us:
            # Read since the last publish, which is long ago: nobody knows when, so it counts as just now.
            rows.heard_us = t_us
            return
        silent_s = (t_us - rows.heard_us) / 1e6
        done = rows.lost(f"comm_loss (nothing heard for {silent_s:g} s)", t_us)
        self._retry_us = 0 if done else t_us + RETRY_US

    def summary(self) -> str:
        """E.g. ``42 points, 7 writable, rtu1.csv``."""
        source = self._source.replace("\\", "/").rpartition("/")[2]
        return ", ".join(filter(None, (f"{self._size} points", f"{self._rows.writable} writable", source)))


class ModbusStation:
    """The station kind (`cosim.plugins.StationKind`)."""

    family: ClassVar[str] = "station"
    kind: ClassVar[str] = "modbus"
    summary: ClassVar[str] = "Registers and coils by a CSV point list"
    Config: ClassVar[type[StationConfig]] = ModbusStationConfig

    @classmethod
    def build(cls, config: Any, site: StationSite) -> ListStation:
        """Raises ScenarioError with every point that the run does not have or does not let be written."""
        points = _list_of(config, site)
        problems = check_against(points, site.points)
        if not own_rows(points, config.unit):
            units = sorted({entry.unit for entry in points.entries})
            problems.append(Problem(f"{points.source} has no row of unit {config.unit}; it has units "
                                    f"{', '.join(map(str, units)) or 'none'}", "unit"))
        if problems:
            raise ScenarioError(tuple(problems))
        return ListStation(config, points, site)


def own_rows(points: PointList, unit: int) -> tuple[Entry, ...]:
    """A list of one unit is any station's; of a list of several, the rows of the station's own."""
    if len({entry.unit for entry in points.entries}) <= 1:
        return points.entries
    return tuple(entry for entry in points.entries if entry.unit in (0, unit))


def identification(config: ModbusStationConfig) -> dict[int, bytes]:
    """Objects of 43/14, ASCII, those that say nothing left out."""
    words = (config.vendor, config.product, config.revision, config.url, config.product_name, config.model,
             config.application or config.name)
    return {i: word.encode("ascii", "replace") for i, word in enumerate(words) if word or i < 3}


def _list_of(config: ModbusStationConfig, site: StationSite) -> PointList:
    if config.points is None:
        return generate(site.points, GenerateOptions(writable=config.writable))
    if config.writable:
        raise ScenarioError((Problem(f"found `writable` beside {config.points}, whose column `access` says it already; "
                                     f"expected one of the two", "writable"),))
    return read_point_list(site.file(config.points))
