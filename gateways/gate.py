"""The one way in for writes from the wire: limits, the read-only switch, the inbox, the audit.

A station decodes a write and checks what its list says (access, roles, range, interlock).  Then it comes here, with
what it asks for or with its refusal, so that every write ends in the same place and in the same log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gateways.peer import Peer


class WriteAnswer(Enum):
    """What came of a write, at once.  TAKEN means: in the inbox, before the shield; not: applied."""

    TAKEN = "taken"
    READ_ONLY = "read_only"
    """The gateway is switched to read-only."""
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    """By the station itself; the request says why."""
    OUT_OF_RANGE = "out_of_range"
    NOT_A_NUMBER = "not_a_number"
    NOT_WRITABLE = "not_writable"
    BLOCKED = "blocked"
    """An interlock of the run is in force on the point."""
    QUEUE_FULL = "queue_full"


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One write as it came: who, through which station, the bytes, and what the station made of them.

    `ids` and `values` (engineering units) are what is asked for; `tags` name them as the list does.  A value of NaN
    releases its point: the next live lower command resumes.  `refusal` is the station's own reason not to (then
    nothing is submitted), "" where it has none.  `arrival_us` is simulation time.
    """

    station: str
    peer: Peer
    frame: bytes
    arrival_us: int
    tags: tuple[str, ...]
    ids: tuple[int, ...]
    values: tuple[float, ...]
    refusal: str = ""
    ttl_s: float | None = None


class Gate(Protocol):
    """What stations need of the gate (`hil.gate.CommandGate` is the one of a served run; tests bring a fake)."""

    def sim_us(self, now_us: int) -> int:
        """Simulation time of an arrival at `now_us` on the sessions' clock."""

    def write(self, request: WriteRequest) -> WriteAnswer:
        """Judge, submit and audit one write."""

    def own(self, station: str, ids: tuple[int, ...], values: tuple[float, ...], why: str, t_us: int) -> WriteAnswer:
        """A station's own doing (reversion timer, comm loss): submitted and audited, not limited.  NaN releases."""
