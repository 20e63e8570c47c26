"""The doors of Modbus as plugins: TCP, TCP under TLS with roles from certificates, RTU on a serial line, RTU over TCP.

Each is a transport (`gateways.tcp`, `gateways.serial_line`) and a kind of session (`mbap`, `rtu`) with the options of
the scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self

from pydantic import Field, field_validator

from cosim.errors import GatewayError, ScenarioError
from cosim.plugins.stations import ListenerConfig
from gateways.admission import AdmissionRules, network
from gateways.listener import Hooks
from gateways.modbus.bank import Bank
from gateways.modbus.mbap import TcpSession
from gateways.modbus.rtu import RtuSession, t35_us
from gateways.modbus.session import ModbusSession, SessionOptions
from gateways.peer import Role
from gateways.serial_line import SerialDoor, SerialOptions
from gateways.session import SessionFactory
from gateways.tcp import TcpDoor, TcpOptions
from gateways.tls import TlsFiles, TlsIdentity

RoleWord = Literal["observer", "operator", "engineer", "admin"]
_NEVER_S = 1e9
"""Idle time of a listener that has none: thirty years."""


class _Tcp(ListenerConfig):
    """What every Modbus listener on TCP has."""

    host: str = Field("127.0.0.1", min_length=1, max_length=253,
                      description="Address to listen at; 127.0.0.1: only this machine, 0.0.0.0: all of its addresses.")
    port: int = Field(5020, ge=0, le=65535, description="TCP port; 0: any free one. Modbus's 502 needs privilege.")
    allow: tuple[str, ...] = Field((), max_length=1000, description="Addresses and networks that may connect "
                                   "(`10.0.0.7`, `10.0.0.0/8`); empty: all that reach the port.")
    read_only: bool = Field(False, description="Everybody is an observer here, whatever else gives them a role.")
    max_sessions: int = Field(1000, ge=1, le=10_000, description="Sessions at once; when full, the longest idle one "
                              "makes room.")
    max_per_address: int | None = Field(None, ge=1, description="Sessions at once from one address; when full, the "
                                        "longest idle of them makes room (default: 256; no cap on the loopback).")
    idle_s: float = Field(300.0, ge=0.0, le=1e6, description="A session that says nothing for so long is closed; "
                          "0: never.")
    frame_s: float = Field(5.0, gt=0.0, le=3600.0, description="Time from a request's first byte to its last.")
    write_stall_s: float = Field(10.0, gt=0.0, le=3600.0, description="A master that does not take its answers for so "
                                 "long is cut.")
    unknown_unit: Literal["silent", "exception"] = Field("silent", description="What a request to a unit that is not "
                                                         "here gets: nothing, or exception 0B as from a gateway.")
    any_unit: bool = Field(False, description="Where one station stands alone, it answers to every unit identifier.")

    @field_validator("allow")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            network(entry)
        return value


class _PlainTcp(_Tcp):
    """TCP without certificates: an address is all there is to tell masters apart."""

    role: RoleWord = Field("operator", description="Role of a master whose address `roles` does not name.")
    roles: dict[str, RoleWord] = Field({}, max_length=1000, description="Role by address or network "
                                       "(`{10.0.0.7: engineer}`); the most specific counts.")

    @field_validator("roles")
    @classmethod
    def _addresses(cls, value: dict[str, RoleWord]) -> dict[str, RoleWord]:
        for entry in value:
            network(entry)
        return value


class _Door(Protocol):
    async def open(self, make_session: SessionFactory, hooks: Hooks) -> None: ...
    async def close(self) -> None: ...
    def where(self) -> str: ...
    def counts(self) -> Mapping[str, int]: ...


class _ModbusListener:
    """A door and the sessions behind it (`gateways.listener.Listener`)."""

    family: ClassVar[str] = "listener"
    kind: ClassVar[str]

    def __init__(self, name: str, door: _Door, session: type[ModbusSession], options: SessionOptions) -> None:
        self.name = name
        self._door, self._session, self._options = door, session, options

    async def open(self, units: Mapping[int, Bank], hooks: Hooks) -> None:
        """Begin to listen; raises GatewayError in one line."""
        await self._door.open(lambda peer, now_us: self._session(units, peer, self._options, now_us), hooks)

    async def close(self) -> None:
        """End every session, let go."""
        await self._door.close()

    def where(self) -> str:
        """Address and port in use, or device and settings."""
        return self._door.where()

    def counts(self) -> Mapping[str, int]:
        """Counters of the transport and of all sessions."""
        return self._door.counts()


class _PlainListener(_ModbusListener):
    """TCP without certificates; kinds differ in how frames lie in it."""

    framing: ClassVar[type[ModbusSession]]

    @classmethod
    def build(cls, config: _PlainTcp, base_dir: Path) -> Self:  # noqa: ARG003 - no files
        """Not open yet."""
        door = TcpDoor(config.name, _tcp_options(config, _roles(config)))
        return cls(config.name, door, cls.framing, _session_options(config))


class ModbusTcp(_PlainListener):
    """Modbus TCP."""

    kind: ClassVar[str] = "modbus_tcp"
    framing: ClassVar[type[ModbusSession]] = TcpSession
    summary: ClassVar[str] = "Modbus TCP: any number of stations by unit identifier behind one port."

    class Config(_PlainTcp):
        """Modbus TCP."""

        kind: Literal["modbus_tcp"]


class ModbusRtuTcp(_PlainListener):
    """RTU frames over TCP, as serial device servers hand them on."""

    kind: ClassVar[str] = "modbus_rtu_tcp"
    framing: ClassVar[type[ModbusSession]] = RtuSession
    summary: ClassVar[str] = "Modbus RTU frames over TCP, as terminal servers send them."

    class Config(_PlainTcp):
        """Modbus RTU over TCP."""

        kind: Literal["modbus_rtu_tcp"]


class ModbusTls(_ModbusListener):
    """Modbus/TCP Security (v21, 2018-07-24): TLS 1.2 or later, mutual certificates, a role in the client's."""

    kind: ClassVar[str] = "modbus_tls"
    summary: ClassVar[str] = "Modbus/TCP Security: TLS with mutual certificates; the client's names its role."

    class Config(_Tcp):
        """Modbus/TCP Security."""

        kind: Literal["modbus_tls"]
        port: int = Field(8802, ge=0, le=65535, description="TCP port; 0: any free one. The standard's own, 802, needs "
                          "privilege.")
        ca: str = Field(min_length=1, description="PEM file with the certificates by which clients are trusted.")
        certificate: str = Field(min_length=1, description="PEM file with this server's certificate and chain.")
        key: str = Field(min_length=1, description="PEM file with its private key, without a passphrase.")
        no_role: Literal["refuse", "observer"] = Field("refuse", description="A client whose certificate names no role "
                                                       "(extension 1.3.6.1.4.1.50316.802.1): refused, or an observer.")
        handshake_s: float = Field(5.0, gt=0.0, le=60.0, description="Time that a TLS handshake may take.")

    def __init__(self, name: str, door: _Door, options: SessionOptions, identity: TlsIdentity) -> None:
        super().__init__(name, door, TcpSession, options)
        self._identity = identity

    @classmethod
    def build(cls, config: ModbusTls.Config, base_dir: Path) -> ModbusTls:
        """Not open yet; raises ScenarioError for files that are missing or do not fit."""
        files = TlsFiles(base_dir / config.ca, base_dir / config.certificate, base_dir / config.key)
        try:
            identity = TlsIdentity(config.name, files, Role.OBSERVER if config.no_role == "observer" else None)
        except GatewayError as error:
            raise ScenarioError(str(error)) from None
        options = replace(_tcp_options(config, AdmissionRules.of(config.allow)), handshake_s=config.handshake_s)
        return cls(config.name, TcpDoor(config.name, options, identity), _session_options(config), identity)

    def reload(self) -> str:
        """Read the certificate files again (which happens by itself, too); "" or why the old ones stay in use."""
        return self._identity.reload()


class ModbusRtu(_ModbusListener):
    """Modbus RTU on a serial line."""

    kind: ClassVar[str] = "modbus_rtu"
    summary: ClassVar[str] = "Modbus RTU on a serial line, shared with other units where there are any."

    class Config(ListenerConfig):
        """Modbus RTU."""

        kind: Literal["modbus_rtu"]
        device: str = Field(min_length=1, description="Serial device, e.g. `/dev/ttyUSB0`.")
        baud: int = Field(19200, ge=300, le=4_000_000, description="Bits a second.")
        parity: Literal["none", "even", "odd"] = Field("even", description="Parity; a pseudo-terminal has none.")
        stop_bits: Literal[1, 2] = Field(1, description="Stop bits; the standard asks for 2 where there is no parity.")
        role: RoleWord = Field("operator", description="Role of whoever asks on this line.")
        read_only: bool = Field(False, description="Whoever asks on this line is an observer.")
        turnaround_s: float = Field(0.0, ge=0.0, le=1.0, description="Silence before an answer, for RS-485 drivers "
                                    "that let go of the line late.")
        wait: bool = Field(False, description="Wait for a device that is missing at the start.")

    @classmethod
    def build(cls, config: ModbusRtu.Config, base_dir: Path) -> ModbusRtu:
        """Not open yet."""
        role = Role.OBSERVER if config.read_only else Role[config.role.upper()]
        line = SerialOptions(str(base_dir / config.device), config.baud, config.parity[0].upper(),
                             stop_bits=config.stop_bits, role=role, turnaround_s=config.turnaround_s, wait=config.wait)
        return cls(config.name, SerialDoor(config.name, line), RtuSession,
                   SessionOptions(t35_us=t35_us(config.baud)))


def _roles(config: _PlainTcp) -> AdmissionRules:
    return AdmissionRules.of(config.allow, {key: Role[word.upper()] for key, word in config.roles.items()},
                             Role[config.role.upper()])


def _tcp_options(config: _Tcp, rules: AdmissionRules) -> TcpOptions:
    rules = replace(rules, ceiling=Role.OBSERVER if config.read_only else Role.ADMIN, max_sessions=config.max_sessions,
                    max_per_address=config.max_per_address)
    return TcpOptions(config.host, config.port, rules, write_stall_us=round(config.write_stall_s * 1e6))


def _session_options(config: _Tcp) -> SessionOptions:
    return SessionOptions(config.frame_s, config.idle_s or _NEVER_S, config.unknown_unit, config.any_unit)
