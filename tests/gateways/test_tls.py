"""TLS doors: who gets in with which certificate, in which role, and certificates that change meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from cosim.errors import GatewayError
from gateways import tcp
from gateways.peer import Role
from gateways.tcp import TcpDoor, TcpOptions
from gateways.tls import TlsFiles, TlsIdentity
from tests.gateways.fakes import Authority, EchoSession, FakeHooks, settled, until, utf8

pytestmark = pytest.mark.asyncio


@pytest.fixture
def authority(tmp_path):
    """One authority and the server's files."""
    authority = Authority.make(tmp_path)
    authority.issue("server")
    return authority


def files_of(authority: Authority, name: str = "server") -> TlsFiles:
    """The server's files."""
    return TlsFiles(authority.file, authority.folder / f"{name}.crt", authority.folder / f"{name}.key")


@asynccontextmanager
async def opened(authority, no_role=None, handshake_s=5.0):
    """A TLS door on a free port, its hooks, its port and its identity."""
    identity = TlsIdentity("door", files_of(authority), no_role)
    door, hooks = TcpDoor("door", TcpOptions(port=0, handshake_s=handshake_s), identity), FakeHooks()
    await door.open(EchoSession, hooks)
    try:
        yield door, hooks, int(door.where().rpartition(":")[2]), identity
    finally:
        async with asyncio.timeout(5):
            await door.close()


def client(authority: Authority, name: str | None, role: bytes | None = None) -> ssl.SSLContext:
    """A master's context that trusts `authority`; `name` None: it has no certificate."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False
    if name is not None:
        context.load_cert_chain(*authority.issue(name, role))
    return context


async def connect(port, context):
    """Reader and writer."""
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def echo(pair, data=b"hello"):
    """Ask and compare."""
    pair[1].write(data)
    assert await asyncio.wait_for(pair[0].readexactly(len(data)), 5) == data


async def fails(port, context):
    """The connection ends without an answer, sooner or later (TLS 1.3 tells a client only after its own part)."""
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await echo(await connect(port, context))


@pytest.mark.parametrize("role", list(Role))
async def test_the_role_comes_from_the_certificate(authority, role):
    """Each of the four."""
    async with opened(authority) as (_, hooks, port, _):
        pair = await connect(port, client(authority, "scada", utf8(role.name.lower())))
        await echo(pair)
        assert hooks.peers[0].role is role
        pair[1].close()
        await until(lambda: [reason for _, reason in hooks.ended] == ["by the peer"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_12_and_13_are_spoken(authority, version):
    """Large answers too, in pieces of any size."""
    async with opened(authority) as (_, _, port, _):
        context = client(authority, "scada", utf8("operator"))
        context.minimum_version = context.maximum_version = version
        pair = await connect(port, context)
        await echo(pair, os.urandom(100_000).replace(b".", b","))
        pair[1].close()


async def test_older_tls_is_not_spoken(authority):
    """The context begins at 1.2 and wants a certificate."""
    context = TlsIdentity("door", files_of(authority)).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_a_certificate_without_a_role_is_refused_in_one_line(authority):
    """The handshake is sound, the session does not begin, the line says what was expected."""
    async with opened(authority) as (door, hooks, port, _):
        await fails(port, client(authority, "meter7"))
        await until(lambda: len(hooks.refusals) == 1)
        assert hooks.refusals[0][2] == ("certificate CN=meter7 has no role (extension 1.3.6.1.4.1.50316.802.1); "
                                        "expected one of observer, operator, engineer, admin")
        assert hooks.peers == []
        await until(lambda: door.counts()["open"] == 0)


async def test_a_certificate_without_a_role_may_look_where_the_scenario_says_so(authority):
    """no_role: observer."""
    async with opened(authority, Role.OBSERVER) as (_, hooks, port, _):
        pair = await connect(port, client(authority, "meter7"))
        await echo(pair)
        assert hooks.peers[0].role is Role.OBSERVER
        pair[1].close()


async def test_no_certificate_and_one_of_another_authority_are_refused(authority, tmp_path):
    """Mutual means mutual; each refusal has its reason."""
    (tmp_path / "other").mkdir()
    other = Authority.make(tmp_path / "other", "other")
    stranger = client(authority, None)
    stranger.load_cert_chain(*other.issue("stranger", utf8("admin")))
    async with opened(authority) as (door, hooks, port, _):
        await fails(port, client(authority, None))
        await fails(port, stranger)
        await until(lambda: len(hooks.refusals) == 2)
        reasons = [reason for _, _, reason in hooks.refusals]
        assert reasons[0] == "TLS handshake failed: peer did not return a certificate"
        assert reasons[1].startswith("TLS handshake failed: the client's certificate: unable to get local issuer")
        assert door.counts()["handshakes_failed"] == 2
        assert hooks.peers == []


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(12), b"\x16\x03\x01\xff\xff" + bytes(500),
                                     b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x0a", b""])
async def test_garbage_for_a_handshake_is_closed_and_told_of(authority, garbage):
    """HTTP, plain Modbus, zeros, half a hello, nothing at all: one refusal each, no session, and the door stays."""
    async with opened(authority, handshake_s=0.2) as (door, hooks, port, _):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.send(garbage)
            await until(lambda: len(hooks.refusals) == 1)
        assert hooks.refusals[0][2].startswith("TLS handshake failed: ")
        assert door.counts()["open"] == 0
        pair = await connect(port, client(authority, "scada", utf8("operator")))
        await echo(pair)
        pair[1].close()


async def test_a_hundred_broken_handshakes_leave_no_files_behind(authority):
    """Descriptors as before."""
    async with opened(authority) as (door, hooks, port, _):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.send(b"\x16\x03")
            await asyncio.sleep(0)
        await until(lambda: len(hooks.refusals) == 100 and door.counts()["open"] == 0)
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_reload_keeps_the_sessions_and_serves_new_ones_from_the_new_files(authority, tmp_path, monkeypatch):
    """New authority, certificate and key: found by themselves; the old session lives on."""
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)
    async with opened(authority) as (_, hooks, port, _):
        old = await connect(port, client(authority, "scada", utf8("operator")))
        await echo(old)
        old_client = client(authority, "late", utf8("operator"))
        (tmp_path / "new").mkdir()
        renewed = Authority.make(tmp_path / "new")
        renewed.issue("server")
        new_client = client(renewed, "scada", utf8("engineer"))
        for name in ("ca.crt", "server.crt", "server.key"):
            shutil.copy(tmp_path / "new" / name, tmp_path / name)
        await until(lambda: hooks.peers[-1].role is Role.OPERATOR)
        await _until_served(port, new_client)
        assert hooks.peers[-1].role is Role.ENGINEER
        await echo(old, b"still here")
        await fails(port, old_client)
        old[1].close()


async def _until_served(port, context):
    async with asyncio.timeout(5):
        while True:
            try:
                pair = await connect(port, context)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            await echo(pair)
            pair[1].close()
            return


async def test_a_broken_file_leaves_the_old_one_in_use_and_says_so(authority, caplog):
    """One line, once, until the file changes again."""
    async with opened(authority) as (_, _, port, identity):
        (authority.folder / "server.key").write_text("not a key")
        identity.refresh()
        identity.refresh()
        assert [record.message for record in caplog.records if record.name == "gateways.tls"] == [
            (f"listener door: key {authority.folder / 'server.key'} is no PEM private key; "
            "the certificates read before stay in use")]
        pair = await connect(port, client(authority, "scada", utf8("operator")))
        await echo(pair)
        authority.issue("server")
        assert identity.reload() == ""
        pair[1].close()


def _encrypt(path):
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


@pytest.mark.parametrize(("spoil", "line"), [
    (lambda folder: (folder / "ca.crt").unlink(), "ca {}/ca.crt: no such file"),
    (lambda folder: (folder / "server.crt").unlink(), "certificate {}/server.crt: no such file"),
    (lambda folder: (folder / "server.key").unlink(), "key {}/server.key: no such file"),
    (lambda folder: (folder / "server.crt").write_text("hello"),
     "certificate {}/server.crt holds no PEM certificate that can be read"),
    (lambda folder: shutil.copy(folder / "server.key", folder / "ca.crt"),
     "ca {}/ca.crt holds no PEM certificate that can be read"),
    (lambda folder: (folder / "server.key").write_bytes(b"\x00\xff"), "key {}/server.key is no PEM private key"),
    (lambda folder: shutil.copy(folder / "other.key", folder / "server.key"),
     "key {}/server.key does not belong to certificate {}/server.crt"),
    (lambda folder: _encrypt(folder / "server.key"),
     "key {}/server.key has a passphrase; expected a PEM key without one"),
    (lambda folder: ((folder / "ca.crt").unlink(), (folder / "ca.crt").mkdir()),
     "ca {}/ca.crt cannot be read: Is a directory")])
async def test_files_that_will_not_do_are_one_clear_line(authority, spoil, line):
    """Which file, what is wrong with it, what would do."""
    authority.issue("other")
    spoil(authority.folder)
    with pytest.raises(GatewayError) as caught:
        TlsIdentity("door", files_of(authority))
    assert str(caught.value) == line.replace("{}", str(authority.folder))


async def test_closing_ends_tls_sessions_in_time(authority):
    """Even of a client that does not answer the goodbye."""
    async with opened(authority) as (door, hooks, port, _):
        pair = await connect(port, client(authority, "scada", utf8("operator")))
        await echo(pair)
        silent = socket.create_connection(("127.0.0.1", port))
        await until(lambda: len(door._links) == 2)
        async with asyncio.timeout(4):
            await door.close()
        assert [reason for _, reason in hooks.ended] == ["the listener closed"]
        silent.close()
        pair[1].close()


async def test_a_tls_client_that_never_reads_is_cut(authority):
    """Backpressure works through TLS as well."""
    identity = TlsIdentity("door", files_of(authority))
    door, hooks = TcpDoor("door", TcpOptions(port=0, write_stall_us=60_000_000), identity), FakeHooks()
    await door.open(lambda peer, now_us: EchoSession(peer, now_us, times=50), hooks)
    _, writer = await connect(int(door.where().rpartition(":")[2]), client(authority, "scada", utf8("operator")))
    writer.transport.pause_reading()
    writer.write(b"x" * 20_000_000)
    await until(lambda: any(link._stalled_us is not None for link in door._links))
    await settled(hooks)
    assert hooks.bytes_in < 2_000_000
    hooks.ahead_us = 61_000_000
    await until(lambda: [reason for _, reason in hooks.ended] == ["does not read its answers"])
    writer.transport.abort()
    await door.close()
