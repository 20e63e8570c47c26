"""The role that a certificate carries (Modbus/TCP Security Protocol Specification v21, 2018-07-24, 8.3).

An ASN.1 UTF8String in the X.509 v3 extension 1.3.6.1.4.1.50316.802.1 of the client's certificate.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateways.peer import Role

ROLE_OID = "1.3.6.1.4.1.50316.802.1"
_WORDS = ", ".join(role.name.lower() for role in Role)
_UTF8_STRING = 0x0C
_LONGEST_WORD = 64


def role_of(der: bytes) -> Role | str:
    """The role in a certificate (DER), or in one line why there is none.

    The certificate has been verified by TLS; its words are still somebody else's, so they are shortened and escaped
    before they reach a log.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        extension = certificate.extensions.get_extension_for_oid(ObjectIdentifier(ROLE_OID))
    except x509.ExtensionNotFound:
        return (f"certificate {_subject(certificate)} has no role (extension {ROLE_OID}); "
                f"expected one of {_WORDS}")
    except (ValueError, x509.DuplicateExtension) as error:
        return f"the certificate cannot be read ({_shown(str(error))})"
    return _role(certificate, extension.value.public_bytes())


def _role(certificate: x509.Certificate, value: bytes) -> Role | str:
    word = utf8_string(value)
    if word is None:
        return (f"certificate {_subject(certificate)}: the role (extension {ROLE_OID}) is {value[:16].hex()}, "
                "which is no ASN.1 UTF8String")
    role = Role.of(word)
    if role is None:
        return f"certificate {_subject(certificate)} has the role '{_shown(word)}'; expected one of {_WORDS}"
    return role


def utf8_string(value: bytes) -> str | None:
    """The text of one DER UTF8String of at most 64 bytes that fills `value`, else None (X.690, 8.23)."""
    if len(value) < 2 or value[0] != _UTF8_STRING or value[1] != len(value) - 2 or value[1] > _LONGEST_WORD:
        return None
    try:
        return value[2:].decode("utf-8")
    except UnicodeDecodeError:
        return None


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"CN={_shown(str(names[0].value))}" if names else "without a common name"


def _shown(text: str) -> str:
    """At most 64 characters, nothing that could move a cursor or begin a new line."""
    return text[:_LONGEST_WORD].encode("unicode_escape").decode("ascii")
