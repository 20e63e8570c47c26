"""The TCP door on real loopback sockets: answers, limits, floods, and its errors."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import resource
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from cosim.errors import GatewayError
from gateways import sockets, tcp
from gateways.admission import AdmissionRules
from gateways.peer import Role
from gateways.tcp import TcpDoor, TcpOptions
from tests.gateways.fakes import EchoSession, FakeHooks, settled, until

pytestmark = pytest.mark.asyncio

ANY = TcpOptions(port=0)


@asynccontextmanager
async def opened(options=ANY, make=EchoSession):
    """A door on a free port, its hooks, and its port."""
    door, hooks = TcpDoor("door", options), FakeHooks()
    await door.open(make, hooks)
    try:
        yield door, hooks, int(door.where().rpartition(":")[2])
    finally:
        async with asyncio.timeout(5):
            await door.close()


async def ask(port, data, size=None):
    """One connection, one request: what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readexactly(len(data) if size is None else size), 5)
    finally:
        writer.close()
        await writer.wait_closed()


def files() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def hold_all_files() -> list[int]:
    """Descriptors opened until there are none left."""
    held = []
    while True:
        try:
            held.append(os.dup(0))
        except OSError:
            return held


async def test_what_the_session_gives_comes_back_and_the_hooks_hear_of_it():
    """Session, bytes and end, each told once and in order."""
    async with opened() as (door, hooks, port):
        assert await ask(port, b"hello") == b"hello"
        await until(lambda: len(hooks.ended) == 1)
    assert hooks.told == ["received", "sent"]
    assert (hooks.bytes_in, hooks.bytes_out) == (5, 5)
    peer = hooks.peers[0]
    assert (peer.listener, peer.host, peer.role, peer.session) == ("door", "127.0.0.1", Role.OPERATOR, 1)
    assert peer.address.startswith("127.0.0.1:")
    assert hooks.ended == [(peer, "by the peer")]
    assert door.counts() == {"sessions": 1, "evicted": 0, "refused": 0, "never_read": 0, "handshakes_failed": 0,
                             "open": 0, "requests": 1}


async def test_a_master_that_half_closes_still_gets_its_answers():
    """FIN after the request, as scripts with netcat do."""
    async with opened() as (_, hooks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 5000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 5) == b"x" * 5000
        writer.close()
        await until(lambda: bool(hooks.ended))


async def test_every_accepted_socket_has_no_delay_and_keeps_alive():
    """Nagle costs 44 ms a poll; a master that is gone without a word must be found out."""
    async with opened() as (door, _, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: door.counts()["sessions"] == 1)
        connection = next(iter(door._links))._transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        writer.close()


async def test_a_session_that_wants_to_close_is_closed_after_its_last_answer():
    """The answer first, then the end, with the session's own reason."""
    async with opened() as (_, hooks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"quit")
        assert await asyncio.wait_for(reader.read(-1), 5) == b"quit"
        await until(lambda: [reason for _, reason in hooks.ended] == ["asked to"])
        writer.close()


async def test_the_timers_of_sessions_are_served_by_the_sweep():
    """An idle session says goodbye and goes."""
    async with opened(make=lambda peer, now_us: EchoSession(peer, now_us, idle_us=60_000_000)) as (_, hooks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: bool(hooks.peers))
        hooks.ahead_us = 61_000_000
        assert await asyncio.wait_for(reader.read(-1), 5) == b"bye"
        await until(lambda: [reason for _, reason in hooks.ended] == ["idle"])
        writer.close()


async def test_an_exception_of_a_session_ends_that_session_only(caplog):
    """The others go on, and the reason says that it is our mistake."""
    async with opened() as (_, hooks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"crash")
        assert await asyncio.wait_for(reader.read(-1), 5) == b""
        assert await ask(port, b"still here") == b"still here"
        await until(lambda: len(hooks.ended) == 2)
        assert hooks.ended[0][1] == "an error of ours: ValueError: made to fail"
        writer.close()


async def test_a_full_door_evicts_the_longest_idle_session():
    """The one that has not been answered for longest, though it is not the oldest and keeps dripping bytes."""
    rules = AdmissionRules(max_sessions=3)
    async with opened(replace(ANY, rules=rules)) as (door, hooks, port):
        pairs = []
        for _ in range(3):
            pairs.append(await asyncio.open_connection("127.0.0.1", port))
            await until(lambda: len(hooks.peers) == len(pairs))
        for index in (0, 2):
            pairs[index][1].write(b"ask")
            await pairs[index][0].readexactly(3)
        pairs[1][1].write(b".drip")
        await until(lambda: hooks.bytes_in == 11)
        assert await ask(port, b"newcomer") == b"newcomer"
        assert [(peer.session, reason) for peer, reason in hooks.ended[:1]] == [
            (2, "evicted: the longest idle of a full listener")]
        pairs[0][1].write(b"ask")
        assert await pairs[0][0].readexactly(3) == b"ask"
        assert door.counts()["evicted"] == 1
        for _, writer in pairs:
            writer.close()


async def test_who_is_not_on_the_allow_list_is_closed_at_once_and_told_of():
    """No session, no byte, one refusal."""
    options = replace(ANY, rules=AdmissionRules.of(allow=["10.0.0.0/8"]))
    async with opened(options) as (door, hooks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(-1), 5) == b""
        assert hooks.peers == []
        assert hooks.refusals[0][0] == "door"
        assert hooks.refusals[0][1].startswith("127.0.0.1:")
        assert hooks.refusals[0][2] == "not on the allow list"
        assert door.counts()["refused"] == 1
        writer.close()


async def test_roles_come_from_the_address():
    """As the listener's file says."""
    options = replace(ANY, rules=AdmissionRules.of(roles={"127.0.0.0/8": Role.ENGINEER}, role=Role.OBSERVER))
    async with opened(options) as (_, hooks, port):
        await ask(port, b"x")
        assert hooks.peers[0].role is Role.ENGINEER


async def test_a_client_that_never_reads_is_cut_and_cannot_grow_memory():
    """Its answers stop at the high-water mark, its requests are no longer read, then it is gone."""
    def make(peer, now_us):
        return EchoSession(peer, now_us, times=50)

    options = replace(ANY, write_stall_us=60_000_000)
    async with opened(options, make) as (door, hooks, port):
        flooder = socket.create_connection(("127.0.0.1", port))
        flooder.setblocking(False)
        loop = asyncio.get_running_loop()
        flood = asyncio.create_task(loop.sock_sendall(flooder, b"x" * 20_000_000))
        await until(lambda: next(iter(door._links))._stalled_us is not None if door._links else False)
        link = next(iter(door._links))
        await settled(hooks)
        taken = hooks.bytes_in
        assert await ask(port, b"healthy", 350) == b"healthy" * 50
        assert hooks.bytes_in == taken + 7
        assert link._transport.get_write_buffer_size() < options.write_high + 50 * tcp.READ_BYTES
        hooks.ahead_us = 61_000_000
        await until(lambda: ("does not read its answers" in [reason for _, reason in hooks.ended]))
        assert door.counts()["never_read"] == 1
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
        flooder.close()


async def test_a_slow_reader_gets_everything_in_order():
    """Backpressure pauses the reading and goes on: nothing is lost."""
    async with opened(make=lambda peer, now_us: EchoSession(peer, now_us, times=1)) as (_, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = bytes(range(256)) * 20_000
        writing = asyncio.create_task(_write(writer, data))
        back = await asyncio.wait_for(reader.readexactly(len(data)), 10)
        await writing
        assert back == data
        writer.close()


async def _write(writer, data):
    writer.write(data)
    await writer.drain()


async def test_slow_loris_does_not_keep_the_healthy_waiting():
    """200 connections with half a request each; the healthy one is answered a hundred times meanwhile."""
    async with opened() as (door, hooks, port):
        lorises = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(200)))
        for _, writer in lorises:
            writer.write(b".")
        await until(lambda: hooks.bytes_in == 200)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(100):
            writer.write(b"poll")
            assert await asyncio.wait_for(reader.readexactly(4), 1) == b"poll"
        assert door.counts()["open"] == 201
        for _, other in (*lorises, (None, writer)):
            other.close()


async def test_a_storm_of_reconnects_leaves_no_files_behind():
    """500 connections, each cut with a reset or closed; file descriptors as before."""
    async with opened() as (door, hooks, port):
        await ask(port, b"warm up")
        before = files()
        for index in range(500):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.send(b"x")
            if index % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            await asyncio.sleep(0)
        await until(lambda: len(hooks.ended) == len(hooks.peers) and door.counts()["open"] == 0)
        assert files() <= before
        assert len(hooks.peers) > 450


async def test_a_flood_at_a_full_door_stays_within_its_cap():
    """Connections that were evicted before they had begun are gone as well."""
    options = replace(ANY, rules=AdmissionRules(max_sessions=5))
    async with opened(options) as (door, hooks, port):
        before = files()
        flood = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        await until(lambda: door.counts()["evicted"] == 55)
        await until(lambda: len(door._links) == 5 and len(hooks.peers) - len(hooks.ended) == 5)
        assert files() <= before + 60 + 5
        for connection in flood:
            connection.close()
        await until(lambda: not door._links)
        assert files() <= before


async def test_out_of_files_is_said_once_and_passes(caplog, monkeypatch):
    """The loop does not spin, the log has one line, and who waited is let in when files are free again."""
    monkeypatch.setattr(tcp, "ACCEPT_PAUSE_S", 0.02)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with opened() as (door, _, port):
        gc.collect()
        waiting = socket.create_connection(("127.0.0.1", port))
        resource.setrlimit(resource.RLIMIT_NOFILE, (files() + 20, limits[1]))
        held = hold_all_files()
        try:
            await until(lambda: door.counts().get("accept_errors", 0) >= 3)
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await until(lambda: door.counts()["open"] == 1)
        waiting.close()
    said = [record.message for record in caplog.records if record.name == "gateways.tcp"]
    assert len(said) == 1
    assert "cannot accept: out of files (ulimit -n)" in said[0]


async def test_closing_hands_over_what_is_pending_and_is_bounded():
    """Sessions end with a reason, a client that never reads does not hold the door open."""
    async with opened(make=lambda peer, now_us: EchoSession(peer, now_us, times=200)) as (door, hooks, port):
        polite = await asyncio.open_connection("127.0.0.1", port)
        deaf = socket.create_connection(("127.0.0.1", port))
        await until(lambda: len(hooks.peers) == 2)
        for _ in range(100):
            deaf.send(b"y" * 2000)
            await asyncio.sleep(0)
        await until(lambda: any(link._stalled_us is not None for link in door._links))
        async with asyncio.timeout(4):
            await door.close()
        assert await asyncio.wait_for(polite[0].read(-1), 5) == b""
        assert sorted(reason for _, reason in hooks.ended) == ["the listener closed"] * 2
        assert door.counts()["open"] == 0
        polite[1].close()
        deaf.close()


async def test_a_port_in_use_is_one_clear_line():
    """What, where, and what to do."""
    async with opened() as (_, _, port):
        with pytest.raises(GatewayError) as caught:
            await TcpDoor("other", replace(ANY, port=port)).open(EchoSession, FakeHooks())
        assert str(caught.value) == (f"listener other: 127.0.0.1:{port}: the port is in use; "
                                     "choose another with `port:` or --port")


@pytest.mark.parametrize(("host", "part"), [("192.0.2.1", "192.0.2.1:0: not an address of this machine"),
                                            ("no.such.host.invalid", "host 'no.such.host.invalid' is no address")])
async def test_a_host_that_is_not_ours_is_one_clear_line(host, part):
    """An address of somebody else, and a name of nobody."""
    with pytest.raises(GatewayError, match=part):
        await TcpDoor("door", replace(ANY, host=host)).open(EchoSession, FakeHooks())


async def test_ipv6_is_listened_to_and_shown_as_people_write_it():
    """[::1]:port."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        async with opened(replace(ANY, host="::1")) as (door, hooks, port):
            assert door.where() == f"[::1]:{port}"
            reader, writer = await asyncio.open_connection("::1", port)
            writer.write(b"six")
            assert await reader.readexactly(3) == b"six"
            assert hooks.peers[0].host == "::1"
            writer.close()
    except GatewayError:
        pytest.skip("no IPv6 loopback here")


async def test_one_warning_for_a_door_that_others_can_reach(caplog):
    """And none for the loopback."""
    with caplog.at_level(logging.WARNING, "gateways.tcp"):
        async with opened():
            assert caplog.records == []
        async with opened(replace(ANY, host="0.0.0.0")) as (door, _, _):
            assert [record.message for record in caplog.records] == [
                (f"listener door at {door.where()} can be reached from other machines: open to everybody, "
                "without encryption")]


async def test_a_port_that_needs_privilege_says_so_and_names_another():
    """Modbus's own ports are below 1024; the answer is one that is not."""
    assert sockets.bind_error("127.0.0.1", 802, PermissionError(errno.EACCES, "Permission denied")) == (
        "127.0.0.1:802: no permission (ports below 1024 need privilege); choose e.g. 8802 with `port:` or --port")
