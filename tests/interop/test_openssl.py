"""openssl as the maker of certificates and as a TLS client: Modbus/TCP Security from the outside."""

from __future__ import annotations

import re
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateways.certificates import ROLE_OID
from tests.interop.peers import PROGRAM_S, program, run
from tests.interop.plant import Plant

pytestmark = pytest.mark.slow
READ = struct.pack(">HHHBBHH", 7, 0, 6, 1, 4, 0, 2)
WRITE = struct.pack(">HHHBBHHBf", 8, 0, 11, 1, 16, 0, 2, 4, 12.5)


@pytest.fixture(scope="module")
def openssl() -> str:
    """Its path."""
    return program("openssl", "openssl")


@pytest.fixture(scope="module")
def issue(plant: Plant, openssl: str, tmp_path_factory: pytest.TempPathFactory):
    """Makes a certificate and a key by the openssl command line, signed by the plant's authority."""
    folder = tmp_path_factory.mktemp("openssl")
    ca_key = plant.authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ca.key").write_bytes(ca_key)

    def issued(name: str, extension: str | None) -> tuple[Path, Path]:
        key, request, certificate = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        run(openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            f"/CN={name}", "-keyout", key, "-out", request)
        (folder / "extension").write_text(extension or "")
        run(openssl, "x509", "-req", "-in", request, "-CA", plant.authority.file, "-CAkey", folder / "ca.key",
            "-set_serial", "77", "-days", "30", "-extfile", folder / "extension", "-out", certificate)
        return certificate, key

    return issued


def exchange(openssl: str, plant: Plant, frame: bytes, expected: int, *options: str | Path) -> tuple[bytes, str]:
    """What comes back of a frame sent through s_client, up to `expected` bytes, and what s_client says of it."""
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{plant.ports['safe']}", "-CAfile",
               str(plant.authority.file), "-verify_return_error", "-quiet", *map(str, options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        guard = threading.Timer(PROGRAM_S, process.kill)
        guard.start()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(frame)
                process.stdin.flush()
            answer = process.stdout.read(expected)
        finally:
            guard.cancel()
            process.terminate()
            process.wait(timeout=PROGRAM_S)
        return answer, process.stderr.read().decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(("role", "pdu"), [("operator", b"\x10\x00\x00\x00\x02"), ("observer", b"\x90\x01")])
def test_a_certificate_with_a_role_comes_in(plant: Plant, openssl: str, issue, version: str, role: str,
                                            pdu: bytes) -> None:
    """Reads; writes as an operator; as an observer it is told 01."""
    certificate, key = issue(role, f"{ROLE_OID}=ASN1:UTF8String:{role}")
    options = ("-cert", certificate, "-key", key, version)
    answer, said = exchange(openssl, plant, READ, 13, *options)
    assert answer[:9] == struct.pack(">HHHBBB", 7, 0, 7, 1, 4, 4), said
    (volts,) = struct.unpack(">f", answer[9:])
    assert 0.9 < volts < 1.1
    answer, said = exchange(openssl, plant, WRITE, 7 + len(pdu), *options)
    assert answer == struct.pack(">HHHB", 8, 0, 1 + len(pdu), 1) + pdu, said


@pytest.mark.parametrize("extension", [None, f"{ROLE_OID}=ASN1:UTF8String:emperor", f"{ROLE_OID}=ASN1:INTEGER:1"])
def test_without_a_role_that_is_one_nothing_is_answered(plant: Plant, openssl: str, issue,
                                                        extension: str | None) -> None:
    """The handshake may be done, the request gets no byte."""
    certificate, key = issue("nobody", extension)
    assert exchange(openssl, plant, READ, 1, "-cert", certificate, "-key", key)[0] == b""


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_without_a_certificate_the_handshake_fails(plant: Plant, openssl: str, version: str) -> None:
    """No answer; told by an alert, or by the end of the connection alone (asyncio drops a failed handshake's alert)."""
    answer, said = exchange(openssl, plant, READ, 1, version)
    assert answer == b""
    assert re.search("error|errno", said), said


def test_old_versions_are_refused(plant: Plant, openssl: str, issue) -> None:
    """TLS 1.1 with the lowest security level that a client can ask for."""
    certificate, key = issue("old", f"{ROLE_OID}=ASN1:UTF8String:operator")
    answer, said = exchange(openssl, plant, READ, 1, "-cert", certificate, "-key", key, "-tls1_1", "-cipher",
                            "DEFAULT@SECLEVEL=0")
    if "no protocols available" in said:
        pytest.skip("this openssl has no TLS 1.1 itself")
    assert answer == b""
    assert re.search("error|errno", said), said
