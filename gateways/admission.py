"""Who may open a session behind a listener, in which role, and who makes room when it is full.  No socket, no clock.

A listener that is full does not lock its masters out: the session that has been idle longest goes.  Idle counts from
the last *answer*, not the last byte, so that a client which drips bytes without ever asking anything goes first.
Who has never been given an answer goes before all who have: to connect and say nothing pushes nobody out.
Where one address has used up its own share, or holds more of a full listener than its fair part (as many places for
each address), a session of that same address goes, so a flood evicts only itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Generic, Protocol, TypeVar

from gateways.peer import Role

Network = IPv4Network | IPv6Network


def network(text: str) -> Network:
    """An address (``10.0.0.7``) or a network (``10.0.0.0/8``); raises ValueError saying what would do.

    IPv4 in IPv6's clothes is IPv4 here as it is in `plain_host`.  A network with an address's bits set is refused:
    who writes 10.0.0.7/8 may not know that it lets in sixteen million.
    """
    try:
        found = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address (10.0.0.7, ::1) nor a network (10.0.0.0/8)") from None
    if "/" in text and ip_address(text.partition("/")[0].strip()) != found.network_address:
        raise ValueError(f"{text!r} is an address with a network's length; expected {found} (that whole network) or "
                         f"{text.partition('/')[0].strip()} (one address)")
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    return ip_network((mapped, found.prefixlen - 96)) if mapped is not None and found.prefixlen >= 96 else found


def plain_host(host: str) -> str:
    """The address as people write it: IPv4 in IPv6's clothes (``::ffff:10.0.0.7``) as IPv4, no zone (``%eth0``)."""
    host = host.partition("%")[0]
    mapped = getattr(ip_address(host), "ipv4_mapped", None)
    return str(mapped) if mapped is not None else host


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host` (an address, or ``localhost``)."""
    try:
        return ip_address(plain_host(host)).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What a listener's file says about who may come in.

    `allow` empty: everyone who can reach the port.  `roles`: the most specific network that holds an address gives
    its role, else `role`; nobody gets more than `ceiling`.  `max_per_address` None: 256, and no cap of its own for
    this machine's loopback, where all masters share one address.
    """

    allow: tuple[Network, ...] = ()
    roles: tuple[tuple[Network, Role], ...] = ()
    role: Role = Role.OPERATOR
    ceiling: Role = Role.ADMIN
    max_sessions: int = 1000
    max_per_address: int | None = None

    @classmethod
    def of(cls, allow: Iterable[str] = (), roles: Mapping[str, Role] | None = None,
           role: Role = Role.OPERATOR) -> AdmissionRules:
        """From words; raises ValueError for what is no address or network."""
        pairs = ((network(key), value) for key, value in (roles or {}).items())
        return cls(allow=tuple(network(entry) for entry in allow), role=role,
                   roles=tuple(sorted(pairs, key=lambda pair: -pair[0].prefixlen)))

    def refusal(self, host: str) -> str:
        """Why `host` may not come in; "": it may."""
        address = ip_address(host)
        if not self.allow or any(address in entry for entry in self.allow):
            return ""
        return "not on the allow list"

    def role_of(self, host: str) -> Role:
        """The role of a master at `host`, which no certificate vouches for."""
        address = ip_address(host)
        return self.capped(next((role for entry, role in self.roles if address in entry), self.role))

    def capped(self, role: Role) -> Role:
        """`role`, or the most that this listener grants."""
        return min(role, self.ceiling)

    def cap_of(self, host: str) -> int:
        """Sessions that one address may have."""
        if self.max_per_address is not None:
            return self.max_per_address
        return self.max_sessions if is_loopback(host) else 256


class Seat(Protocol):
    """A session (or a handshake that wants to become one), as far as room is concerned."""

    host: str
    active_us: int
    """When it last gave an answer, or began."""
    proven: bool
    """Whether it has given an answer yet."""


S = TypeVar("S", bound=Seat)


class Census(Generic[S]):
    """Who sits behind one listener, in order of arrival."""

    def __init__(self, rules: AdmissionRules) -> None:
        self.rules = rules
        self._seats: dict[S, None] = {}
        self._by_host: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seats)

    def __iter__(self) -> Iterator[S]:
        return iter(tuple(self._seats))

    def to_evict(self, host: str) -> S | None:
        """Who must go before a newcomer from `host` sits down: the longest idle; None: there is room."""
        own = self._by_host.get(host, 0)
        is_full = len(self._seats) >= self.rules.max_sessions
        greedy = own * len(self._by_host) > len(self._seats)
        if own >= self.rules.cap_of(host) or (is_full and greedy):
            return min((seat for seat in self._seats if seat.host == host), key=_idleness)
        return min(self._seats, key=_idleness) if is_full else None

    def enter(self, seat: S) -> None:
        """Take a place."""
        self._seats[seat] = None
        self._by_host[seat.host] = self._by_host.get(seat.host, 0) + 1

    def leave(self, seat: S) -> None:
        """Give the place back; leaving twice is leaving once."""
        if seat not in self._seats:
            return
        del self._seats[seat]
        left = self._by_host[seat.host] - 1
        if left:
            self._by_host[seat.host] = left
        else:
            del self._by_host[seat.host]


def _idleness(seat: Seat) -> tuple[bool, int]:
    """Least: the first to go."""
    return seat.proven, seat.active_us
