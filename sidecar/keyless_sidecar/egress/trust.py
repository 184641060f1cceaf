"""Which certificates the proxy itself trusts: the system's, and the bundle that botocore brings."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import botocore


def client_context(more: Iterable[str] = ()) -> ssl.SSLContext:
    """A context for connections to real servers: names checked, TLS 1.2 or newer, HTTP/1.1.

    Args:
        more: PEM files of further authorities that a person trusts.

    Raises:
        OSError: a file of ``more`` can't be read (``ssl.SSLError`` when it holds no certificate).
    """
    context = ssl.create_default_context()
    bundled = Path(botocore.__file__).with_name("cacert.pem")
    # Small systems and containers often have no certificates of their own.
    if bundled.exists():
        context.load_verify_locations(bundled)
    for path in more:
        context.load_verify_locations(path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
