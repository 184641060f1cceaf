"""TLS towards PostgreSQL servers: the context for a mode, and what SCRAM binds to."""

from __future__ import annotations

import os
import ssl

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from keyless_sidecar.postgres.settings import Target, TargetError

__all__ = ["context_for", "end_point"]


def context_for(target: Target, mode: str) -> ssl.SSLContext:
    """The TLS context for a server.

    Args:
        target: its certificates and key.
        mode: the sslmode in force, not ``disable``.

    Raises:
        TargetError: a certificate or key can't be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server of another protocol on the same certificate notices that it is not meant.
    context.set_alpn_protocols(["postgresql"])
    context.check_hostname = mode == "verify-full"
    if mode in ("verify-full", "verify-ca"):
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            if target.authorities:
                context.load_verify_locations(cadata=target.authorities)
            else:
                context.load_default_certs()
        except (ssl.SSLError, ValueError):
            raise TargetError("The credential's sslrootcert holds no PEM certificate.") from None
    else:
        context.verify_mode = ssl.CERT_NONE
    if target.certificate:
        _load_pair(context, target.certificate, target.key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a client's certificate and key, which the ssl module takes from files only."""
    descriptor = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(certificate.encode() + b"\n" + key.encode() + b"\n")
        # An encrypted key gets no password; without one given, OpenSSL would ask the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    except (ssl.SSLError, ValueError, OSError):
        raise TargetError(
            "The credential's sslcert and sslkey are no certificate and unencrypted key in PEM "
            "that belong together."
        ) from None
    finally:
        os.close(descriptor)


def end_point(certificate: bytes) -> bytes | None:
    """The ``tls-server-end-point`` channel binding (RFC 5929) of a DER certificate.

    Returns:
        None where its signature names no hash (Ed25519), so that there is no such binding.
    """
    try:
        found = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if found is None:
        return None
    if isinstance(found, hashes.MD5 | hashes.SHA1):
        found = hashes.SHA256()
    digest = hashes.Hash(found)
    digest.update(certificate)
    return digest.finalize()
