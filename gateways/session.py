"""What a transport asks of a server session, whatever the protocol: bytes and times in, bytes and times out.

`gateways.tcp` and `gateways.serial_line` drive anything of this shape.  Times are microseconds of the sessions' own
clock (`Hooks.now_us`), which the session never reads itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from gateways.peer import Peer


class ServerSession(Protocol):
    """One conversation with one master."""

    @property
    def closing(self) -> str:
        """Why the transport is to close after what was given out, in a few words; "": go on."""

    def receive(self, data: bytes, now_us: int) -> bytes:
        """Take what came in, in pieces of any size; gives what is to go out now (may be empty)."""

    def next_us(self) -> int | None:
        """When `on_timer` wants to be called next, or None."""

    def on_timer(self, now_us: int) -> bytes:
        """Act on the timers that are due; gives what is to go out."""

    def counts(self) -> Mapping[str, int]:
        """Counters since the beginning of the session."""


SessionFactory = Callable[[Peer, int], ServerSession]
"""Makes the session of a peer, which begins at a time (microseconds)."""
