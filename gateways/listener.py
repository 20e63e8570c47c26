"""A listener: a door for masters (a TCP port, TLS on one, a serial line), and what it tells whoever serves.

Opened by `hil.serve` inside its event loop.  A listener owns its sockets and sessions; it reads no clock itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateways.modbus.bank import Bank
from gateways.peer import Peer


class Hooks(Protocol):
    """What a listener is given by whoever serves: the sessions' clock, and ears for the evidence."""

    def now_us(self) -> int:
        """The sessions' clock: microseconds, monotonic, from an arbitrary start."""

    def next_session(self) -> int:
        """Number of the next session, from 1, over all listeners of a run."""

    def opened(self, peer: Peer) -> None:
        """A session has begun."""

    def closed(self, peer: Peer, reason: str) -> None:
        """A session has ended; `reason` in a few words (``idle for 60 s``, ``by the peer``, ``bad protocol id``)."""

    def exchanged(self, peer: Peer, now_us: int, data: bytes, answer: bytes) -> None:
        """Bytes came in at `now_us`, and these were handed to the transport for them; either may be empty.

        One call for both: it stands in the path of every request.
        """

    def refused(self, listener: str, address: str, reason: str) -> None:
        """A connection was closed before it became a session (allow-list, caps, certificate)."""


class Listener(Protocol):
    """One door."""

    name: str
    kind: str

    async def open(self, units: Mapping[int, Bank], hooks: Hooks) -> None:
        """Begin to listen; raises GatewayError (port in use, no such device, bad certificate) in one clear line."""

    async def close(self) -> None:
        """Stop listening, end every session after what it has to send (bounded wait), let go of everything."""

    def where(self) -> str:
        """For people: ``127.0.0.1:5020`` (the port in use, even when 0 was asked for) or ``/dev/ttyUSB0 19200 8N1``."""

    def counts(self) -> Mapping[str, int]:
        """Counters since opening: sessions, open, evicted, refused, requests, exceptions, bad_frames, …"""
