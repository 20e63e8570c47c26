"""The door through which anything may ask for a change: commands, authority, and the journal of what came from outside.

Theory of operation
-------------------
A request is checked *now* and answered *now* (a protocol must reply at once); it takes effect when the simulation
next drains the inbox (the scan, or its own instant where the scenario says ``commands: on_arrival``).  ACCEPTED means
"will be put to the shield", not "was applied".

Every output point has one slot per authority.  A command stays in its slot until one of equal authority replaces it,
its time to live ends or it is released; what is in force is the live slot of the highest authority.  So a lower
command resumes by itself when a higher one ends (`cosim.arbiter`).

There are two ways in.  ``submit``/``submit_many``/``release`` are the outside's: they are journalled, and they enter
in the DECIDE phase of their instant, never into an instant that is done.  ``post`` is the way of what lives inside
the simulation (agents, schedules, disturbances): deterministic from scenario and seed, so it needs no journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, IntEnum
from math import isnan
from sys import float_info
from typing import Any, NamedTuple, Protocol

import numpy as np

from cosim.arbiter import NEVER_US, Arbiter, Block, InForce
from cosim.kernel import MICROSECONDS, Kernel, Phase
from cosim.points import Ids, Point, PointDatabase, PointKind, Vector

__all__ = ["LONG", "NEVER_US", "Authority", "Command", "CommandInbox", "CommandKind", "CommandStatus", "InForce",
           "Journal", "OutputBlock"]


class Authority(IntEnum):
    """Precedence of who asks; higher wins."""

    SCHEDULE = 0
    AGENT = 1
    OPERATOR = 2
    INTERLOCK = 3


class CommandStatus(Enum):
    """The immediate answer to a request."""

    ACCEPTED = "accepted"
    UNKNOWN_POINT = "unknown_point"
    NOT_WRITABLE = "not_writable"
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"
    BLOCKED = "blocked"
    """An interlock is in force on the point."""
    QUEUE_FULL = "queue_full"


# Looked up once per agent and period.
_ACCEPTED = CommandStatus.ACCEPTED
_INTERLOCK = Authority.INTERLOCK
_new = tuple.__new__  # a named tuple's own constructor is a Python function around it, at twice the cost


class CommandKind(IntEnum):
    """What a row of the journal or the record asks for."""

    SET = 0
    RELEASE = 1
    ACTION = 2
    """What an agent decided outside did: `source` is the agent, and it travels as the agent's own actions do."""
    SKIP = 3
    """Scans up to and including `values[0]` microseconds were dropped by a server that fell behind the wall clock."""


#: The point of a command that names none: it has a row in the record all the same.
NO_POINT = -1

#: Values from which a request of the inside is worth a `CommandInbox.block`.
LONG = 8

_SET = CommandKind.SET


class Command(NamedTuple):
    """One request: `ids` are point ids (n,), `values` engineering units (n,).

    `expires_us` is NEVER_US without time to live.  `external` marks what came through an outside door.
    (A named tuple: a frozen dataclass costs four times as much to make, and every agent makes one a period.)
    """

    t_us: int
    kind: CommandKind
    source: str
    authority: Authority
    ids: tuple[int, ...]
    values: tuple[float, ...]
    expires_us: int
    status: CommandStatus
    external: bool


class Journal(Protocol):
    """Where commands are written down: every one in the record, external ones in the journal too."""

    def command(self, command: Command) -> None:
        """Append one command as it entered (or was refused); the journal gives it its sequence number."""


class _Output(NamedTuple):
    """What the door checks of one output point."""

    slot: int
    low: float
    high: float
    binary: bool

    @classmethod
    def of(cls, slot: int, point: Point) -> _Output:
        # An unbounded point takes any number, and infinity is none.
        low, high = max(point.low, -float_info.max), min(point.high, float_info.max)
        return cls(slot, low, high, point.kind is PointKind.BINARY_OUTPUT)


class OutputBlock(NamedTuple):
    """Analogue outputs that are commanded together time and again: what the door checks, as vectors (n,)."""

    ids: tuple[int, ...]
    block: Block
    low: Vector
    high: Vector


class _Whole(NamedTuple):
    """A vector that waits for a drain: the command, where it goes, and its values once more (n,)."""

    command: Command
    block: Block
    values: Vector


class CommandInbox:
    """Checks, queues and arbitrates requests for output points.

    `wake` is called with the time at which a command has entered (the simulation may then ask for a SOLVE).
    At most `limit` commands wait to enter or for a drain; more are refused with QUEUE_FULL.
    """

    def __init__(self, points: PointDatabase, kernel: Kernel, journal: Journal, *,
                 wake: Callable[[int], None] | None = None, limit: int = 100_000) -> None:
        self.point_ids: Ids = np.array([i for i, p in enumerate(points.points) if p.kind.writable], np.int64)
        self._points, self._kernel, self._journal, self._wake, self._limit = points, kernel, journal, wake, limit
        self._outputs = {int(i): _Output.of(slot, points.points[i]) for slot, i in enumerate(self.point_ids)}
        self._arbiter = Arbiter(len(Authority), len(self.point_ids))
        self.on_action: Callable[[Command], None] | None = None
        """Who takes on the actions of agents decided outside."""
        self.on_skip: Callable[[int], None] | None = None
        """Who drops scans, up to and including a time."""
        self._queue: list[Any] = []
        """`Command` and `_Whole`, in the order in which they came."""
        self._coming = 0
        """Requests accepted at the outside doors that have not entered yet."""
        self.deciding = False
        """Set by the simulation while it waits at a decision: what is submitted then enters that very instant."""

    def __len__(self) -> int:
        return len(self.point_ids)

    # -- the outside doors -----------------------------------------------------------------------------------------

    def submit(self, point: str, value: float, source: str, authority: Authority = Authority.OPERATOR, *,
               ttl_s: float | None = None, at_us: int | None = None) -> CommandStatus:
        """Ask for one change by name; answered at once, in force from the next scan.  Never touches physics.

        It enters at ``max(last instant + 1 us, at_us)`` and is journalled, refused or not (a request for a point
        that does not exist has no id to journal and is only answered).
        """
        point_id = self._points.index.get(point)
        if point_id is None:
            return CommandStatus.UNKNOWN_POINT
        return self.submit_many((point_id,), (value,), source, authority, ttl_s=ttl_s, at_us=at_us)

    def submit_many(self, ids: Sequence[int], values: Sequence[float] | Vector, source: str,
                    authority: Authority = Authority.OPERATOR, *, ttl_s: float | None = None,
                    at_us: int | None = None) -> CommandStatus:
        """Ask for several changes in one request (one journal row): all of them or, if any is refused, none.

        A `ttl_s` that is NaN is NOT_A_NUMBER, one of no microsecond OUT_OF_RANGE; infinite, it never ends.
        """
        points, wanted = tuple(int(i) for i in ids), tuple(float(v) for v in values)
        t_us = self._entry_us(at_us)
        status, expires_us = self.check(points, wanted, authority), _expiry_us(t_us, ttl_s)
        if ttl_s is not None and expires_us <= t_us and status is _ACCEPTED:
            status = CommandStatus.NOT_A_NUMBER if isnan(ttl_s) else CommandStatus.OUT_OF_RANGE
        self._enter_later(Command(t_us, CommandKind.SET, source, authority, points, wanted, expires_us,
                                  status, True))
        return status

    def release(self, ids: Sequence[int], source: str, authority: Authority = Authority.OPERATOR, *,
                at_us: int | None = None) -> CommandStatus:
        """Let go of points at one authority: the next live lower command resumes."""
        points = tuple(int(i) for i in ids)
        status = CommandStatus.QUEUE_FULL if self._full() else _ACCEPTED
        for point_id in points:
            if status is _ACCEPTED and point_id not in self._outputs:
                status = self._no_output(point_id)
        self._enter_later(Command(self._entry_us(at_us), CommandKind.RELEASE, source, authority, points, (),
                                  NEVER_US, status, True))
        return status

    def submit_actions(self, actions: Iterable[tuple[str, tuple[int, ...], Sequence[float] | Vector]]) -> None:
        """What agents decided outside do now, as (agent, ids, values): `on_action` takes them on, one after another.

        Each is journalled as a row of its own; they enter together.
        """
        t_us = self._entry_us(None)
        commands = [_new(Command, (t_us, CommandKind.ACTION, agent, Authority.AGENT, ids, tuple(
            values.tolist() if values.__class__ is np.ndarray else map(float, values)), NEVER_US, _ACCEPTED, True))
            for agent, ids, values in actions]
        if commands:
            self._coming += len(commands)
            self._kernel.at(t_us, self._arrive_together, commands, Phase.DECIDE)

    def skip_scans(self, until_us: int, source: str) -> None:
        """Drop the scans after this instant up to and including `until_us`; journalled, so a replay drops them too."""
        self._enter_later(Command(self._entry_us(None), CommandKind.SKIP, source, Authority.INTERLOCK, (NO_POINT,),
                                  (float(until_us),), NEVER_US, CommandStatus.ACCEPTED, True))

    def reenter(self, command: Command) -> None:
        """Put a journalled command back in at its own time, with the status it had (replay).

        It does not count as coming: a replay puts the whole journal in at once, which the run itself did not.
        """
        self._kernel.at(command.t_us, self._enter, command, Phase.DECIDE)

    # -- the inside door -------------------------------------------------------------------------------------------

    def post(self, ids: tuple[int, ...], values: tuple[float, ...], source: str, authority: Authority,
             expires_us: int = NEVER_US) -> CommandStatus:
        """Ask from inside the simulation, now: not journalled (scenario and seed produce it again), but recorded."""
        # Not `_full`: what is still coming from outside is the wall clock's, and a replay knows nothing of it.
        status = CommandStatus.QUEUE_FULL if len(self._queue) >= self._limit else self._check(ids, values, authority)
        t_us = self._kernel.now_us
        command = _new(Command, (t_us, _SET, source, authority, ids, values, expires_us, status, False))
        self._journal.command(command)
        if status is _ACCEPTED:
            self._queue.append(command)
            if self._wake is not None:
                self._wake(t_us)
        return status

    def block(self, ids: tuple[int, ...]) -> OutputBlock | None:
        """These outputs as a block for `post_block`; None where one is none, or is binary."""
        outputs = [self._outputs[i] for i in ids if i in self._outputs]
        if len(outputs) < max(len(ids), 1) or any(output.binary for output in outputs):
            return None
        low, high = (np.array([getattr(output, end) for output in outputs]) for end in ("low", "high"))
        return OutputBlock(ids, Block.of([output.slot for output in outputs]), low, high)

    def post_block(self, outputs: OutputBlock, values: tuple[float, ...], source: str, authority: Authority,
                   expires_us: int = NEVER_US) -> CommandStatus:
        """As `post`, for all of a block: the same answer, row and effect, at a cost that hardly grows with its size."""
        ids, block, low, high = outputs
        vector = np.fromiter(values, np.float64, len(ids))
        status = _ACCEPTED
        if len(self._queue) >= self._limit:
            status = CommandStatus.QUEUE_FULL
        # NaN compares false, and goes the long way, as does whoever may meet an interlock.
        elif not (((low <= vector) & (vector <= high)).all() and self._arbiter.holds(block, authority)):
            status = self._check(ids, values, authority)
        t_us = self._kernel.now_us
        command = _new(Command, (t_us, _SET, source, authority, ids, values, expires_us, status, False))
        self._journal.command(command)
        if status is _ACCEPTED:
            self._queue.append(_new(_Whole, (command, block, vector)))
            if self._wake is not None:
                self._wake(t_us)
        return status

    def post_release(self, ids: tuple[int, ...], source: str, authority: Authority) -> None:
        """Let go from inside the simulation, now."""
        self._enter(Command(self._kernel.now_us, CommandKind.RELEASE, source, authority, ids, (), NEVER_US,
                            CommandStatus.ACCEPTED, False))

    def check(self, ids: tuple[int, ...], values: tuple[float, ...], authority: Authority) -> CommandStatus:
        """The answer a request would get now: the first refusal in the order of `ids`, else ACCEPTED."""
        if len(ids) != len(values):
            raise ValueError(f"{len(ids)} points and {len(values)} values: expected one value a point")
        return CommandStatus.QUEUE_FULL if self._full() else self._check(ids, values, authority)

    def _check(self, ids: tuple[int, ...], values: tuple[float, ...], authority: Authority) -> CommandStatus:
        outputs, winner = self._outputs, self._arbiter.winner
        for i, point_id in enumerate(ids):
            value, output = values[i], outputs.get(point_id)
            if output is None:
                return self._no_output(point_id)
            slot, low, high, binary = output
            if not low <= value <= high or (binary and value not in (0.0, 1.0)):
                return CommandStatus.OUT_OF_RANGE if value == value else CommandStatus.NOT_A_NUMBER
            if winner[slot] == _INTERLOCK > authority:
                return CommandStatus.BLOCKED
        return _ACCEPTED

    # -- the simulation's side -------------------------------------------------------------------------------------

    def drain(self, t_us: int) -> InForce:
        """Apply what entered, let expire what is over, and return what is in force at `t_us`.  Simulation only.

        The same object comes back while nothing changed, so a caller may compare by identity.
        """
        outputs, put = self._outputs, self._arbiter.put
        for waiting in self._queue:
            if waiting.__class__ is _Whole:
                (_, _, source, authority, _, _, expires_us, _, _), block, vector = waiting
                self._arbiter.put_block(block, authority, vector, expires_us, source)
                continue
            _, kind, source, authority, ids, values, expires_us, _, _ = waiting
            if kind is _SET:
                for i, point_id in enumerate(ids):
                    put(outputs[point_id][0], authority, values[i], expires_us, source)
            else:
                for point_id in ids:
                    self._arbiter.release(outputs[point_id].slot, authority)
        self._queue.clear()
        return self._arbiter.settle(t_us)

    @property
    def in_force(self) -> InForce:
        """What the last drain found in force."""
        return self._arbiter.in_force

    def source_in_force(self, slot: int) -> str:
        """Who sent the command that the last drain found in force on output `slot`; "" where nothing is."""
        return self._arbiter.source(slot)

    @property
    def next_expiry_us(self) -> int:
        """No command in force ends by its time to live before this (NEVER_US: none ever does)."""
        return self._arbiter.next_expiry_us

    def _entry_us(self, at_us: int | None) -> int:
        """Never into an instant that is done.  Requests of one time enter in the order in which they came."""
        return max(self._kernel.now_us + (0 if self.deciding else 1), at_us or 0)

    def _full(self) -> bool:
        return len(self._queue) + self._coming >= self._limit

    def _no_output(self, point_id: int) -> CommandStatus:
        return CommandStatus.NOT_WRITABLE if 0 <= point_id < len(self._points) else CommandStatus.UNKNOWN_POINT

    def _enter_later(self, command: Command) -> None:
        self._coming += command.status is _ACCEPTED
        self._kernel.at(command.t_us, self._arrive, command, Phase.DECIDE)

    def _arrive(self, command: Command) -> None:
        self._coming -= command.status is _ACCEPTED
        self._enter(command)

    def _arrive_together(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._arrive(command)

    def _enter(self, command: Command) -> None:
        self._journal.command(command)
        if command.kind is CommandKind.ACTION:
            assert self.on_action is not None, "an action came in, and nobody takes actions on"
            self.on_action(command)
            return
        if command.kind is CommandKind.SKIP:
            assert self.on_skip is not None, "scans are to be dropped, and nobody drops them"
            self.on_skip(int(command.values[0]))
            return
        if command.status is CommandStatus.ACCEPTED:
            self._queue.append(command)
            if self._wake is not None:
                self._wake(command.t_us)


def _expiry_us(t_us: int, ttl_s: float | None) -> int:
    """When a command of `t_us` ends; `t_us` itself for a time to live that is none (NaN, zero, negative)."""
    if ttl_s is None or ttl_s * MICROSECONDS >= NEVER_US - t_us:
        return NEVER_US
    return t_us + round(ttl_s * MICROSECONDS) if ttl_s > 0 else t_us
