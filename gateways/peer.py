"""Who is at the other end of a session, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a master may do; a higher one may do all that a lower one may."""

    OBSERVER = 0
    OPERATOR = 1
    ENGINEER = 2
    ADMIN = 3

    @classmethod
    def of(cls, word: str) -> Role | None:
        """The role of a word in a list, a scenario or a certificate, in any case; None: there is no such role."""
        return cls.__members__.get(word.strip().upper())


@dataclass(frozen=True, slots=True)
class Peer:
    """One session's other end.  `address` is ``host:port`` or a serial device; `session` counts from 1 in a run."""

    listener: str
    address: str
    host: str
    role: Role
    session: int
