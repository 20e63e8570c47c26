"""The wire side by side with what came of it: requests and answers, the commands that entered, what stood afterwards.

Three files of a result are laid beside each other.  ``access.jsonl`` says which request of which session became which
rows of the journal (time and source), and what stood after the next SOLVE; commands of the journal that no request on
the wire asked for (a station's own, the pacer's) stand in lines of their own.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.audit.reading import Walk
from cosim.commands import Command, CommandKind
from cosim.errors import RecordError
from cosim.recorder import RunResult
from cosim.recorder.explain import figure
from hil.access import FILE as ACCESS
from hil.access import WriteNote, read_write
from hil.wire.exchanges import Exchange, Exchanges
from hil.wire.frames import Frame
from hil.wire.layout import FILE
from hil.wire.reading import WireFile, open_wire
from hil.wire.words import answer_words, request_words

#: Records of the access log that are laid beside the wire, and points of one command that are named.
_MAX_NOTES, _MAX_NAMED = 1_000_000, 8


@dataclass(frozen=True, slots=True)
class Row:
    """One line group: a request with its answer, or something that happened (`words`); "" and () where there is none.

    `answer_ms` is from the request's last byte to its answer (NaN: none).  `decided` is what the gate made of a write,
    `commands` the rows of the journal that entered from it, `effect` what stood after the next SOLVE.
    """

    t_us: int
    peer: str
    session: int
    words: str = ""
    request: str = ""
    request_hex: str = ""
    answer: str = ""
    answer_hex: str = ""
    answer_ms: float = float("nan")
    decided: str = ""
    commands: tuple[str, ...] = ()
    effect: str = ""


class Beside:
    """The wire log of a result folder beside its journal and its access log.

    RecordError: there is no wire log, or something is damaged.  A result without access log has no `decided`,
    `commands` and `effect`: its commands stand in lines of their own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        result = RunResult.load(folder)
        self._points: Sequence[Mapping[str, Any]] = result.manifest["points"]
        self._notes: dict[tuple[int, bytes], deque[WriteNote]] = {}
        self._effects: dict[int, str] = {}
        notes = self._read_access(folder / ACCESS)
        self._commands, self._others = _claimed(notes, result.journal())
        self.unfinished = False
        """After iterating: whether the log's writer did not end it (a kill, or it is still being written)."""

    def rows(self) -> Iterator[Row]:
        """All of it, by simulation time."""
        with closing(open_wire(self._folder / FILE)) as file:
            wire = WireFile(file, str(self._folder / FILE))
            seen = (self._row(exchange) for exchange in Exchanges(wire))
            others = (Row(command.t_us, "", 0, f"not from the wire: {self._command_words(command)}")
                      for command in self._others)
            yield from heapq.merge(seen, others, key=lambda row: row.t_us)
            self.unfinished = not wire.ended

    # -- from the wire -------------------------------------------------------------------------------------------------

    def _row(self, exchange: Exchange) -> Row:
        session, request, answer = exchange.session, exchange.request, exchange.answer
        peer = session.address if session.number else ""
        if request is None and answer is None:
            return Row(exchange.t_us, peer, session.number, exchange.words)
        note = None if request is None else self._note(session.number, request, exchange.t_us)
        millis = float("nan") if request is None or answer is None else (
            (exchange.answered_us - exchange.clock_us) / 1e3)
        return Row(exchange.t_us, peer, session.number,
                   request="" if request is None else request_words(request),
                   request_hex="" if request is None else request.data.hex(),
                   answer="" if answer is None else answer_words(answer, request),
                   answer_hex="" if answer is None else answer.data.hex(), answer_ms=millis,
                   decided="" if note is None else f"{note.station}: {note.words}",
                   commands=() if note is None else tuple(
                       map(self._command_words, self._commands.get(note.number, ()))),
                   effect="" if note is None else self._effects.get(note.number, ""))

    def _note(self, session: int, request: Frame, t_us: int) -> WriteNote | None:
        """What the access log has of a request: of several of the same bytes the first that is not earlier."""
        notes = self._notes.get((session, request.data))
        while notes:
            note = notes.popleft()
            if note.arrival_us >= t_us:
                return note
        return None

    # -- from the access log and the journal ---------------------------------------------------------------------------

    def _read_access(self, path: Path) -> list[WriteNote]:
        notes: list[WriteNote] = []
        if not path.is_file():
            return notes
        try:
            with path.open("rb") as file:
                for record in Walk(file):
                    note = read_write(record)
                    if note is not None:
                        notes.append(note)
                        self._notes.setdefault((note.session, note.frame), deque()).append(note)
                    elif record.kind == "effect" and "write" in record.fields:
                        self._effects[int(record.fields["write"])] = f"at {record.t_us / 1e6:.6f} s: {record.detail}"
                    if len(notes) >= _MAX_NOTES:
                        break
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
        return notes

    def _command_words(self, command: Command) -> str:
        """``journal 1.251000 s: rtu/operator sets sun.p_cap_kw 400 kW: accepted``."""
        verb = {CommandKind.SET: "sets", CommandKind.RELEASE: "releases"}.get(command.kind, command.kind.name.lower())
        named = []
        for i, point_id in enumerate(command.ids[:_MAX_NAMED]):
            known = 0 <= point_id < len(self._points)
            name, unit = (self._points[point_id]["name"], self._points[point_id]["unit"]) if known else (
                f"point {point_id}", "")
            named.append(f"{name} {figure(command.values[i], unit)}" if i < len(command.values) else name)
        if len(command.ids) > _MAX_NAMED:
            named.append(f"{len(command.ids) - _MAX_NAMED} more")
        return (f"journal {command.t_us / 1e6:.6f} s: {command.source} {verb} {', '.join(named)}: "
                f"{command.status.value}")


def _claimed(notes: Iterable[WriteNote], journal: Iterable[Command]) -> tuple[dict[int, list[Command]], list[Command]]:
    """The journal's commands by the number of the write that they entered from, and the others, in order."""
    unclaimed: dict[tuple[int, str], deque[tuple[int, Command]]] = {}
    left: dict[int, Command] = {}
    for number, command in enumerate(journal):
        unclaimed.setdefault((command.t_us, command.source), deque()).append((number, command))
        left[number] = command
    claimed: dict[int, list[Command]] = {}
    for note in notes:
        waiting = unclaimed.get((note.entry_us, f"{note.station}/{note.role}"))
        for _ in range(note.rows if waiting else 0):
            if waiting:
                number, command = waiting.popleft()
                claimed.setdefault(note.number, []).append(command)
                del left[number]
    return claimed, list(left.values())
