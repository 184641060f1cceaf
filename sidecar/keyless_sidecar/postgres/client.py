"""What a client may say before its session begins: reading it, and deciding on it.

:mod:`keyless_sidecar.postgres.broker` calls these in turn for each connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.postgres import wire
from keyless_sidecar.postgres.masking import Mask
from keyless_sidecar.postgres.settings import Target
from keyless_sidecar.postgres.upstream import Session

__all__ = ["PARAMETERS", "Refusal", "act", "denial", "first_packet", "greeting"]
__all__ += ["session_parameters"]

#: Settings that a client may give at its start, in small letters.  All but the first ones only
#: save a ``SET``; settings that count at the start alone (preloaded libraries) aren't among them.
PARAMETERS = frozenset(
    {
        *("user", "database", "application_name", "client_encoding"),
        *("bytea_output", "datestyle", "default_transaction_isolation"),
        *("default_transaction_read_only", "extra_float_digits", "geqo"),
        *("idle_in_transaction_session_timeout", "intervalstyle", "jit", "lc_monetary"),
        *("lc_numeric", "lc_time", "lock_timeout", "search_path", "standard_conforming_strings"),
        *("statement_timeout", "timezone"),
    }
)

_OURS = ("user", "database", "options", "replication")


class Refusal(Exception):
    """A client doesn't get its session.

    Attributes:
        sentence: for the client.
        code: SQLSTATE.
    """

    def __init__(self, sentence: str, code: str = "28000") -> None:
        super().__init__(sentence)
        self.sentence, self.code = sentence, code


async def first_packet(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> wire.Startup | wire.CancelRequest:
    """The client's start-up or cancel request; encryption is declined, once of each kind.

    Raises:
        Refusal: what came is neither.
        EOFError: the client went away.
    """
    declined: set[str] = set()
    while True:
        try:
            length = wire.first_length(await reader.readexactly(4))
            packet = wire.parse_first(await reader.readexactly(length))
        except wire.WireError as error:
            raise Refusal(f"Keyless: {error}.", "08P01") from None
        if not isinstance(packet, wire.EncryptionRequest):
            return packet
        if packet.kind in declined:
            raise Refusal("Keyless: encryption was declined already.", "08P01")
        declined.add(packet.kind)
        # It would end here, beside the client; the way to the server is encrypted by us.
        writer.write(b"N")
        await writer.drain()


def session_parameters(
    startup: wire.Startup, target: Target, allowed: frozenset[str]
) -> Mapping[str, str]:
    """The parameters for the real server's StartupMessage.

    Args:
        startup: what the client sent.
        target: the entry, whose user and database count.
        allowed: names that may pass, in small letters.

    Raises:
        Refusal: another user or database, or a parameter that may not be set here.
    """
    asked = startup.parameters
    for name in asked:
        # "User" beside "user" is for nobody to choose between.
        if name in allowed or (name.lower() in allowed and name.lower() not in _OURS):
            continue
        if name in ("options", "replication"):
            raise Refusal(f"Keyless: the connection parameter {name} is not allowed.", "42501")
        raise Refusal(
            f"Keyless: {_shown(name)} can't be set when connecting; use SET after that.", "42501"
        )
    user = asked.get("user", target.user)
    if user != target.user:
        raise Refusal(
            f"Keyless: this connection is for the user {_shown(target.user)}, not "
            f"{_shown(user)}; leave the user out."
        )
    database = asked.get("database") or target.database or user
    if target.database and database != target.database:
        raise Refusal(
            f"Keyless: this connection is for the database {_shown(target.database)}, not "
            f"{_shown(database)}."
        )
    return {**asked, "user": user, "database": database}


def act(tool: str, entry_name: str, target: Target, parameters: Mapping[str, str]) -> Act:
    """What the policy is asked: a session may change anything, and what it does is the database's
    to allow.

    Args:
        tool: who connects.
        entry_name: the vault entry in use.
        target: its server.
        parameters: of the session, see :func:`session_parameters`.
    """
    attributes = {
        "host": target.destination.host,
        "port": target.destination.port,
        "database": parameters["database"],
        "user": parameters["user"],
        "application_name": parameters.get("application_name", ""),
        "credential_kind": "postgres",
        "delivery": "proxy",
    }
    return Act("postgres:connect", tool, entry_name, None, attributes)


def denial(decision: Decision) -> Refusal:
    """What a client hears of a decision that isn't ``allow``."""
    lead = "a person must approve this" if decision.outcome == "ask" else "denied"
    return Refusal(f"Keyless: {lead}: {decision.reason} (rule {decision.rule})")


def greeting(
    startup: wire.Startup, session: Session, key: wire.BackendKey | None, mask: Mask
) -> bytes:
    """What a client gets before its first query.

    Args:
        startup: what it asked for.
        session: the login at the server.
        key: what it is to cancel its statements with, never the server's own.
        mask: takes secrets out of the server's texts.
    """
    parts: list[bytes] = []
    if startup.minor or startup.extensions:
        parts.append(wire.negotiate_version(startup.extensions))
    parts.append(wire.authentication_request(0))
    parts += [wire.message(kind, wire.rewrite_texts(body, mask)) for kind, body in session.settings]
    if key is not None:
        parts.append(wire.backend_key(key))
    parts.append(wire.message(b"Z", session.status))
    return b"".join(parts)


def _shown(text: str) -> str:
    short = text if len(text) <= 64 else f"{text[:63]}…"
    return "'" + "".join(char if char.isprintable() else "?" for char in short) + "'"
