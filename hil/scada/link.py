"""One connection to Modbus devices, by pymodbus's asynchronous client; outcomes are values, said in words.

What is ours around the client: the reason of a failed connect, the bytes of each exchange, an answer at once when the
connection dies (pymodbus would wait for its timeout), "not Modbus" told from silence, and no retries: who scans knows
better when to ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import termios
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerType
from pymodbus.transport import CommParams, CommType

from cosim.errors import GatewayError
from gateways.modbus.bank import BIT_TABLES, Table
from hil.scada.endpoint import Endpoint, Transport, client_context

# pymodbus logs what we report as outcomes; without a level of its own it would print it.
logging.getLogger("pymodbus_internal").setLevel(logging.CRITICAL + 1)
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)

#: Bytes of an exchange kept for messages.
_KEPT = 520
#: Quiet time on an RTU line after an answer failed to come: a late one must not pass for the next.
_QUIET_S = 0.1
#: Time between two tries where nobody listens.
_KNOCK_S = 0.1

EXCEPTIONS = {
    1: "illegal function: the device does not offer this, or not to this role",
    2: "illegal data address: the device has nothing there, or not for this",
    3: "illegal data value: out of range, or only part of a value",
    4: "device failure: it could not do it, or the value is not to be trusted",
    5: "acknowledge: accepted, but it will take long",
    6: "device busy: ask again later",
    8: "memory parity error",
    10: "gateway path unavailable: no way to that unit",
    11: "gateway target failed to respond: nobody at that unit",
}


class Outcome(Enum):
    """How one exchange ended."""

    DONE = "done"
    REFUSED = "refused"
    """The device answered with an exception."""
    SILENT = "silent"
    LOST = "lost"
    """There is no connection (any more)."""
    GARBLED = "garbled"
    """Something came that is not the answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One exchange.  `data` as on the wire: registers big-endian, or bits packed least significant first."""

    outcome: Outcome
    data: bytes = b""
    code: int = 0
    words: str = ""
    """What went wrong, for a person; "" when done."""
    sent: bytes = b""
    received: bytes = b""

    @property
    def is_done(self) -> bool:
        """Whether the device did as asked."""
        return self.outcome is Outcome.DONE


class _TlsClient(AsyncModbusTcpClient):
    """pymodbus's TCP client over TLS, with its framer for streams (its TLS framer wants a frame in every read)."""

    def __init__(self, params: CommParams) -> None:
        self.comm_params = params
        super().__init__("", framer=FramerType.SOCKET, retries=0)


class Link:
    """A connection that is opened, asked and closed; requests are taken one at a time, in order."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self.endpoint, self.timeout_s = endpoint, timeout_s
        self._client: Any = None
        self._asking, self._opening = asyncio.Lock(), asyncio.Lock()
        self._why: Exception | None = None
        self._sent = self._heard = b""

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._client is not None and bool(self._client.connected)

    async def open(self) -> str:
        """Connect; "" when it stands, else why not."""
        async with self._opening:
            if self.is_open:
                return ""
            self.close()
            try:
                self._client = self._made()
                self._why = None
                if await self._client.connect():
                    return ""
            except GatewayError as error:
                return str(error)
            except Exception as error:  # drivers of serial lines throw what they like (termios.error)
                self._why = error
            self.close()
            return f"{self.endpoint}: {_in_words(self._why, self.timeout_s)}"

    async def open_within(self, wait_s: float) -> str:
        """Open, and while nobody listens there again and again for so long: it may be about to start."""
        problem = await self.open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while problem and _is_refused(self._why):
                    await asyncio.sleep(_KNOCK_S)
                    problem = await self.open()
        return problem

    def close(self) -> None:
        """Let go of the connection; open() makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # -- requests -----------------------------------------------------------------------------------------------------

    async def read(self, unit: int, table: Table, address: int, count: int) -> Reply:
        """Functions 1 to 4."""
        name = {Table.COILS: "read_coils", Table.DISCRETE_INPUTS: "read_discrete_inputs",
                Table.HOLDING_REGISTERS: "read_holding_registers",
                Table.INPUT_REGISTERS: "read_input_registers"}[table]
        is_bits = table in BIT_TABLES

        def data_of(pdu: Any) -> bytes | None:
            if is_bits:
                return _packed(pdu.bits[:count]) if len(pdu.bits) == (count + 7) // 8 * 8 else None
            return b"".join(r.to_bytes(2, "big") for r in pdu.registers) if len(pdu.registers) == count else None

        return await self._ask(unit, lambda client: getattr(client, name)(address, count=count, device_id=unit),
                               data_of)

    async def write_coils(self, unit: int, address: int, bits: list[bool]) -> Reply:
        """Function 5 for one coil, 15 for several."""
        if len(bits) == 1:
            return await self._ask(unit, lambda client: client.write_coil(address, bits[0], device_id=unit))
        return await self._ask(unit, lambda client: client.write_coils(address, bits, device_id=unit))

    async def write_registers(self, unit: int, address: int, data: bytes) -> Reply:
        """Function 6 for one register, 16 for several; `data` is 2 bytes a register."""
        words = [int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2)]
        if len(words) == 1:
            return await self._ask(unit, lambda client: client.write_register(address, words[0], device_id=unit))
        return await self._ask(unit, lambda client: client.write_registers(address, words, device_id=unit))

    async def mask_register(self, unit: int, address: int, and_mask: int, or_mask: int) -> Reply:
        """Function 22: bits of one register without touching the others."""
        return await self._ask(unit, lambda client: client.mask_write_register(
            address=address, and_mask=and_mask, or_mask=or_mask, device_id=unit))

    async def identify(self, unit: int, object_id: int = 0) -> tuple[Reply, dict[int, bytes]]:
        """Function 43/14, basic: vendor, product code, revision; the objects by id."""
        found: dict[int, bytes] = {}

        def keep(pdu: Any) -> bytes:
            for key, value in sorted(pdu.information.items()):
                found[int(key)] = value if isinstance(value, bytes) else b", ".join(value)
            return b""

        reply = await self._ask(unit, lambda client: client.read_device_information(
            read_code=1, object_id=object_id, device_id=unit), keep)
        return reply, found

    async def _ask(self, unit: int, call: Callable[[Any], Awaitable[Any]],
                   data_of: Callable[[Any], bytes | None] = lambda _pdu: b"") -> Reply:
        async with self._asking:
            client = self._client
            if client is None or not client.connected:
                return Reply(Outcome.LOST, words=f"{self.endpoint}: not connected")
            self._sent = self._heard = b""
            try:
                pdu = await call(client)
            except (ConnectionException, OSError) as error:
                return self._failed(Outcome.LOST, f"{self.endpoint}: the connection was lost{_because(error)}")
            except ModbusException:
                if self.endpoint.is_rtu:
                    await asyncio.sleep(_QUIET_S)
                return self._unanswered(unit)
            return self._judged(pdu, unit, data_of)

    def _judged(self, pdu: Any, unit: int, data_of: Callable[[Any], bytes | None]) -> Reply:
        asked = self._sent[1 if self.endpoint.is_rtu else 7]
        if pdu.function_code & 0x7F != asked:
            return self._failed(Outcome.GARBLED, f"{self.endpoint}: asked function {asked}, answered "
                                                 f"{pdu.function_code}: not the answer to what was asked")
        if pdu.isError():
            code = int(pdu.exception_code)
            reply = self._failed(Outcome.REFUSED, f"exception {code:02d}, {EXCEPTIONS.get(code, 'of its own making')}")
            return Reply(reply.outcome, b"", code, reply.words, reply.sent, reply.received)
        data = data_of(pdu)
        if data is None:
            return self._failed(Outcome.GARBLED, f"{self.endpoint}: unit {unit} answered with another amount of data "
                                                 f"than was asked for")
        return Reply(Outcome.DONE, data, 0, "", self._sent, self._heard)

    def _unanswered(self, unit: int) -> Reply:
        if not self._heard:
            return self._failed(Outcome.SILENT, f"{self.endpoint}: no answer from unit {unit} within "
                                                f"{self.timeout_s:g} s")
        return self._failed(Outcome.GARBLED, f"{self.endpoint}: what came back is not Modbus: "
                                             f"{self._heard[:16].hex(' ')} ({_printable(self._heard[:16])})")

    def _failed(self, outcome: Outcome, words: str) -> Reply:
        return Reply(outcome, words=words, sent=self._sent, received=self._heard)

    # -- the client ---------------------------------------------------------------------------------------------------

    def _made(self) -> Any:
        """A new client with our ears on it."""
        client = self._bare()
        # Disconnecting for silence is for who scans to decide.
        client.set_max_no_responses(1_000_000)
        context, create, decode = client.ctx, client.ctx.call_create, client.ctx.callback_data

        async def creating() -> Any:
            try:
                return await create()
            except Exception as error:
                self._why = error
                raise

        def fail(error: Exception) -> None:
            if not context.response_future.done():
                context.response_future.set_exception(error)

        def heard(data: bytes, addr: Any = None) -> int:
            self._heard = data[:_KEPT]
            try:
                return int(decode(data, addr=addr))
            except Exception as error:  # whatever a malformed answer does to the decoder
                fail(ModbusException(f"not decodable: {error}"))
                return len(data)

        def sent(sending: bool, data: bytes) -> bytes:
            if sending:
                self._sent = data[:_KEPT]
            return data

        def lost(error: Exception | None) -> None:
            fail(ConnectionResetError(f": {error}" if error else ": closed by the other end"))

        context.call_create, context.callback_data = creating, heard
        context.trace_packet, context.callback_disconnected = sent, lost
        return client

    def _bare(self) -> Any:
        there = self.endpoint
        if there.transport is Transport.SERIAL:
            return AsyncModbusSerialClient(there.host, baudrate=there.baud, parity=there.parity, retries=0,
                                           stopbits=there.stop_bits, timeout=self.timeout_s, reconnect_delay=0)
        if there.tls is not None:
            context = client_context(there.tls)
            client = _TlsClient(CommParams(comm_type=CommType.TLS, host=there.host, port=there.port, sslctx=context,
                                           comm_name="comm", reconnect_delay=0, timeout_connect=self.timeout_s))
            if there.tls.server_name:
                client.ctx.call_create = self._named(client, context, there.tls.server_name)
            return client
        framer = FramerType.RTU if there.is_rtu else FramerType.SOCKET
        return AsyncModbusTcpClient(there.host, port=there.port, framer=framer, timeout=self.timeout_s, retries=0,
                                    reconnect_delay=0)

    def _named(self, client: Any, context: ssl.SSLContext, name: str) -> Callable[[], Coroutine[Any, Any, Any]]:
        """How to connect when the certificate bears another name than the address."""
        protocol = client.ctx

        async def create() -> Any:
            loop = asyncio.get_running_loop()
            return await loop.create_connection(protocol.handle_new_connection, self.endpoint.host, self.endpoint.port,
                                                ssl=context, server_hostname=name)

        return create


def _packed(bits: list[bool]) -> bytes:
    """Bits as on the wire."""
    number = sum(1 << i for i, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def _because(error: Exception) -> str:
    text = str(error)
    return text if text.startswith(":") else f": {text}" if text else ""


def _is_refused(error: Exception | None) -> bool:
    """Whether nobody listens; of a name with several addresses asyncio tells of all tries in one text."""
    text = str(error).lower()
    return isinstance(error, ConnectionRefusedError) or "refused" in text or f"[errno {errno.ECONNREFUSED}]" in text


def _in_words(error: Exception | None, timeout_s: float) -> str:
    """Why a connection could not be made."""
    match error:
        case None | TimeoutError() | asyncio.CancelledError():
            return f"no connection within {timeout_s:g} s; is the address right, and is there a firewall?"
        case _ if _is_refused(error):
            return "connection refused: nobody listens there"
        case socket.gaierror():
            return "no such host"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message} (--ca names an authority to trust)"
        case ssl.SSLError():
            return f"the TLS handshake failed: {error.reason or error}"
        case ConnectionResetError() | BrokenPipeError():
            return "it closed the connection at once; does it speak what was asked for (TLS, say)?"
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EHOSTUNREACH,
                                                      errno.ENETUNREACH):
        return os.strerror(error.errno).lower()
    if isinstance(error, termios.error):
        return f"the line does not take these settings ({error.args[-1]}); a pseudo-terminal has no parity: @19200,N"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _printable(data: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 else "." for b in data)
