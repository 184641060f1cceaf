"""The authority's certificates, and loading their key where this process is closed to others."""

from __future__ import annotations

import datetime
import os
import ssl
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from keyless_sidecar.egress.authority import Authority


def handshake(authority: Authority, host: str, name: str | None, **options: object) -> bytes | None:
    """A handshake in memory; the certificate that the server showed."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=authority.pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    if name is None:
        client.check_hostname = False
    for key, value in options.items():
        setattr(client, key, value)
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(one, other, server_hostname=name)
    serving = authority.context_for(host).wrap_bio(other, one, server_side=True)
    for _ in range(4):
        for side in (asking, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return asking.getpeercert(binary_form=True)


@pytest.mark.parametrize("host", ["s3.eu-west-1.amazonaws.com", "a_b.example", "10.0.0.1", "::1"])
def test_hosts_and_addresses(host: str) -> None:
    shown = handshake(Authority(), host, host)
    assert shown is not None
    leaf = x509.load_der_x509_certificate(shown)
    assert leaf.not_valid_before_utc < datetime.datetime.now(datetime.UTC)
    assert len(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == 1


@pytest.mark.parametrize("name", ["b.example", "x.a.example", "example"])
def test_other_names_are_refused_in_the_handshake(name: str) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(Authority(), "a.example", name, check_hostname=False)
    assert handshake(Authority(), "a.example", None)
    assert handshake(Authority(), "a.example", "A.Example")


def test_old_protocol_versions_are_refused() -> None:
    context = Authority().context_for("a.example")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 0


def test_the_certificate_of_the_authority() -> None:
    authority = Authority()
    assert "PRIVATE" not in authority.pem
    certificate = x509.load_pem_x509_certificate(authority.pem.encode())
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.subject.rfc4514_string() == "CN=Keyless sidecar"
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert constraints.value.path_length == 0
    assert Authority().pem != authority.pem


def test_contexts_are_kept_renewed_and_bounded() -> None:
    now = 0.0
    authority = Authority(lambda: now)
    first = authority.context_for("a.example")
    assert authority.context_for("a.example") is first
    now = 24 * 3600 + 1.0
    second = authority.context_for("a.example")
    assert second is not first
    for number in range(130):
        authority.context_for(f"h{number}.example")
    assert authority.context_for("a.example") is not second


_CLOSED = """
import os, sys
# Imported and used first: the ordinary user may not be able to read this interpreter's folders.
from keyless_sidecar.hardening import harden
from keyless_sidecar.egress.authority import Authority
Authority()
uid = int(sys.argv[1])
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
assert not harden().dumpable
before = len(os.listdir("/proc/self/fd"))
Authority().context_for("a.example")
assert len(os.listdir("/proc/self/fd")) == before
print("made")
"""


@pytest.mark.parametrize("user", ["same", "ordinary"])
def test_keys_are_loaded_in_a_process_that_is_closed_to_others(user: str) -> None:
    if user == "ordinary" and os.geteuid() != 0:
        pytest.skip("this is an ordinary user already")
    done = subprocess.run(
        [sys.executable, "-c", _CLOSED, "61000" if user == "ordinary" else "0"],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
    )
    assert done.stdout == "made\n", done.stderr
