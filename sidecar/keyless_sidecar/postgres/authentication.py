"""The client's half of authentication to a PostgreSQL server, as a state machine without I/O.

:mod:`keyless_sidecar.postgres.upstream` feeds it the server's authentication messages.  The server
is taken for hostile until it has proven to know the password, or TLS has proven its name: it
chooses among what is accepted, and can't talk us into anything weaker.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from scramp import ScramClient, ScramException

from keyless_sidecar.postgres.settings import METHODS, Target
from keyless_sidecar.postgres.wire import message

__all__ = ["MAX_ITERATIONS", "AuthenticationRefused", "Channel", "Login"]

#: More would only keep a core busy; PostgreSQL's default is 4096.
MAX_ITERATIONS = 1_000_000

_OK, _CLEARTEXT, _MD5, _SASL, _CONTINUE, _FINAL = 0, 3, 5, 10, 11, 12
_PLAIN, _PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
#: libpq sends none, and servers take the user of the start-up message; the library wants one.
_USER = "*"


class AuthenticationRefused(Exception):
    """The login can't go on; the message is one sentence for people, without any secret."""


@dataclass(frozen=True)
class Channel:
    """What is known about the connection.

    Attributes:
        encrypted: TLS is on.
        verified: the server's certificate was checked.
        binding: the ``tls-server-end-point`` of its certificate; None where it has none.
    """

    encrypted: bool = False
    verified: bool = False
    binding: bytes | None = None


class Login:
    """One login.

    Args:
        target: user, password and what is accepted.
        channel: the connection.
    """

    def __init__(self, target: Target, channel: Channel) -> None:
        self._target = target
        self._channel = channel
        self._scram: ScramClient | None = None
        self._expected: tuple[int, ...] = (_OK, _CLEARTEXT, _MD5, _SASL)
        #: How the login is done, in libpq's words; known when :attr:`finished`.
        self.method = ""
        #: SCRAM was bound to the TLS channel, so that nobody stands in between.
        self.bound = False
        #: The server is satisfied, and has proven itself where the method does that.
        self.finished = False

    def accepts(self, method: str) -> bool:
        """Whether the entry and the connection allow a way to authenticate."""
        target, channel = self._target, self._channel
        if target.binding and method != "scram-sha-256":
            return False
        if method == "password" and not channel.verified:
            return False
        if target.methods is not None:
            return method in target.methods
        # An unknown server proves itself by SCRAM; nothing else does that.
        return method in (METHODS if channel.verified else {"scram-sha-256"})

    def answer(self, body: bytes) -> bytes | None:
        """Take the body of a server's authentication message.

        A SASLContinue makes this compute for a while; the caller may use a thread.

        Returns:
            The message to send, None where the server's next one is waited for.

        Raises:
            AuthenticationRefused: the server wants what isn't accepted, or lied.
        """
        if self.finished or len(body) < 4:
            raise AuthenticationRefused("The server broke the authentication protocol.")
        code, data = int.from_bytes(body[:4], "big"), body[4:]
        if code not in self._expected:
            raise AuthenticationRefused(self._unexpected(code))
        if code == _OK:
            if not self.method:
                self._use("none")
            self.finished = True
            return None
        if code == _CLEARTEXT:
            self._use("password")
            self._expected = (_OK,)
            return message(b"p", self._password() + b"\0")
        if code == _MD5:
            self._use("md5")
            self._expected = (_OK,)
            return message(b"p", self._md5(data))
        try:
            if code == _SASL:
                self._use("scram-sha-256")
                self._expected = (_CONTINUE,)
                return self._first(data)
            text = data.decode("ascii")
            if code == _CONTINUE:
                self._expected = (_FINAL,)
                return self._continue(text)
            self._client().set_server_final(text)
        except UnicodeDecodeError:
            raise AuthenticationRefused("The server's SCRAM message is not ASCII.") from None
        except ScramException as error:
            raise AuthenticationRefused(_scram_sentence(error)) from None
        self._expected = (_OK,)
        return None

    # ------------------------------------------------------------------ inside

    def _use(self, method: str) -> None:
        if not self.accepts(method):
            raise AuthenticationRefused(self._unaccepted(method))
        self.method = method

    def _password(self) -> bytes:
        if not self._target.password:
            raise AuthenticationRefused(
                "The server asks for a password, and the credential has a certificate only."
            )
        return self._target.password.encode()

    def _md5(self, salt: bytes) -> bytes:
        if len(salt) != 4:
            raise AuthenticationRefused("The server's salt has not four bytes.")
        inner = _md5(self._password() + self._target.user.encode())
        return b"md5" + _md5(inner + salt) + b"\0"

    def _client(self) -> ScramClient:
        if self._scram is None:
            raise AuthenticationRefused("The server broke the authentication protocol.")
        return self._scram

    def _first(self, data: bytes) -> bytes:
        if not data.endswith(b"\0\0"):
            raise AuthenticationRefused("The server's list of SASL mechanisms has no end.")
        mechanism = self._mechanism(data[:-2].decode("ascii").split("\0"))
        binding = self._channel.binding
        # With a binding but without PLUS, the library says so ("y"), and a server that does offer
        # PLUS sees that somebody in between took it away.
        bound = None if binding is None else ("tls-server-end-point", binding)
        self._scram = _scram_client(mechanism, self._password().decode(), bound)
        first = self._scram.get_client_first().encode()
        return message(b"p", mechanism.encode() + b"\0" + len(first).to_bytes(4, "big") + first)

    def _mechanism(self, offered: list[str]) -> str:
        channel = self._channel
        if channel.binding is not None and _PLUS in offered:
            self.bound = True
            return _PLUS
        if self._target.binding:
            raise AuthenticationRefused(
                "The credential requires channel binding, which the server doesn't offer here."
            )
        if channel.encrypted and channel.binding is None and not channel.verified:
            raise AuthenticationRefused(
                "The server's certificate is neither verified nor of a kind that SCRAM can be "
                "bound to; set sslmode to verify-full."
            )
        if _PLAIN not in offered:
            raise AuthenticationRefused("The server offers no SCRAM mechanism that can be used.")
        return _PLAIN

    def _continue(self, text: str) -> bytes:
        # Before the library converts it: a count of millions of digits costs time as well.
        count = re.search(r",i=([0-9]{1,9})(?:,|$)", text)
        if count is None or int(count.group(1)) > MAX_ITERATIONS:
            raise AuthenticationRefused(
                f"The server asks for more than {MAX_ITERATIONS} iterations of SCRAM, or for none."
            )
        client = self._client()
        client.set_server_first(text)
        return message(b"p", client.get_client_final().encode())

    def _unaccepted(self, method: str) -> str:
        asked = {
            "password": "The server asks for the password in clear text",
            "md5": "The server asks for an MD5 hash of the password",
            "none": "The server asks for no proof of who we are, and gives none of its own",
            "scram-sha-256": "The server asks for SCRAM",
        }[method]
        if method == "password" and not self._channel.verified:
            return f"{asked}, which needs verified TLS: set sslmode to verify-full."
        return (
            f"{asked}, which the credential doesn't accept here; use verify-full, or list it in "
            "require_auth."
        )

    def _unexpected(self, code: int) -> str:
        if code in (2, 6, 7, 8, 9):
            return "The server asks for Kerberos, GSSAPI or SSPI, which is not supported."
        if code == _OK and self._scram is not None:
            return "The server ends SCRAM without proof that it knows the password."
        return "The server sends an authentication request that doesn't belong here."


class _Raw:
    """A password that SASLprep forbids or empties: PostgreSQL takes its bytes as they are."""

    def __init__(self, password: str) -> None:
        self._password = password

    def __bytes__(self) -> bytes:
        return self._password.encode()


def _scram_client(mechanism: str, password: str, bound: tuple[str, bytes] | None) -> ScramClient:
    try:
        client = ScramClient([mechanism], _USER, password, channel_binding=bound)
        if bytes(client.password):
            return client
    except ScramException:
        pass  # SASLprep forbids a character of it
    client = ScramClient([mechanism], _USER, "x", channel_binding=bound)
    client.password = _Raw(password)
    return client


def _scram_sentence(error: ScramException) -> str:
    if "signature" in str(error):
        return "The server's SCRAM signature is wrong: it doesn't know the password."
    return "The server's SCRAM messages break the protocol, or are weaker than accepted."


def _md5(data: bytes) -> bytes:
    # What the server's protocol says; it secures nothing of ours.
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
