"""The certificate authority of one sidecar: its tools trust it, nobody else does.

The CA's key never leaves this process's memory.  Python's ``ssl`` loads keys only from files, so
the key of the leaf certificates (one for all hosts) goes through an anonymous file in memory that
no path names; a process that isn't dumpable can still open its own ``/proc/self/fd``, and nobody
else but root can.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "Keyless sidecar"
#: Tools in a container or virtual machine may have a clock that is behind.
_BACKDATED = datetime.timedelta(days=1)
_CA_DAYS, _LEAF_DAYS = 90, 3
_RENEW_SECONDS = 24 * 3600.0
#: Contexts of different hosts that are kept; a host pattern may cover any number of names.
_MOST = 128


class Authority:
    """Makes the TLS server contexts of the proxy.  Owned by the event loop's thread.

    Args:
        clock: seconds, for the age of certificates (tests inject their own).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._own_certificate()
        self._contexts: OrderedDict[str, tuple[float, ssl.SSLContext]] = OrderedDict()

    @property
    def pem(self) -> str:
        """The CA's certificate, for the tools' trust file."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context_for(self, host: str) -> ssl.SSLContext:
        """A server context that is ``host`` and nobody else.

        A client that names another host in its handshake (SNI) is refused by an alert: what it was
        allowed to reach is the host of its ``CONNECT``.

        Raises:
            OSError: the certificate can't be loaded.
        """
        now = self._clock()
        known = self._contexts.pop(host, None)
        if known is None or now - known[0] > _RENEW_SECONDS:
            known = (now, self._make(host))
        self._contexts[host] = known
        if len(self._contexts) > _MOST:
            self._contexts.popitem(last=False)
        return known[1]

    def _make(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])

        def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
            same = name is None or name.lower() == host
            return None if same else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = named
        _load(context, self._leaf(host), self._leaf_key)
        return context

    def _own_certificate(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        return (
            _builder(name, name, self._key.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(_identifier(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(self, host: str) -> bytes:
        try:
            names: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            names = x509.DNSName(host)
        public = self._leaf_key.public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME}, for a tool")])
        certificate = (
            _builder(subject, self._certificate.subject, public, _LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([names]), critical=False)
            .add_extension(_identifier(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _identifier(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load(context: ssl.SSLContext, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(certificate + secret)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
