"""The four kinds of Modbus listeners: options, real sessions behind real transports, and their errors."""

from __future__ import annotations

import asyncio
import os
import ssl
import tty
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import ValidationError

from cosim.errors import ScenarioError
from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.listeners import ModbusRtu, ModbusRtuTcp, ModbusTcp, ModbusTls
from gateways.modbus.rtu import crc16
from gateways.peer import Role
from tests.gateways.fakes import Authority, FakeHooks, until, utf8

KINDS = (ModbusTcp, ModbusTls, ModbusRtu, ModbusRtuTcp)
READ_TWO = bytes.fromhex("010300070002")
TWO = bytes.fromhex("01030400070008")


class Registers:
    """A unit whose registers hold their addresses; only operators and above may write."""

    identification = MappingProxyType({0: b"Gridloop"})

    def read_bits(self, table, address, count, peer):
        """None here."""
        return ExceptionCode.ILLEGAL_DATA_ADDRESS

    def read_registers(self, table, address, count, peer):
        """Address by address."""
        assert table is Table.HOLDING_REGISTERS
        return b"".join((address + index).to_bytes(2, "big") for index in range(count))

    def write_bits(self, address, bits, peer, now_us, frame):
        """None here."""
        return ExceptionCode.ILLEGAL_DATA_ADDRESS

    def write_registers(self, address, data, peer, now_us, frame):
        """By role."""
        return None if peer.role >= Role.OPERATOR else ExceptionCode.ILLEGAL_FUNCTION

    def refused(self, code, peer, now_us, frame):
        """Nothing is kept."""

    def mask_register(self, address, masks, peer, now_us, frame):
        """None here."""
        return ExceptionCode.ILLEGAL_DATA_ADDRESS


def built(kind, folder: Path = Path(), **options):
    """A listener as a scenario would make it."""
    return kind.build(kind.Config(name="door", kind=kind.kind, **options), folder)


@asynccontextmanager
async def opened(listener):
    """Open, with unit 1 behind it."""
    hooks = FakeHooks()
    await listener.open({1: Registers()}, hooks)
    try:
        yield hooks, int(listener.where().rpartition(":")[2]) if "." in listener.where() else 0
    finally:
        await listener.close()


async def ask(port, request, size, context=None):
    """One connection, one request, `size` bytes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.readexactly(size), 5)
    finally:
        writer.close()


def mbap(frame: bytes, transaction: int = 1) -> bytes:
    """Unit and PDU with their head."""
    return transaction.to_bytes(2, "big") + b"\x00\x00" + len(frame).to_bytes(2, "big") + frame


def rtu(frame: bytes) -> bytes:
    """Unit and PDU with their checksum."""
    return frame + crc16(frame).to_bytes(2, "little")


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_every_kind_is_described(kind):
    """They become the reference."""
    missing = [name for name, field in kind.Config.model_fields.items() if not field.description and name != "kind"]
    assert missing == []
    assert kind.family == "listener"
    assert kind.summary.endswith(".")


def test_a_listener_is_for_this_machine_unless_told_otherwise():
    """Loopback, operator, 5020."""
    config = ModbusTcp.Config(name="door", kind="modbus_tcp")
    assert (config.host, config.port, config.role, config.allow) == ("127.0.0.1", 5020, "operator", ())
    assert built(ModbusTcp).where() == "127.0.0.1:5020"


@pytest.mark.parametrize("options", [{"allow": ["10.0.0.0/99"]}, {"roles": {"plc7": "admin"}}, {"role": "boss"},
                                     {"port": 70000}, {"max_sessions": 0}, {"colour": "red"}])
def test_options_that_make_no_sense_are_refused(options):
    """By the schema, before anything opens."""
    with pytest.raises(ValidationError):
        ModbusTcp.Config(name="door", kind="modbus_tcp", **options)


def test_a_missing_certificate_is_a_problem_of_the_scenario(tmp_path):
    """Found when it is built, not when the first master comes."""
    Authority.make(tmp_path)
    with pytest.raises(ScenarioError, match=r"certificate .*server\.crt: no such file"):
        built(ModbusTls, tmp_path, ca="ca.crt", certificate="server.crt", key="server.key")


@pytest.mark.asyncio
async def test_modbus_tcp_answers_a_burst_in_order():
    """Sixteen requests in one segment, sixteen answers."""
    async with opened(built(ModbusTcp, port=0)) as (_, port):
        burst = b"".join(mbap(READ_TWO, transaction) for transaction in range(16))
        answers = await ask(port, burst, 13 * 16)
        assert answers == b"".join(mbap(TWO, transaction) for transaction in range(16))


@pytest.mark.asyncio
async def test_rtu_over_tcp_answers():
    """The frames of a serial line in a stream."""
    async with opened(built(ModbusRtuTcp, port=0)) as (_, port):
        assert await ask(port, rtu(READ_TWO) * 2, 18) == rtu(TWO) * 2


@pytest.mark.asyncio
async def test_rtu_answers_on_a_line_and_counts():
    """A whole request, one in pieces, and a spoiled one, which gets nothing."""
    master, slave = os.openpty()
    tty.setraw(master)
    os.set_blocking(master, False)
    listener = built(ModbusRtu, device=os.ttyname(slave), parity="none")
    async with opened(listener):
        request = rtu(READ_TWO)
        os.write(master, request)
        assert await _line(master, 9) == rtu(TWO)
        os.write(master, READ_TWO + b"\x00\x00")
        await until(lambda: listener.counts()["bad_frames"] == 1)
        os.write(master, request[:3])
        os.write(master, request[3:])
        assert await _line(master, 9) == rtu(TWO)
        assert listener.counts()["requests"] == 2
    os.close(master)
    os.close(slave)


async def _line(master, size):
    data = b""
    async with asyncio.timeout(5):
        while len(data) < size:
            try:
                data += os.read(master, 100)
            except BlockingIOError:
                await asyncio.sleep(0.002)
    return data


@pytest.mark.asyncio
async def test_modbus_security_answers_by_the_role_in_the_certificate(tmp_path):
    """An operator writes; an observer gets illegal function."""
    authority = Authority.make(tmp_path)
    authority.issue("server")
    listener = built(ModbusTls, tmp_path, port=0, ca="ca.crt", certificate="server.crt", key="server.key")
    write = mbap(bytes.fromhex("01060001002a"))
    async with opened(listener) as (_, port):
        assert await ask(port, write, 12, _client(authority, "operator")) == write
        assert await ask(port, write, 9, _client(authority, "observer")) == mbap(bytes.fromhex("018601"))
        assert listener.reload() == ""


def _client(authority, word):
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False
    context.load_cert_chain(*authority.issue(word, utf8(word)))
    return context


@pytest.mark.asyncio
async def test_a_read_only_listener_makes_everybody_an_observer():
    """Whatever the roles say."""
    async with opened(built(ModbusTcp, port=0, read_only=True, roles={"127.0.0.1": "admin"})) as (hooks, port):
        assert await ask(port, mbap(bytes.fromhex("01060001002a")), 9) == mbap(bytes.fromhex("018601"))
        assert hooks.peers[0].role is Role.OBSERVER


@pytest.mark.asyncio
async def test_limits_of_the_scenario_reach_the_sessions():
    """Half a frame is closed after `frame_s`, silence after `idle_s`; 0 is never."""
    async with opened(built(ModbusTcp, port=0, frame_s=2, idle_s=30)) as (hooks, port):
        half, idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        half[1].write(b"\x00\x01\x00")
        await until(lambda: hooks.bytes_in == 3 and len(hooks.peers) == 2)
        hooks.ahead_us = 3_000_000
        assert await asyncio.wait_for(half[0].read(), 5) == b""
        hooks.ahead_us = 40_000_000
        assert await asyncio.wait_for(idle[0].read(), 5) == b""
        assert [reason for _, reason in hooks.ended] == ["frame not completed in 2 s", "idle for 30 s"]
        half[1].close()
        idle[1].close()
    async with opened(built(ModbusTcp, port=0, idle_s=0)) as (hooks, port):
        pair = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(hooks.peers) == 1)
        hooks.ahead_us = 10**12
        await asyncio.sleep(0.3)
        assert hooks.ended == []
        pair[1].close()


@pytest.mark.asyncio
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                                     bytes.fromhex("0001000000000103"), bytes.fromhex("00010000ffff0103")])
async def test_what_is_not_modbus_is_closed_and_counted(garbage):
    """HTTP, a TLS hello, wrong lengths."""
    listener = built(ModbusTcp, port=0)
    async with opened(listener) as (hooks, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await until(lambda: len(hooks.ended) == 1)
        assert listener.counts()["bad_frames"] == 1
        assert hooks.ended[0][1] in {"bad protocol id", "bad length"}
        writer.close()
