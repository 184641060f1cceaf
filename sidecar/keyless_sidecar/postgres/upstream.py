"""From a vault entry to a logged-in connection with the real PostgreSQL server.

:class:`~keyless_sidecar.postgres.broker.PostgresBroker` calls :func:`connect` for each session and
:func:`cancel` for each statement to be ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from keyless_sidecar.execution.destinations import Allowed, Destination
from keyless_sidecar.postgres import wire
from keyless_sidecar.postgres.authentication import AuthenticationRefused, Channel, Login
from keyless_sidecar.postgres.settings import Target, TargetError, mode_for
from keyless_sidecar.postgres.tls import context_for, end_point

__all__ = ["CHUNK", "AddressCheck", "Resolver", "Route", "Session", "UpstreamError"]
__all__ += ["cancel", "connect"]

CHUNK = 64 * 1024
#: Longest message before a session is ready, and all of them together.
MAX_MESSAGE = 32 * 1024
MAX_GREETING = 256 * 1024

Resolver = Callable[[Destination], Awaitable[Sequence[str]]]
#: Says why the addresses of a destination aren't acceptable, "" when they are.
AddressCheck = Callable[[Destination, Sequence[str]], str]

public_only: AddressCheck = Allowed().address_refusal

_UNREACHABLE, _REJECTED, _BROKEN, _DENIED = "08001", "08004", "08P01", "28000"


class UpstreamError(Exception):
    """There is no session.

    Attributes:
        sentence: for people; may hold text of the server, so it must be sanitized.
        code: the SQLSTATE to report.
        hint: the server's own, likewise.
    """

    def __init__(self, sentence: str, code: str = _UNREACHABLE, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.code, self.hint = sentence, code, hint


@dataclass(frozen=True)
class Route:
    """How a server was reached, so that a cancel request goes the same way."""

    destination: Destination
    address: str
    context: ssl.SSLContext | None


@dataclass(frozen=True)
class Session:
    """A connection that is logged in and ready for queries.

    Attributes:
        reader: from the server.
        writer: to the server.
        route: how it was reached.
        key: what cancels its statements; None where the server gave none.
        settings: type and body of each ParameterStatus and NoticeResponse so far.
        status: body of the first ReadyForQuery.
        mode: the sslmode in force.
        method: how the login was done.
        bound: SCRAM was bound to the TLS channel.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    route: Route
    key: wire.BackendKey | None
    settings: tuple[tuple[bytes, bytes], ...]
    status: bytes
    mode: str
    method: str
    bound: bool


async def connect(
    target: Target,
    parameters: Mapping[str, str],
    *,
    resolver: Resolver,
    address_check: AddressCheck,
) -> Session:
    """Connect and log in.  The caller sets the deadline.

    Args:
        target: server and credential.
        parameters: of the StartupMessage, ``user`` and ``database`` included.
        resolver: turns the destination into addresses, once.
        address_check: decides on them.

    Raises:
        UpstreamError: it can't be reached, isn't acceptable, or refuses.
    """
    addresses = await _resolve(target.destination, resolver)
    refusal = address_check(target.destination, addresses)
    if refusal:
        raise UpstreamError(f"Keyless: {refusal}.", _DENIED)
    mode = mode_for(target, addresses)
    try:
        # Off the loop: the system's authorities are many.
        context = None if mode == "disable" else await asyncio.to_thread(context_for, target, mode)
    except TargetError as error:
        raise UpstreamError(str(error), _DENIED) from None
    reader, writer, route = await _open(target.destination, addresses, mode, context)
    try:
        login = Login(target, _channel(writer, mode))
        writer.write(wire.startup_message(parameters))
        key, settings, status = await _log_in(reader, writer, login)
    except asyncio.IncompleteReadError:
        writer.transport.abort()
        raise UpstreamError("The database server closed the connection during the login.") from None
    except OSError as error:
        writer.transport.abort()
        raise _broken(error) from None
    except AuthenticationRefused as error:
        writer.transport.abort()
        raise UpstreamError(f"Keyless: {error}", _DENIED) from None
    except wire.WireError as error:
        writer.transport.abort()
        raise UpstreamError(f"Keyless: {error}.", _BROKEN) from None
    except BaseException:
        writer.transport.abort()
        raise
    return Session(reader, writer, route, key, settings, status, mode, login.method, login.bound)


async def cancel(route: Route, key: wire.BackendKey) -> None:
    """End the statement of a session; done when the server has taken note, or can't be reached."""
    with contextlib.suppress(UpstreamError, OSError, EOFError):
        mode = "disable" if route.context is None else "require"
        reader, writer, _ = await _open(route.destination, [route.address], mode, route.context)
        try:
            writer.write(wire.cancel_request(key))
            await writer.drain()
            await reader.read(1)
        finally:
            writer.transport.abort()


async def _resolve(destination: Destination, resolver: Resolver) -> list[str]:
    try:
        return list(dict.fromkeys(await resolver(destination)))
    except (OSError, UnicodeError):
        raise UpstreamError(f"The database server {destination} can't be resolved.") from None


async def _open(
    destination: Destination, addresses: Sequence[str], mode: str, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Route]:
    """A connection with TLS as the mode wants it, to the first address that answers."""
    for address in addresses:
        connection = await _dial(address, destination.port)
        if connection is None:
            continue
        try:
            secured = context if await _wants_tls(connection, mode) else None
            reader, writer = await asyncio.open_connection(
                sock=connection,
                limit=CHUNK,
                ssl=secured,
                server_hostname=destination.host if secured else None,
            )
        except OSError as error:
            connection.close()
            raise _broken(error) from None
        except BaseException:
            connection.close()
            raise
        writer.transport.set_write_buffer_limits(high=CHUNK)
        return reader, writer, Route(destination, address, secured)
    raise UpstreamError(f"The database server {destination} doesn't answer.")


async def _dial(address: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # A server that is gone without a word is noticed, and so is its lost session.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except OSError:
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


async def _wants_tls(connection: socket.socket, mode: str) -> bool:
    """Agree on TLS.  Exactly one byte is read: what follows it can only be TLS or refused."""
    if mode == "disable":
        return False
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, wire.ssl_request())
    answer = await loop.sock_recv(connection, 1)
    if answer == b"S":
        with contextlib.suppress(BlockingIOError):
            # A server speaks only after our ClientHello: this is somebody's plain text in between.
            if connection.recv(1, socket.MSG_PEEK):
                raise UpstreamError("Keyless: bytes came in before TLS was on; refused.", _BROKEN)
        return True
    if answer == b"N":
        if mode == "prefer":
            return False
        raise UpstreamError(
            f"Keyless: the database server offers no TLS, which sslmode {mode} demands.", _REJECTED
        )
    # An error text ("E") at this point could come from anybody: it isn't shown.
    raise UpstreamError("Keyless: the database server didn't understand the TLS request.", _BROKEN)


def _channel(writer: asyncio.StreamWriter, mode: str) -> Channel:
    secured = writer.get_extra_info("ssl_object")
    if secured is None:
        return Channel()
    certificate = secured.getpeercert(binary_form=True)
    return Channel(
        encrypted=True,
        verified=mode in ("verify-full", "verify-ca"),
        binding=end_point(certificate) if certificate else None,
    )


async def _log_in(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, login: Login
) -> tuple[wire.BackendKey | None, tuple[tuple[bytes, bytes], ...], bytes]:
    key: wire.BackendKey | None = None
    settings: list[tuple[bytes, bytes]] = []
    room = MAX_GREETING
    while room > 0:
        kind, body = await _read(reader)
        room -= 5 + len(body)
        if kind == b"E":
            raise _server_error(body)
        if kind == b"N":
            wire.notice_fields(body)
            settings.append((kind, body))
        elif kind == b"R":
            # Off the loop: SCRAM computes as long as the server wants, within limits.
            reply = await asyncio.to_thread(login.answer, body)
            if reply is not None:
                writer.write(reply)
                await writer.drain()
        elif login.finished and kind == b"K" and key is None:
            key = wire.parse_backend_key(body)
        elif login.finished and kind == b"S":
            settings.append((kind, body))
        elif login.finished and kind == b"Z" and len(body) == 1:
            return key, tuple(settings), body
        else:
            raise wire.WireError("the server sent a message that doesn't belong into a login")
    raise wire.WireError("the server sent too much before it was ready")


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    header = await reader.readexactly(5)
    length = int.from_bytes(header[1:], "big")
    if not 4 <= length <= MAX_MESSAGE:
        raise wire.WireError("the length of the server's message is invalid")
    return header[:1], await reader.readexactly(length - 4)


def _server_error(body: bytes) -> UpstreamError:
    fields = wire.notice_fields(body)
    code = fields.get("C", "")
    if len(code) != 5 or not code.isascii() or not code.isalnum():
        code = _REJECTED
    hint = " ".join(fields[each] for each in ("D", "H") if each in fields)
    return UpstreamError(fields.get("M", "The database server refused."), code, hint)


def _broken(error: OSError) -> UpstreamError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamError(
            f"Keyless: the database server's certificate is not accepted ({error.verify_message}); "
            "set sslrootcert in the credential, or its host to a name in the certificate.",
            _REJECTED,
        )
    if isinstance(error, ssl.SSLError):
        return UpstreamError(
            f"Keyless: TLS with the database server failed ({error.reason or 'unknown'}).",
            _REJECTED,
        )
    return UpstreamError("The connection to the database server broke.")
