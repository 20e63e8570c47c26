"""A SunSpec device, whoever it stands for: what it serves, what its masters ask, and the timers that let go of it.

Theory of operation
-------------------
Reads are answered from images of the models, each made anew when it is first read after a publish or a write: all of
one model is of one snapshot of the run.  A read over several models that crosses no publish is of one snapshot too.

A write is decoded and checked as a whole (`writes`), staged on a copy of the state (`controls`), and turned into what
is asked of the run's points (`demands`).  What that changes goes to the gate as one request; only when the gate has
taken it does the copy become the state.  So a setting may be written first and enabled later, and a request that is
refused leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from cosim.points import PointDatabase, Snapshot
from gateways.gate import Gate, WriteAnswer, WriteRequest
from gateways.modbus.bank import CODES, Bank, ExceptionCode, Table, malformed_words
from gateways.peer import Peer, Role
from gateways.station import RETRY_US
from gateways.sunspec import controls, models, timers
from gateways.sunspec.config import SunSpecConfig
from gateways.sunspec.curves import CURVE_MODELS
from gateways.sunspec.demands import bears_on, demands
from gateways.sunspec.layout import ModelImage
from gateways.sunspec.registers import RegisterMap
from gateways.sunspec.state import Adoption, State
from gateways.sunspec.subject import Ratings, Tap
from gateways.sunspec.writes import Fault, judge

#: What rounding may put past the range of a run point.
_ROUND = 1e-6


class SunSpecUnit:
    """`gateways.station.Station`, and its own `gateways.modbus.bank.Bank`."""

    kind = "sunspec"

    def __init__(self, config: SunSpecConfig, gate: Gate, points: PointDatabase, tap: Tap, ratings: Ratings) -> None:
        self.name, self.unit, self.listener = config.name, config.unit, config.listener
        self.bank: Bank = self
        self.identification: Mapping[int, bytes] = {
            number: text.encode("utf-8") for number, text in enumerate(
                (config.manufacturer, config.model, config.version or "1")) if text}
        self._config, self._gate, self._points, self._tap, self.ratings = config, gate, points, tap, ratings
        self._role = Role[config.role_write.upper()]
        self._served = models.served(config, ratings, tap.controls)
        images = [models.image(model, config, ratings, tap.controls) for model in self._served]
        self.map = RegisterMap(images, config.base)
        self._state = State({model: controls.initial(model, ratings, tap.controls) for model in self._served})
        self._asked = demands(self._state, ratings, tap.controls)
        self._made: dict[int, tuple[Snapshot, int]] = {}
        self._reading: tuple[Snapshot, dict[str, float]] | None = None
        self._version = 0

    def summary(self) -> str:
        """Models, what may be written, and what has nothing behind it here."""
        served = ", ".join(map(str, self._served))
        writable = f"{len(self._asked)} controls" if self._config.writable and self._asked else "read-only"
        idle = [str(model) for model in (*self._served, *CURVE_MODELS) if self.ratings.kind != "meter"
                and controls.missing(model, self.ratings, self._tap.controls)]
        return f"models {served}; {writable}" + (
            f"; nothing behind {', '.join(dict.fromkeys(idle))} (no remote_functions)" if idle else "")

    # -- reads -----------------------------------------------------------------------------------------------------

    def read_bits(self, table: Table, address: int, count: int, peer: Peer) -> ExceptionCode:  # noqa: ARG002 - banks are asked alike
        """SunSpec has holding registers only."""
        return ExceptionCode.ILLEGAL_FUNCTION

    def read_registers(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:  # noqa: ARG002 - banks are asked alike
        """Any part of the map."""
        if table is not Table.HOLDING_REGISTERS:
            return ExceptionCode.ILLEGAL_FUNCTION
        return self.map.read(address, count, self._refresh)

    def _refresh(self, image: ModelImage) -> None:
        """Make a model anew if the run, or what masters staged, has moved on."""
        snapshot = self._points.snapshot()
        made = self._made.get(image.model)
        if made is not None and made[1] == self._version and made[0] is snapshot:
            return
        if made is None or models.moves(image.model):
            if self._reading is None or self._reading[0] is not snapshot:
                self._reading = (snapshot, self._tap.read(snapshot))
            image.put(models.moving(image.model, models.Moment(
                snapshot.t_us, self._reading[1], self.ratings, self._state)))
        self._made[image.model] = (snapshot, self._version)

    # -- writes ----------------------------------------------------------------------------------------------------

    def write_bits(self, address: int, bits: Sequence[bool], peer: Peer, now_us: int,  # noqa: ARG002 - banks are asked alike
                   frame: bytes) -> ExceptionCode:
        """There are no coils."""
        fault = Fault(ExceptionCode.ILLEGAL_FUNCTION, f"coils from {address}: a SunSpec device has none")
        return self._refuse(fault, self._request((), peer, now_us, frame))

    def mask_register(self, address: int, masks: tuple[int, int], peer: Peer, now_us: int,
                      frame: bytes) -> ExceptionCode | None:
        """Function 22 on a point of one register."""
        now = self.map.read(address, 1, self._refresh)
        if isinstance(now, ExceptionCode):
            fault = Fault(now, f"register {address} is outside the map")
            return self._refuse(fault, self._request((), peer, now_us, frame))
        and_mask, or_mask = masks
        value = (int.from_bytes(now, "big") & and_mask) | (or_mask & ~and_mask & 0xFFFF)
        return self.write_registers(address, value.to_bytes(2, "big"), peer, now_us, frame)

    def refused(self, code: ExceptionCode, peer: Peer, now_us: int, frame: bytes) -> None:
        """What the session refused goes on record as every write does."""
        self._refuse(Fault(code, malformed_words(code)), self._request((), peer, now_us, frame))

    def write_registers(self, address: int, data: bytes, peer: Peer, now_us: int, frame: bytes) -> ExceptionCode | None:
        """Whole points of one model: all of them, or none."""
        piece = self.map.piece(address, data)
        tags = () if piece is None else tuple(f"{piece.image.model}.{place.path}" for place, _ in piece.parts)
        request = self._request(tags, peer, now_us, frame)
        if not self._config.writable or peer.role < self._role:
            why = f"needs role {self._role.name.lower()}" if self._config.writable else "this station takes no writes"
            return self._refuse(Fault(ExceptionCode.ILLEGAL_FUNCTION, why), request)
        if piece is None:
            fault = Fault(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"registers {address} to {address + len(data) // 2 - 1} "
                                                              f"are not whole points of one model")
            return self._refuse(fault, request)
        self._refresh(piece.image)
        values = judge(piece, self._state.of(piece.image.model), self.ratings, self._tap.controls)
        if isinstance(values, Fault):
            return self._refuse(values, request)
        return self._carry_out(piece.image.model, values, request)

    def _carry_out(self, model: int, values: Mapping[str, float], request: WriteRequest) -> ExceptionCode | None:
        state = self._state.copy()
        refusal = controls.write(state, model, values, self.ratings, request.arrival_us) if values else ""
        if refusal:
            self._adoption_failed(model, request.arrival_us)
            return self._refuse(Fault(ExceptionCode.ILLEGAL_DATA_VALUE, refusal), request)
        asked = self._demands(state)
        again = {short for path in values for short in bears_on(model, path)}
        ids, wanted = self._changes(asked, again)
        answer = self._gate.write(_with(request, ids, wanted, ""))
        if answer is WriteAnswer.TAKEN:
            self._commit(state, asked)
        elif "AdptCrvReq" in values:
            self._adoption_failed(model, request.arrival_us)
        return CODES[answer]

    def _changes(self, asked: Mapping[str, float], again: set[str]) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Run points to be asked for: what differs from what was asked, and what was written `again` and holds."""
        changed = [short for short, value in asked.items()
                   if _differs(value, self._asked[short]) or (short in again and not isnan(value))]
        return tuple(self._tap.ids[short] for short in changed), tuple(asked[short] for short in changed)

    def _demands(self, state: State) -> dict[str, float]:
        """What the state asks; what rounding put past a range is brought back."""
        asked = demands(state, self.ratings, self._tap.controls)
        for short, value in asked.items():
            for bound, over in ((self._tap.high[short], 1.0), (self._tap.low[short], -1.0)):
                if 0 < (value - bound) * over <= _ROUND * max(abs(bound), 1.0):
                    asked[short] = bound
        return asked

    def _commit(self, state: State, asked: dict[str, float]) -> None:
        self._state, self._asked = state, asked
        self._version += 1

    def _adoption_failed(self, model: int, t_us: int) -> None:
        self._state.result[model] = (Adoption.FAILED, t_us)
        self._version += 1

    def _refuse(self, fault: Fault, request: WriteRequest) -> ExceptionCode:
        """Into the audit, with the reason; that the gateway takes no writes at all comes first."""
        answer = self._gate.write(_with(request, (), (), fault.reason))
        return ExceptionCode.ILLEGAL_FUNCTION if answer is WriteAnswer.READ_ONLY else fault.code

    def _request(self, tags: tuple[str, ...], peer: Peer, now_us: int, frame: bytes) -> WriteRequest:
        return WriteRequest(self.name, peer, frame, self._gate.sim_us(now_us), tags, (), ())

    # -- timers ----------------------------------------------------------------------------------------------------

    def next_us(self) -> int | None:
        """The first reversion, or the end of patience with a master whose heartbeat stands still."""
        times = [time_us for time_us in (timers.next_us(self._state), self._silent_us()) if time_us is not None]
        return min(times, default=None)

    def on_time(self, t_us: int) -> None:
        """Revert what is due."""
        silent_us = self._silent_us()
        lost = silent_us is not None and silent_us <= t_us
        state = self._state.copy()
        names = timers.expire(state, self.ratings, t_us)
        if lost:
            state.heard_us = None
            names += timers.revert_all(state, self.ratings, t_us)
        if names:
            self._revert(state, names, "comm_loss (ControllerHb stands still)" if lost else "reversion", t_us)
        elif lost:
            self._state = state

    def _revert(self, state: State, names: Sequence[str], why: str, t_us: int) -> None:
        asked = self._demands(state)
        ids, wanted = self._changes(asked, set())
        answer = self._gate.own(self.name, ids, wanted, f"{why} ({', '.join(names)})", t_us) if ids else None
        if answer in (None, WriteAnswer.TAKEN):
            self._commit(state, asked)
            return
        # The run does not take it now (an interlock, a full queue): once more in a second, until it does.
        for name, expiry_us in self._state.expiry_us.items():
            self._state.expiry_us[name] = max(expiry_us, t_us + RETRY_US)
        if self._state.heard_us is not None and self._silent_us() is not None:
            self._state.heard_us += max(t_us + RETRY_US - (self._silent_us() or 0), 0)

    def _silent_us(self) -> int | None:
        """When the heartbeat will have stood still for too long; None where nobody began one, or nobody minds."""
        if self._config.heartbeat_s is None or self._state.heard_us is None:
            return None
        return self._state.heard_us + round(self._config.heartbeat_s * 1e6)


def _differs(one: float, other: float) -> bool:
    return one != other and not (isnan(one) and isnan(other))


def _with(request: WriteRequest, ids: tuple[int, ...], values: tuple[float, ...], refusal: str) -> WriteRequest:
    return WriteRequest(request.station, request.peer, request.frame, request.arrival_us, request.tags, ids, values,
                        refusal)
