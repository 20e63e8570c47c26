"""Where a Modbus device is, as a person writes it.

=================================  ==============================================================
``HOST``, ``HOST:PORT``            Modbus TCP (port 502), or TLS (port 802) where TLS options are given
``tls:HOST:PORT``                  Modbus/TCP Security without certificates of one's own
``rtu:HOST:PORT``                  RTU frames over TCP, as serial device servers do
``serial:/dev/ttyUSB0@19200,E,1``  RTU on a serial line: speed, parity (N, E, O), stop bits
=================================  ==============================================================

An IPv6 host stands in brackets: ``[::1]:502``.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cosim.errors import GatewayError

TCP_PORT, TLS_PORT = 502, 802
_HOST = re.compile(r"^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/@]+))(?::(\d{1,5}))?$")
_SERIAL = re.compile(r"^(?P<device>[^@\s]+?)(?:@(?P<baud>\d{2,7})(?:,(?P<parity>[NEOneo])(?:,(?P<stop>[12]))?)?)?$")
_ACCEPTED = "expected HOST[:PORT], rtu:HOST:PORT, tls:HOST[:PORT] or serial:DEVICE[@BAUD[,N|E|O[,1|2]]]"


class Transport(Enum):
    """What carries the frames."""

    TCP = "tcp"
    TLS = "tls"
    RTU_OVER_TCP = "rtu"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: authorities to trust (None: the system's), and one's own certificate and key where asked for.

    `server_name` is the name that the device's certificate must bear; "": the host of its address.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One connection's other end.  For `SERIAL`, `host` is the device."""

    transport: Transport
    host: str
    port: int = 0
    baud: int = 19200
    parity: str = "E"
    stop_bits: int = 1
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        if self.transport is Transport.SERIAL:
            return f"{self.host}@{self.baud},{self.parity},{self.stop_bits}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        prefix = "" if self.transport is Transport.TCP else f"{self.transport.value}:"
        return f"{prefix}{host}:{self.port}"

    @property
    def is_rtu(self) -> bool:
        """Whether answers come without a transaction number, so that a late one looks like the next."""
        return self.transport in (Transport.RTU_OVER_TCP, Transport.SERIAL)


def parse_endpoint(text: str, tls: TlsFiles | None = None) -> Endpoint:
    """The endpoint that `text` names; raises GatewayError that says what is accepted."""
    kind, _, rest = text.partition(":")
    if kind == "serial":
        return _serial(text, rest, tls)
    transport = Transport.TCP if tls is None else Transport.TLS
    if kind in ("rtu", "tls") and rest and not rest.isdecimal():
        transport, text = Transport(kind), rest
    if transport is Transport.RTU_OVER_TCP and tls is not None:
        raise GatewayError(f"{text}: RTU over TCP takes no TLS options; expected HOST:PORT with them")
    match = _HOST.match(text)
    port = int(match.group(3)) if match and match.group(3) else {Transport.TLS: TLS_PORT}.get(transport, TCP_PORT)
    if match is None or not 0 < port <= 65535:
        raise GatewayError(f"'{text}' is no address of a device; {_ACCEPTED}")
    return Endpoint(transport, match.group(1) or match.group(2), port,
                    tls=(tls or TlsFiles()) if transport is Transport.TLS else None)


def _serial(text: str, rest: str, tls: TlsFiles | None) -> Endpoint:
    match = _SERIAL.match(rest)
    if match is None:
        raise GatewayError(f"'{text}' is no serial line; expected e.g. serial:/dev/ttyUSB0@19200,E,1")
    if tls is not None:
        raise GatewayError(f"{text}: a serial line takes no TLS options; leave out --ca, --certificate and --key")
    return Endpoint(Transport.SERIAL, match["device"], 0, int(match["baud"] or 19200), (match["parity"] or "E").upper(),
                    int(match["stop"] or 1))


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A verifying TLS 1.2+ client context (Modbus/TCP Security v21, 3); raises GatewayError naming a bad file."""
    for file in (files.ca, files.certificate, files.key):
        if file is not None and not file.is_file():
            raise GatewayError(f"{file}: no such file; expected a PEM file")
    if files.key is not None and files.certificate is None:
        raise GatewayError(f"{files.key}: a key without its certificate; give --certificate too")
    try:
        context = ssl.create_default_context(cafile=str(files.ca) if files.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if files.certificate is not None:
            context.load_cert_chain(str(files.certificate), str(files.key) if files.key else None)
    except (ssl.SSLError, OSError) as error:
        which = files.certificate or files.ca
        raise GatewayError(f"{which}: not usable for TLS: {getattr(error, 'reason', None) or error}") from None
    return context
