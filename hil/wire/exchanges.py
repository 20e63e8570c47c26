"""Requests with their answers, and what else happened, in the order in which it began.

A server answers a session's requests in order, so an answer belongs to the first request that waits (in Modbus TCP to
the first of its transaction); those before it had none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateways.peer import Role
from hil.wire.frames import Cutter, Frame
from hil.wire.layout import Framing, Kind, WireRecord

#: Items that wait for an earlier one's answer; then the earliest is given out without.
_MAX_WAITING = 10_000
#: Sessions whose bytes are followed at once; of others nothing is told but that they were.
_MAX_SESSIONS = 65_536


@dataclass(frozen=True, slots=True)
class SessionNote:
    """What is known of a session; number 0 is nobody's."""

    number: int
    address: str = "?"
    host: str = ""
    role: str = Role.OBSERVER.name.lower()
    listener: str = ""
    framing: Framing = Framing.UNKNOWN


NOBODY = SessionNote(0)


@dataclass(slots=True)
class Exchange:
    """A request and its answer, each None where there is none; or (neither) something that happened, in `words`."""

    t_us: int
    clock_us: int
    session: SessionNote
    request: Frame | None = None
    answer: Frame | None = None
    answered_us: int = -1
    """Session clock at the answer."""
    words: str = ""
    done: bool = False


@dataclass(slots=True)
class _Session:
    note: SessionNote
    requests: Cutter
    answers: Cutter
    waiting: deque[Exchange] = field(default_factory=deque)


class Exchanges:
    """Iterate once to get what `records` say."""

    def __init__(self, records: Iterable[WireRecord]) -> None:
        self._records = records
        self._framings: dict[str, Framing] = {}
        self._live: dict[int, _Session] = {}
        self._order: deque[Exchange] = deque()
        self._last = (0, 0)
        """Simulation time and session clock of the record at hand."""

    def __iter__(self) -> Iterator[Exchange]:
        for record in self._records:
            self._take(record)
            while self._order and (self._order[0].done or len(self._order) > _MAX_WAITING):
                yield self._order.popleft()
        for number in list(self._live):
            self._leave(number)
        yield from self._order
        self._order.clear()

    def _take(self, record: WireRecord) -> None:
        self._last = (record.t_us, record.clock_us)
        match record.kind:
            case Kind.RECEIVED:
                self._received(record)
            case Kind.SENT:
                self._sent(record)
            case Kind.OPENED:
                note = session_note(record, self._framings)
                self._live[record.session] = _new(note)
                self._happened(record, note, f"session opened at {note.listener} as {note.role}")
            case Kind.CLOSED:
                live = self._of(record)
                self._leave(record.session)
                self._happened(record, live.note, f"session closed: {record.texts.get('reason', '?')}")
            case Kind.LISTENER:
                said = record.texts
                self._framings[said.get("name", "")] = Framing.of_kind(said.get("kind", ""))
                self._happened(record, NOBODY, f"listening: {said.get('name')}, {said.get('kind')} "
                                               f"{said.get('where')}")
            case Kind.REFUSED:
                said = record.texts
                self._happened(record, NOBODY, f"{said.get('address')} refused at {said.get('listener')}: "
                                               f"{said.get('reason')}")
            case Kind.LIMITED:
                self._happened(record, NOBODY, f"{record.texts.get('what')}: {record.texts.get('why')}")
            case Kind.END:
                pass

    def _received(self, record: WireRecord) -> None:
        session = self._of(record)
        for frame in session.requests.feed(record.data):
            exchange = Exchange(record.t_us, record.clock_us, session.note, frame)
            exchange.done = bool(frame.fault)
            self._order.append(exchange)
            if not exchange.done:
                session.waiting.append(exchange)
                if len(session.waiting) > _MAX_WAITING:
                    session.waiting.popleft().done = True

    def _sent(self, record: WireRecord) -> None:
        session = self._of(record)
        for frame in session.answers.feed(record.data):
            exchange = _asked(session.waiting, frame)
            if exchange is None:
                exchange = Exchange(record.t_us, record.clock_us, session.note)
                self._order.append(exchange)
            exchange.answer, exchange.answered_us, exchange.done = frame, record.clock_us, True

    def _of(self, record: WireRecord) -> _Session:
        """A session that is met without its opening gets one of its own (the log was limited to writes)."""
        live = self._live.get(record.session)
        if live is None:
            live = _new(SessionNote(record.session))
            if len(self._live) < _MAX_SESSIONS:
                self._live[record.session] = live
        return live

    def _leave(self, number: int) -> None:
        session = self._live.pop(number, None)
        if session is None:
            return
        for exchange in session.waiting:
            exchange.done = True
        for frame in session.requests.end():
            self._order.append(Exchange(*self._last, session.note, frame, done=True))

    def _happened(self, record: WireRecord, note: SessionNote, words: str) -> None:
        self._order.append(Exchange(record.t_us, record.clock_us, note, words=words, done=True))


def session_note(record: WireRecord, framings: dict[str, Framing]) -> SessionNote:
    """What an OPENED record says."""
    said: Any = record.texts
    listener = said.get("listener", "")
    return SessionNote(record.session, said.get("address", "?"), said.get("host", ""), said.get("role", ""), listener,
                       framings.get(listener, Framing.UNKNOWN))


def _new(note: SessionNote) -> _Session:
    return _Session(note, Cutter(note.framing, answers=False), Cutter(note.framing, answers=True))


def _asked(waiting: deque[Exchange], answer: Frame) -> Exchange | None:
    """The request that an answer belongs to, taken off what waits; those before it had no answer."""
    for at, exchange in enumerate(waiting):
        request = exchange.request
        assert request is not None, "what waits is a request"
        if answer.fault or (request.transaction == answer.transaction
                            and (answer.transaction >= 0 or request.unit == answer.unit)):
            for _ in range(at):
                waiting.popleft().done = True
            return waiting.popleft()
    return None
