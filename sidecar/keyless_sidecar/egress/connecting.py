"""New connections to real servers."""

from __future__ import annotations

import asyncio
import ssl

from keyless_sidecar.egress.streams import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, Link

__all__ = ["connect"]


async def connect(
    host: str, port: int, context: ssl.SSLContext | None = None, name: str | None = None
) -> Link:
    """A connection to an address, with TLS where a context is given.

    Args:
        host: an IP address.
        port: of it.
        context: checks the server's certificate.
        name: whom the certificate must name.

    Raises:
        OSError: not reached, or (``ssl.SSLError``) not who it should be.
    """
    options = (
        {
            "ssl": context,
            "server_hostname": name,
            "ssl_handshake_timeout": HANDSHAKE_TIMEOUT,
            "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT,
        }
        if context is not None
        else {}
    )
    _, link = await asyncio.get_running_loop().create_connection(Link, host, port, **options)  # type: ignore[call-overload]
    if not isinstance(link, Link):
        raise TypeError("not our protocol")
    return link
