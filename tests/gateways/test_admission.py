"""Who may come in, in which role, and who makes room."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.admission import AdmissionRules, Census, is_loopback, network, plain_host
from gateways.peer import Role


@dataclass(eq=False)
class Seat:
    """A session as far as room is concerned."""

    host: str
    active_us: int = 0
    proven: bool = True


def test_without_an_allow_list_everybody_may_come():
    """Empty means all."""
    assert AdmissionRules.of().refusal("192.0.2.1") == ""


@pytest.mark.parametrize(("host", "there"), [
    ("10.1.2.3", True), ("10.255.0.1", True), ("192.0.2.7", True), ("fd00::9", True),
    ("192.0.2.8", False), ("11.0.0.1", False), ("::1", False), ("fd01::9", False)])
def test_the_allow_list_knows_addresses_and_networks_of_both_families(host, there):
    """Who is on it comes in, all others do not."""
    rules = AdmissionRules.of(allow=["10.0.0.0/8", "192.0.2.7", "fd00::/16"])
    assert (rules.refusal(host) == "") is there


def test_an_entry_that_is_no_network_is_named_with_what_would_do():
    """The message has the word and an example."""
    with pytest.raises(ValueError, match=r"'10\.0\.0\.0/99' is neither .*10\.0\.0\.0/8"):
        network("10.0.0.0/99")


def test_the_most_specific_network_gives_the_role_whatever_the_order():
    """A host's own entry beats its network's."""
    rules = AdmissionRules.of(roles={"10.0.0.0/8": Role.OBSERVER, "10.0.0.7": Role.ADMIN}, role=Role.OPERATOR)
    assert [rules.role_of(host) for host in ("10.0.0.7", "10.0.0.8", "192.0.2.1")] == [
        Role.ADMIN, Role.OBSERVER, Role.OPERATOR]


def test_the_ceiling_of_a_read_only_listener_holds_for_every_role():
    """Whatever the list says."""
    rules = replace(AdmissionRules.of(roles={"10.0.0.7": Role.ADMIN}), ceiling=Role.OBSERVER)
    assert rules.role_of("10.0.0.7") == rules.role_of("10.0.0.8") == rules.capped(Role.ENGINEER) == Role.OBSERVER


def test_ipv4_in_the_clothes_of_ipv6_is_ipv4():
    """Else an allow list of IPv4 networks would refuse everybody on a dual-stack socket."""
    assert [plain_host(host) for host in ("::ffff:10.0.0.7", "fe80::1%eth0", "10.0.0.7")] == [
        "10.0.0.7", "fe80::1", "10.0.0.7"]


def test_loopback_is_known_in_all_its_forms():
    """So that nobody is warned for nothing, and everybody for something."""
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "::", "plc7")] == [
        True, True, True, True, False, False, False]


def test_a_full_listener_gives_up_the_longest_idle():
    """Not the oldest and not the newest."""
    census: Census[Seat] = Census(AdmissionRules(max_sessions=3))
    seats = [Seat("a", 5), Seat("b", 2), Seat("c", 9)]
    for seat in seats:
        assert census.to_evict(seat.host) is None or len(census) == 3
        census.enter(seat)
    assert census.to_evict("127.0.0.1") is seats[1]


def test_an_address_that_has_used_its_share_evicts_only_itself():
    """A flood from one host leaves the others alone, even those idle longer."""
    census: Census[Seat] = Census(AdmissionRules(max_sessions=10, max_per_address=2))
    quiet, first, second = Seat("10.0.0.1", 0), Seat("10.0.0.2", 5), Seat("10.0.0.2", 3)
    for seat in (quiet, first, second):
        census.enter(seat)
    assert census.to_evict("10.0.0.2") is second
    assert census.to_evict("10.0.0.1") is None


def test_whoever_holds_most_of_a_full_listener_evicts_only_itself():
    """One address cannot take an operator's place, not even where the cap of an address is above that of all."""
    census: Census[Seat] = Census(AdmissionRules(max_sessions=4))
    operator = Seat("10.0.0.1", 0)
    census.enter(operator)
    for active_us in (1, 2, 3, 4, 5):
        leaver = census.to_evict("10.0.0.2")
        assert leaver is not operator
        if leaver is not None:
            census.leave(leaver)
        census.enter(Seat("10.0.0.2", active_us))
    assert census.to_evict("10.0.0.3") is operator


def test_within_its_fair_part_an_address_evicts_the_longest_idle_of_all():
    """Where all hold alike, nobody has to cut his own sessions for a newcomer."""
    census: Census[Seat] = Census(AdmissionRules(max_sessions=4))
    idle = Seat("10.0.0.2", 0)
    for seat in (Seat("10.0.0.1", 8), Seat("10.0.0.1", 9), idle, Seat("10.0.0.2", 7)):
        census.enter(seat)
    assert census.to_evict("10.0.0.1") is idle


def test_who_has_never_been_answered_goes_first():
    """A connection (or a TLS handshake) that says nothing does not push out a master that polls slowly."""
    census: Census[Seat] = Census(AdmissionRules(max_sessions=2))
    master, silent = Seat("10.0.0.1", 0), Seat("10.0.0.2", 900, proven=False)
    for seat in (master, silent):
        census.enter(seat)
    assert census.to_evict("10.0.0.3") is silent


def test_a_network_is_written_as_one():
    """10.0.0.7/8 is refused, for it may mean one address; IPv4 in IPv6's clothes is IPv4."""
    with pytest.raises(ValueError, match=r"expected 10\.0\.0\.0/8 .*or 10\.0\.0\.7 "):
        network("10.0.0.7/8")
    assert network("::ffff:10.0.0.7") == network("10.0.0.7")
    assert network("::ffff:10.0.0.0/104") == network("10.0.0.0/8")


def test_the_loopback_has_no_share_of_its_own_unless_told():
    """All masters of one machine share one address there."""
    rules = AdmissionRules(max_sessions=1000)
    assert (rules.cap_of("127.0.0.1"), rules.cap_of("10.0.0.1")) == (1000, 256)
    assert replace(rules, max_per_address=4).cap_of("127.0.0.1") == 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=60))
def test_caps_hold_whatever_comes_and_goes(events):
    """Making room first, no newcomer ever brings a listener or an address above its cap."""
    census: Census[Seat] = Census(AdmissionRules(max_sessions=5, max_per_address=3))
    for letter, active_us, leave in events:
        host = f"10.0.0.{ord(letter)}"
        if leave and len(census):
            gone = next(iter(census))
            census.leave(gone)
            census.leave(gone)
            continue
        leaver = census.to_evict(host)
        if leaver is not None:
            census.leave(leaver)
        census.enter(Seat(host, active_us))
        assert len(census) <= 5
        assert sum(seat.host == host for seat in census) <= 3
