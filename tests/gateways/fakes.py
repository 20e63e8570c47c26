"""What transports are tested with: hooks that keep what they are told, a session that echoes, certificates."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateways.certificates import ROLE_OID
from gateways.peer import Peer


class FakeHooks:
    """Keeps everything; its clock is the machine's, and can be moved ahead."""

    def __init__(self) -> None:
        self.ahead_us = 0
        self.peers: list[Peer] = []
        self.ended: list[tuple[Peer, str]] = []
        self.refusals: list[tuple[str, str, str]] = []
        self.bytes_in = 0
        self.bytes_out = 0
        self.told: list[str] = []

    def now_us(self) -> int:
        """The machine's monotonic clock, and how far the test has moved it."""
        return time.monotonic_ns() // 1000 + self.ahead_us

    def next_session(self) -> int:
        """From 1."""
        return len(self.peers) + 1

    def opened(self, peer: Peer) -> None:
        """Kept."""
        self.peers.append(peer)

    def closed(self, peer: Peer, reason: str) -> None:
        """Kept."""
        self.ended.append((peer, reason))

    def exchanged(self, peer: Peer, now_us: int, data: bytes, answer: bytes) -> None:
        """Noted as what came in and what went out."""
        if data:
            self.received(peer, now_us, data)
        if answer:
            self.sent(peer, now_us, answer)

    def received(self, peer: Peer, now_us: int, data: bytes) -> None:
        """Counted, and that it came before the session acted."""
        self.bytes_in += len(data)
        self.told.append("received")

    def sent(self, peer: Peer, now_us: int, data: bytes) -> None:
        """Counted."""
        self.bytes_out += len(data)
        self.told.append("sent")

    def refused(self, listener: str, address: str, reason: str) -> None:
        """Kept."""
        self.refusals.append((listener, address, reason))


class EchoSession:
    """Gives back what it gets, `times` over; ``quit`` closes; ``crash`` raises; idle for `idle_us` closes."""

    def __init__(self, peer: Peer, now_us: int, idle_us: int = 10**12, times: int = 1) -> None:
        self.peer, self.closing, self.times = peer, "", times
        self._idle_us, self._last_us, self._requests = idle_us, now_us, 0

    def receive(self, data: bytes, now_us: int) -> bytes:
        """The same bytes; nothing for what begins with a dot (half a frame)."""
        self._requests += 1
        self._last_us = now_us
        if data == b"crash":
            raise ValueError("made to fail")
        if data == b"quit":
            self.closing = "asked to"
        return b"" if data.startswith(b".") else data * self.times

    def next_us(self) -> int | None:
        """When it will have been idle."""
        return self._last_us + self._idle_us

    def on_timer(self, now_us: int) -> bytes:
        """Idle: says goodbye and closes."""
        self.closing = "idle"
        return b"bye"

    def counts(self) -> Mapping[str, int]:
        """One counter."""
        return {"requests": self._requests}


async def until(fact: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let the loop turn until `fact` holds; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.002)


async def settled(hooks: FakeHooks, seconds: float = 5.0) -> None:
    """Wait until a tenth of a second has brought no more bytes (the kernel's buffers are full)."""
    before = -1
    async with asyncio.timeout(seconds):
        while hooks.bytes_in != before:
            before = hooks.bytes_in
            await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of one test."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        """Its own certificate."""
        return self.folder / f"{self.name}.crt"

    @classmethod
    def make(cls, folder: Path, name: str = "ca") -> Authority:
        """A new one, its certificate written to `folder`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = _builder(subject, subject, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
        authority = cls(folder, name, key, certificate)
        authority.file.write_bytes(certificate.public_bytes(Encoding.PEM))
        return authority

    def issue(self, name: str, role: bytes | None = None) -> tuple[Path, Path]:
        """Certificate and key of `name`; `role` is the raw content of the extension."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self.certificate.subject, key)
        if role is not None:
            extension = x509.UnrecognizedExtension(ObjectIdentifier(ROLE_OID), role)
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


def utf8(word: str) -> bytes:
    """`word` as an ASN.1 UTF8String."""
    data = word.encode()
    return bytes((0x0C, len(data))) + data


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=36500)))
