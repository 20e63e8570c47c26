"""The role in a certificate."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from gateways.certificates import role_of, utf8_string
from gateways.peer import Role
from tests.gateways.fakes import Authority, utf8


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """One authority for all."""
    return Authority.make(tmp_path_factory.mktemp("pki"))


def der(authority: Authority, name: str, role: bytes | None) -> bytes:
    """A client's certificate with this extension."""
    path, _ = authority.issue(name, role)
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(("word", "role"), [("observer", Role.OBSERVER), ("Operator", Role.OPERATOR),
                                            ("ENGINEER", Role.ENGINEER), ("admin", Role.ADMIN)])
def test_the_extension_names_the_role_in_any_case(authority, word, role):
    """1.3.6.1.4.1.50316.802.1, a UTF8String."""
    assert role_of(der(authority, "client", utf8(word))) is role


def test_a_certificate_without_a_role_is_named_with_what_is_expected(authority):
    """One clear line: who, what is missing, what would do."""
    assert role_of(der(authority, "meter 7", None)) == (
        "certificate CN=meter 7 has no role (extension 1.3.6.1.4.1.50316.802.1); "
        "expected one of observer, operator, engineer, admin")


@pytest.mark.parametrize(("value", "part"), [
    (utf8("superuser"), "has the role 'superuser'; expected one of"),
    (b"\x0c\x05admi", "which is no ASN.1 UTF8String"), (b"\x13\x05admin", "which is no ASN.1 UTF8String"),
    (b"\x0c\x05admin\x00", "which is no ASN.1 UTF8String"), (b"", "which is no ASN.1 UTF8String"),
    (b"\x0c\x02\xff\xff", "which is no ASN.1 UTF8String")])
def test_what_is_no_role_gives_none(authority, value, part):
    """Wrong words, wrong lengths, wrong types."""
    answer = role_of(der(authority, "client", value))
    assert isinstance(answer, str)
    assert part in answer


def test_words_of_others_cannot_begin_a_line_in_our_log(authority):
    """Control characters are escaped and long names shortened."""
    answer = role_of(der(authority, "x", utf8("admin\nFAKE \x1b[2J")))
    assert isinstance(answer, str)
    assert answer.isprintable()
    assert "admin\\nFAKE" in answer


@given(st.binary(max_size=80))
def test_any_bytes_for_a_certificate_or_an_extension_are_answered(data):
    """Never an exception."""
    assert isinstance(role_of(data), str)
    text = utf8_string(data)
    assert text is None or utf8(text) == data
