"""The gate of a served run: switch, limits, one submission, and both ends of every write in the access log.

Theory of operation
-------------------
`write` judges in this order, and the first that objects answers: the peer's rate, the log that cannot be written,
the read-only switch, the station's own refusal, the tags' rates, the run's inbox.  What is taken enters the
simulation at ``max(last finished instant + 1 µs, arrival)``, as one row of the journal (two where it also releases).
It is not done yet: `published` looks after each published instant what became of the writes that entered before it.

One request takes effect as a whole or not at all.  Sets are submitted first: the inbox checks all of them at once.
Releases follow at the same time; of them the inbox refuses only what is no output (looked at before anything is
submitted) and what finds its queue full, which the gate's own, far smaller, limit of open writes keeps from happening.
A point that is both set and released is set.

Rates are counted on the sessions' clock (wall time), of which `sim_us` and `tick` are told: a simulation that runs
fast or stands still limits masters no more and no less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Protocol

import numpy as np

from cosim.audit import Seal
from cosim.commands import Authority, CommandInbox, CommandStatus
from cosim.points import PointDatabase
from cosim.recorder import DecisionRow
from cosim.recorder.explain import figure
from gateways.gate import WriteAnswer, WriteRequest
from hil.access import WIRE, AccessLog, Change, effect_words, source_of, write_words
from hil.decided import moved_words
from hil.rates import RateLimit, TokenBuckets

ANSWERS = {
    CommandStatus.ACCEPTED: WriteAnswer.TAKEN,
    CommandStatus.UNKNOWN_POINT: WriteAnswer.NOT_WRITABLE,
    CommandStatus.NOT_WRITABLE: WriteAnswer.NOT_WRITABLE,
    CommandStatus.NOT_A_NUMBER: WriteAnswer.NOT_A_NUMBER,
    CommandStatus.OUT_OF_RANGE: WriteAnswer.OUT_OF_RANGE,
    CommandStatus.BLOCKED: WriteAnswer.BLOCKED,
    CommandStatus.QUEUE_FULL: WriteAnswer.QUEUE_FULL,
}


class Run(Protocol):
    """What the gate needs of a `cosim.simulation.engine.Simulation`."""

    inbox: CommandInbox
    points: PointDatabase

    @property
    def now_us(self) -> int:
        """Time of the last instant processed."""


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Rates of writes by a peer's host and of one tag; how many writes may wait for their effect; the switch."""

    per_peer: RateLimit = field(default_factory=lambda: RateLimit(50.0, 100.0))
    per_tag: RateLimit = field(default_factory=lambda: RateLimit(10.0, 20.0))
    open_writes: int = 1024
    read_only: bool = False


#: Microseconds of a flood that share one record; peers whose floods are counted at a time.
FLOOD_US, MAX_FLOODS = 1_000_000, 256


@dataclass(frozen=True, slots=True)
class _Open:
    """A write that has not been seen to take effect yet."""

    entry_us: int
    number: int
    """Of its record in the access log."""
    station: str
    ids: tuple[int, ...]


def _nothing(_: int) -> None:
    return None


def _undecided(_: int) -> DecisionRow | None:
    return None


class CommandGate:
    """`gateways.gate.Gate` around a run.

    `clock` gives the simulation time of a time on the sessions' clock; `on_submitted` is told of the session (0: a
    station by itself) when something was submitted (whoever serves pumps then); `decided` gives the last decision row
    of an output (`WatchedRecorder.last`).
    """

    def __init__(self, run: Run, access: AccessLog, clock: Callable[[int], int], options: GateOptions | None = None,
                 on_submitted: Callable[[int], None] = _nothing, *,
                 decided: Callable[[int], DecisionRow | None] = _undecided) -> None:
        self._run, self._access, self._clock, self._decided = run, access, clock, decided
        self.on_submitted = on_submitted
        self._options = options or GateOptions()
        self._peers, self._tags = TokenBuckets(self._options.per_peer), TokenBuckets(self._options.per_tag)
        self._read_only = self._options.read_only
        self._now_us = 0
        self._open: deque[_Open] = deque()
        self._floods: dict[str, int] = {}
        self._told_us = 0
        self._units = [point.unit for point in run.points.points]
        self._slots = {int(point_id): slot for slot, point_id in enumerate(run.inbox.point_ids)}
        self.counts: dict[str, int] = {"writes": 0, **{answer.value: 0 for answer in WriteAnswer}, "own": 0,
                                       "own_refused": 0}
        """Writes so far: all, by answer; and stations' own doings."""

    # -- what whoever serves uses --------------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether every master's write is refused; stations' own doings go on."""
        return self._read_only

    @read_only.setter
    def read_only(self, on: bool) -> None:
        """Switch it, now; that is on record."""
        if on != self._read_only:
            self._read_only = on
            self._access.append(self._run.now_us, "switch", "gate", f"read-only {'on' if on else 'off'}")

    def tick(self, now_us: int) -> None:
        """Now and then: flush the access log when it is time."""
        self._now_us = max(self._now_us, now_us)
        if self._floods and self._now_us - self._told_us >= FLOOD_US:
            self._tell_floods()
        self._access.tick(now_us, self._run.now_us)

    def _tell_floods(self) -> None:
        """Write down how many writes of a peer were refused unread since the last one written in full."""
        for peer, unwritten in self._floods.items():
            if unwritten:
                words = f"{peer}: {unwritten} more writes refused beyond {_rate_words(self._options.per_peer)}"
                self._access.append(self._run.now_us, "flood", "gate", words, writes=unwritten)
        self._floods.clear()
        self._told_us = self._now_us

    def published(self, t_us: int) -> None:
        """After an instant: write down what became of the writes that entered before the last publish."""
        published_us = min(t_us, self._run.points.t_us)
        if not self._open or all(item.entry_us > published_us for item in self._open):
            return
        waiting = deque[_Open]()
        words: dict[int, str] = {}
        for item in self._open:
            if item.entry_us <= published_us:
                for point_id in item.ids:
                    if point_id not in words:  # many writes of one point between two scans have one effect
                        words[point_id] = self._stands(point_id)
                self._access.append(published_us, "effect", item.station, effect_words([words[i] for i in item.ids]),
                                    write=item.number, entry_us=item.entry_us)
            else:
                waiting.append(item)
        self._open = waiting

    def close(self, wire_sha256: str = "") -> Seal:
        """Write down what was not seen to take effect and the wire log's hash; seal the access log, return the seal.

        `wire_sha256` is what `WireLog.close` gave: so the evidence of bytes hangs in the chain too.
        """
        now_us = self._run.now_us
        self._tell_floods()
        self.published(now_us)
        for item in self._open:
            self._access.append(now_us, "effect", item.station, "the run ended before the next scan",
                                write=item.number, entry_us=item.entry_us)
        self._open.clear()
        if wire_sha256:
            self._access.append(now_us, WIRE, "wire.log", f"sha256 {wire_sha256}")
        return self._access.close(now_us)

    # -- what stations use ---------------------------------------------------------------------------------------------

    @property
    def heard_us(self) -> int:
        """The latest arrival, on the sessions' clock."""
        return self._now_us

    def sim_us(self, now_us: int) -> int:
        """Simulation time of an arrival at `now_us` on the sessions' clock."""
        self._now_us = max(self._now_us, now_us)
        return self._clock(now_us)

    def write(self, request: WriteRequest) -> WriteAnswer:
        """Judge, submit and audit one write; of a flood the first is written down, the rest counted."""
        self.counts["writes"] += 1
        peer = request.peer.host or request.peer.address
        is_over = self._peers.take((peer,), self._now_us) is not None
        if is_over and peer in self._floods:
            self._floods[peer] += 1
            self.counts[WriteAnswer.RATE_LIMITED.value] += 1
            return WriteAnswer.RATE_LIMITED
        if is_over:
            if len(self._floods) >= MAX_FLOODS:
                self._tell_floods()
            self._floods[peer] = 0
        changes = self._changes(request.ids, request.values, request.tags)
        answer, reason = (WriteAnswer.RATE_LIMITED, f"peer {peer}: more than {_rate_words(self._options.per_peer)}"
                          ) if is_over else self._objection(request)
        numbers, entry_us = {"session": request.peer.session}, self._entry_us(request.arrival_us)
        if answer is WriteAnswer.TAKEN and request.ids:
            answer, rows = self._submit(request.ids, request.values, source_of(request.station, request.peer),
                                        request.ttl_s, request.arrival_us)
            numbers |= {"entry_us": entry_us, "rows": rows}
        self.counts[answer.value] += 1
        number = self._access.append(request.arrival_us, "write", request.station,
                                     write_words(request, changes, answer, reason), **numbers)
        if answer is WriteAnswer.TAKEN and request.ids:
            self._open.append(_Open(entry_us, number, request.station, request.ids))
            self.on_submitted(request.peer.session)
        return answer

    def own(self, station: str, ids: tuple[int, ...], values: tuple[float, ...], why: str, t_us: int) -> WriteAnswer:
        """A station's own doing: submitted and audited, not limited; `why` in a few words, the first is the source's.

        It goes on while the log cannot be written: this is how masters that are gone are let go of.
        """
        changes, entry_us = self._changes(ids, values, ()), self._entry_us(t_us)
        source = f"{station}/{(why.split() or ['own'])[0]:.40}"
        answer, rows = self._submit(ids, values, source, None, t_us)
        self.counts["own" if answer is WriteAnswer.TAKEN else "own_refused"] += 1
        words = effect_words(list(map(str, changes)))
        number = self._access.append(t_us, "own", station, f"{why:.200}: {words}; {answer.value}", entry_us=entry_us,
                                     rows=rows)
        if answer is WriteAnswer.TAKEN:
            if len(self._open) < 2 * self._options.open_writes:
                self._open.append(_Open(entry_us, number, station, ids))
            self.on_submitted(0)
        return answer

    # -- judging -------------------------------------------------------------------------------------------------------

    def _objection(self, request: WriteRequest) -> tuple[WriteAnswer, str]:
        """The gate's and the station's own: TAKEN where there is none, and why."""
        if not self._access.usable:
            return WriteAnswer.READ_ONLY, f"the access log cannot be written: {self._access.failing}"
        if self._read_only:
            return WriteAnswer.READ_ONLY, "the gateway is switched to read-only"
        if request.refusal:
            return WriteAnswer.REFUSED, request.refusal
        if len(self._open) >= self._options.open_writes:
            return WriteAnswer.QUEUE_FULL, f"{len(self._open)} writes wait for the next scan"
        full = self._tags.take([(request.station, tag) for tag in request.tags], self._now_us)
        if isinstance(full, tuple):
            return WriteAnswer.RATE_LIMITED, f"tag {full[1]}: more than {_rate_words(self._options.per_tag)}"
        return WriteAnswer.TAKEN, ""

    def _submit(self, ids: tuple[int, ...], values: tuple[float, ...], source: str, ttl_s: float | None,
                at_us: int) -> tuple[WriteAnswer, int]:
        """All of it, or nothing; and how many rows of the journal that is."""
        inbox = self._run.inbox
        sets = [(point_id, value) for point_id, value in zip(ids, values, strict=True) if not isnan(value)]
        set_ids = {point_id for point_id, _ in sets}
        released = [point_id for point_id, value in zip(ids, values, strict=True)
                    if isnan(value) and point_id not in set_ids]
        if any(point_id not in self._slots for point_id in released):
            return ANSWERS[inbox.release(released, source, Authority.OPERATOR, at_us=at_us)], 1
        status, rows = CommandStatus.ACCEPTED, 0
        if sets:
            status = inbox.submit_many([point_id for point_id, _ in sets], [value for _, value in sets], source,
                                       Authority.OPERATOR, ttl_s=ttl_s, at_us=at_us)
            rows += 1
        if released and status is CommandStatus.ACCEPTED:
            status = inbox.release(released, source, Authority.OPERATOR, at_us=at_us)
            rows += 1
        return ANSWERS[status], rows

    def _entry_us(self, at_us: int) -> int:
        """When what is submitted now enters (`CommandInbox`: never into an instant that is done)."""
        return max(self._run.now_us + 1, at_us)

    # -- words ---------------------------------------------------------------------------------------------------------

    def _changes(self, ids: Sequence[int], values: Sequence[float], tags: Sequence[str]) -> list[Change]:
        points = self._run.points
        found = []
        for i, (point_id, value) in enumerate(zip(ids, values, strict=False)):  # of a refused one values may lack
            known = 0 <= point_id < len(points)
            name = points.names[point_id] if known else f"point {point_id}"
            tag = tags[i] if i < len(tags) and tags[i] != name else ""
            found.append(Change(f"{tag} [{name}]" if tag else name, float(points.values[point_id]) if known else np.nan,
                                value, self._units[point_id] if known else ""))
        return found

    def _stands(self, point_id: int) -> str:
        """What is in force on an output, what stands, and why they differ."""
        inbox, slot, unit = self._run.inbox, self._slots[point_id], self._units[point_id]
        force, stands = float(inbox.in_force.values[slot]), float(self._run.points.values[point_id])
        asked = "nothing in force" if isnan(force) else (
            f"in force {figure(force, unit)} by {inbox.source_in_force(slot) or 'nobody'}")
        why = moved_words(self._decided(point_id), unit)
        return (f"{self._run.points.names[point_id]}: {asked}, {'nothing' if isnan(stands) else figure(stands, unit)} "
                f"stands{f' ({why})' if why else ''}")


def _rate_words(rate: RateLimit) -> str:
    return f"{rate.burst:g} at once and {rate.per_s:g} a second"
