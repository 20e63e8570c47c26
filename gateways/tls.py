"""TLS with mutual certificates for any listener on TCP, and certificates that change under a running one.

A reload builds a whole new context and swaps it in only when it is sound: sessions that stand keep the one they began
with, new handshakes take the new one, and a broken file leaves the old one in use and says so.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from cosim.errors import GatewayError
from gateways.certificates import role_of
from gateways.peer import Role

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: those we trust clients by, our own certificate (and chain), its key without a passphrase."""

    ca: Path
    certificate: Path
    key: Path


class TlsIdentity:
    """What a listener shows and demands in a handshake, and the role that a client's certificate gives.

    `no_role` is the role of a client whose certificate names none; None: it is refused.
    """

    def __init__(self, listener: str, files: TlsFiles, no_role: Role | None = None) -> None:
        self._listener, self._files, self._no_role = listener, files, no_role
        self._stamps = stamps(files)
        self._context = server_context(files)

    def context(self) -> ssl.SSLContext:
        """What the next handshake uses."""
        return self._context

    def admit(self, certificate: bytes) -> Role | str:
        """The role of a verified client certificate (DER), or why it may not come in."""
        role = role_of(certificate)
        return self._no_role if isinstance(role, str) and self._no_role is not None else role

    def refresh(self) -> None:
        """Reload if a file has changed since it was last looked at; says once what it did."""
        if stamps(self._files) != self._stamps:
            self.reload()

    def reload(self) -> str:
        """Read the files again; gives "" or, in one line, why the old ones stay in use.  Never raises."""
        self._stamps = stamps(self._files)
        try:
            self._context = server_context(self._files)
        except GatewayError as error:
            log.warning("listener %s: %s; the certificates read before stay in use", self._listener, error)
            return str(error)
        log.info("listener %s: certificates read again", self._listener)
        return ""


def stamps(files: TlsFiles) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file is written or replaced (zeros: it is not there)."""
    def stamp(path: Path) -> tuple[int, int, int]:
        try:
            stat = path.stat()
        except OSError:
            return 0, 0, 0
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    return stamp(files.ca), stamp(files.certificate), stamp(files.key)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later with a certificate demanded of the client; raises GatewayError, one line, for the first file
    that will not do."""
    authorities = _certificates("ca", files.ca)
    certificates = _certificates("certificate", files.certificate)
    _check_key(files, certificates[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_verify_locations(cadata="".join(_pem(entry) for entry in authorities))
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        raise GatewayError(f"certificate {files.certificate}: {error}") from None
    return context


def _check_key(files: TlsFiles, certificate: x509.Certificate) -> None:
    """Before OpenSSL sees them: it says less about what is wrong, and asks at the terminal for a passphrase."""
    try:
        key = load_pem_private_key(_bytes("key", files.key), None)
    except TypeError:
        raise GatewayError(f"key {files.key} has a passphrase; expected a PEM key without one") from None
    except ValueError:
        raise GatewayError(f"key {files.key} is no PEM private key") from None
    if _public(key.public_key()) != _public(certificate.public_key()):
        raise GatewayError(f"key {files.key} does not belong to certificate {files.certificate}")


def _public(key: object) -> bytes:
    data: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # every key has it
    return data


def _certificates(what: str, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_bytes(what, path))
    except ValueError:
        raise GatewayError(f"{what} {path} holds no PEM certificate that can be read") from None


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _bytes(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise GatewayError(f"{what} {path}: no such file") from None
    except OSError as error:
        raise GatewayError(f"{what} {path} cannot be read: {error.strerror}") from None
