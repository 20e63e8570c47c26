"""Servers that `gridloop serve` is compared with, each run as a process of its own.

    python -m benchmarks.gateway_peers echo|pymodbus|pymodbustcp

It binds a free port of the loopback, prints it, and serves unit 1 with 100 registers and 100 coils until its standard
input ends.  `echo` is the floor: a bare asyncio protocol that checks nothing and answers every 12 bytes with bytes that
were ready before.  libmodbus has no Python here: `LIBMODBUS_SERVER` is its usual select() loop in C.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys

REGISTERS = 100
#: What every server here holds, so that answers are as long and as full as ours.
WORDS = [1000 + i for i in range(REGISTERS)]
READ_BYTES = 12
"""Length of a read request over TCP."""


class Echo(asyncio.Protocol):
    """As many answers as there are whole requests; the transaction is the request's, so that clients can check it."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer[2:]
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio has set TCP_NODELAY."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One request in one segment is nearly every call."""
        if len(data) == READ_BYTES and not self._rest:
            self._transport.write(data[:2] + self._answer)
            return
        data = self._rest + data
        whole = len(data) - len(data) % READ_BYTES
        self._rest = data[whole:]
        self._transport.write(b"".join(data[at:at + 2] + self._answer for at in range(0, whole, READ_BYTES)))


def read_answer(count: int) -> bytes:
    """The answer to a read of `count` registers from unit 1."""
    return struct.pack(f">HHHBBB{count}H", 0, 0, 3 + 2 * count, 1, 3, 2 * count, *WORDS[:count])


def _stop_with_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 64) else ended.set())


async def _echo() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    answer = read_answer(10)
    server = await loop.create_server(lambda: Echo(answer), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    _stop_with_input(loop, ended)
    await ended.wait()


async def _pymodbus() -> None:
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    bits = SimData(0, count=REGISTERS, values=True, datatype=DataType.BITS)
    words = SimData(0, values=list(WORDS), datatype=DataType.REGISTERS)
    with socket.socket() as probe:  # it tells nobody which port it was given
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    device = SimDevice(1, simdata=([bits], [bits], [words], [words]))
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    print(port, flush=True)
    ended = asyncio.Event()
    _stop_with_input(asyncio.get_running_loop(), ended)
    await ended.wait()


def _pymodbustcp() -> None:
    from pyModbusTCP.server import DataBank, ModbusServer

    bank = DataBank(coils_size=REGISTERS, d_inputs_size=REGISTERS, h_regs_size=REGISTERS, i_regs_size=REGISTERS)
    bank.set_holding_registers(0, WORDS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ModbusServer("127.0.0.1", port, no_block=True, data_bank=bank)
    server.start()
    print(port, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # its threads wait for sessions


LIBMODBUS_SERVER = r"""
#include <errno.h>
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *map = modbus_mapping_new(100, 100, 100, 100);
    int listener = modbus_tcp_listen(ctx, 512);
    if (listener < 0 || !map) return 1;
    for (int i = 0; i < 100; i++) map->tab_registers[i] = map->tab_input_registers[i] = 1000 + i;
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    getsockname(listener, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    fd_set all, ready;
    FD_ZERO(&all);
    FD_SET(listener, &all);
    FD_SET(0, &all);
    int top = listener;
    for (;;) {
        ready = all;
        if (select(top + 1, &ready, NULL, NULL, NULL) < 0) return 1;
        for (int fd = 0; fd <= top; fd++) {
            if (!FD_ISSET(fd, &ready)) continue;
            if (fd == 0) return 0;
            if (fd == listener) {
                int got = accept(listener, NULL, NULL);
                if (got < 0) continue;
                if (got >= FD_SETSIZE) { close(got); continue; }
                FD_SET(got, &all);
                if (got > top) top = got;
                continue;
            }
            modbus_set_socket(ctx, fd);
            int length = modbus_receive(ctx, query);
            if (length > 0) {
                modbus_reply(ctx, query, length, map);
            } else if (length == -1) {
                close(fd);
                FD_CLR(fd, &all);
            }
        }
    }
}
"""
"""As its documentation's example for many clients: one select() loop that receives whole requests and replies."""


def main() -> int:
    """Serve until standard input ends."""
    kind = sys.argv[1]
    if kind == "pymodbustcp":
        _pymodbustcp()
    else:
        asyncio.run({"echo": _echo, "pymodbus": _pymodbus}[kind]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
