"""One connection: outcomes as values, in words, without waiting for what cannot come."""

from __future__ import annotations

import pytest

from gateways.modbus.bank import Table
from hil.scada.blocks import plan
from hil.scada.endpoint import parse_endpoint
from hil.scada.link import Link, Outcome
from hil.scada.splitting import read_split
from tests.hil.scada.device import Device
from tests.hil.scada.test_core import entry


async def opened(device: Device, timeout_s: float = 0.5, kind: str = "") -> Link:
    """A link to the device."""
    link = Link(parse_endpoint(f"{kind}127.0.0.1:{device.port}"), timeout_s)
    assert await link.open() == ""
    return link


@pytest.mark.asyncio
async def test_reads_and_writes_of_every_kind(device: Device) -> None:
    """Functions 1, 3, 5, 6, 15, 16, 22, 43/14 against a device written apart."""
    link = await opened(device)
    assert (await link.read(1, Table.HOLDING_REGISTERS, 12, 1)).data == b"\x00\x01"
    assert (await link.read(1, Table.COILS, 5, 1)).data == b"\x01"
    assert (await link.write_coils(1, 5, [False])).is_done
    assert (await link.write_registers(1, 12, b"\x00\x03")).is_done
    assert (await link.mask_register(1, 12, 0xFFFD, 0)).is_done
    assert (await link.write_registers(1, 10, b"\x00\x00\x42\x28")).is_done
    values = device.units[1]
    assert (values["co"][5], values["hr"][12], values["hr"][10], values["hr"][11]) == (0, 1, 0, 0x4228)
    reply, objects = await link.identify(1)
    assert reply.is_done
    assert objects == {0: b"ACME", 1: b"X1", 2: b"1.0"}
    link.close()


@pytest.mark.asyncio
async def test_an_exception_is_said_in_words(device: Device) -> None:
    """With its number, and the bytes both ways."""
    link = await opened(device)
    reply = await link.read(1, Table.HOLDING_REGISTERS, 500, 2)
    assert (reply.outcome, reply.code) == (Outcome.REFUSED, 2)
    assert "exception 02, illegal data address" in reply.words
    assert reply.sent.hex() == "0001000000060103" + "01f40002"
    assert reply.received.hex() == "000100000003018302"
    link.close()


@pytest.mark.asyncio
async def test_silence_rubbish_and_a_dead_connection_are_told_apart(device: Device) -> None:
    """And the connection serves again once the device does."""
    link = await opened(device, 0.1)
    device.is_mute = True
    assert (await link.read(1, Table.COILS, 5, 1)).outcome is Outcome.SILENT
    device.is_mute = False
    assert (await link.read(1, Table.COILS, 5, 1)).is_done
    device.garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    reply = await link.read(1, Table.COILS, 5, 1)
    assert reply.outcome is Outcome.GARBLED
    assert "not Modbus" in reply.words
    link.close()
    assert (await link.read(1, Table.COILS, 5, 1)).outcome is Outcome.LOST


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", ["00010000000301832b", "000100000002018a", "00010000000401030142",
                                    "000100000005010302", "0001000000070104040000", "00020000000501030200ff",
                                    "ffff00000003018302", "000100000000"])
async def test_malformed_answers_never_pass_for_data(device: Device, answer: str) -> None:
    """Wrong function, length, byte count, transaction: an outcome, not a crash, not a value."""
    link = await opened(device, 0.1)
    device.garbage = bytes.fromhex(answer)
    reply = await link.read(1, Table.HOLDING_REGISTERS, 10, 2)
    assert not reply.is_done
    assert reply.words
    device.garbage = b""
    if not link.is_open:
        assert await link.open() == ""
    assert (await link.read(1, Table.HOLDING_REGISTERS, 10, 2)).is_done
    link.close()


@pytest.mark.asyncio
async def test_a_device_that_hangs_up_is_noticed_at_once(device: Device) -> None:
    """Not after the timeout."""
    import asyncio

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read(8)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    link = Link(parse_endpoint(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"), 30.0)
    assert await link.open() == ""
    reply = await asyncio.wait_for(link.read(1, Table.COILS, 5, 1), 5)
    assert reply.outcome is Outcome.LOST
    server.close()


@pytest.mark.asyncio
async def test_why_a_connection_failed_is_said(device: Device) -> None:
    """Refused, no such host, no such line, no TLS there, a missing file."""
    said = [await Link(parse_endpoint(text), 1.0).open() for text in
            ("127.0.0.1:1", "serial:/dev/ttyNOPE", f"tls:127.0.0.1:{device.port}")]
    assert "refused: nobody listens" in said[0]
    assert "no such file" in said[1]
    assert "TLS" in said[2]


@pytest.mark.asyncio
async def test_one_bad_register_costs_only_itself(device: Device) -> None:
    """A block with one value that gives exception 04 is read around it."""
    device.units[1]["hr"] = {a: a for a in range(20)}
    device.exception["hr", 7] = 4
    link = await opened(device)
    entries = [entry(a) for a in range(20)]
    (block,) = plan(entries, frozenset())
    pieces = await read_split(lambda b: link.read(b.unit, b.table, b.address, b.count), block)
    refused = [e.address for part, reply in pieces if not reply.is_done for e in part.entries]
    read = {e.address: int.from_bytes(part.part(reply.data, e), "big")
            for part, reply in pieces if reply.is_done for e in part.entries}
    assert refused == [7]
    assert read == {a: a for a in range(20) if a != 7}
    link.close()
