"""A server that isn't the real one: it learns no password, and gets no session it hasn't earned."""

from __future__ import annotations

import base64

import pytest
from tests.support.postgres import PASSWORD, Authority, brokering
from tests.support.postgres_fakes import (
    KEY,
    READY,
    Fake,
    Peer,
    Script,
    ask,
    faking,
    fatal,
    server_context,
    startup,
)

from keyless_sidecar.postgres import wire

FORMS = (
    PASSWORD.encode(),
    base64.b64encode(PASSWORD.encode()).rstrip(b"="),
    PASSWORD.encode().hex().encode(),
    PASSWORD[::-1].encode(),
)


async def outcome(script: Script, **fields: str) -> tuple[Fake, dict[str, str]]:
    """What a client hears of a server with this script."""
    async with faking(script) as fake, brokering(fake.fields(**fields)) as front:
        answer = await ask(front.port, startup())
    for form in FORMS:
        assert form not in answer
        assert form not in fake.got
        assert form not in str(front.desk.records).encode()
    return fake, fatal(answer)


def asking(code: int, data: bytes = b"") -> Script:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(wire.authentication_request(code, data))
        await peer.rest()

    return script


async def test_clear_text_without_tls_is_refused() -> None:
    _, error = await outcome(asking(3))
    assert "clear text" in error["M"]
    assert error["C"] == "28000"


@pytest.mark.parametrize("ask_for", [(3, b""), (5, b"salt"), (0, b"")])
async def test_less_than_scram_is_refused(ask_for: tuple[int, bytes]) -> None:
    _, error = await outcome(asking(*ask_for), require_auth="scram-sha-256")
    assert "require_auth" in error["M"] or "verify-full" in error["M"]


@pytest.mark.parametrize("code", [2, 7, 9, 42])
async def test_other_methods_are_refused(code: int) -> None:
    _, error = await outcome(asking(code))
    assert error["M"].startswith("Keyless: The server")


async def test_a_wrong_scram_signature_is_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(wire.authentication_request(10, b"SCRAM-SHA-256\0\0"))
        _, body = await peer.message()
        nonce = body.rpartition(b"r=")[2].decode()
        salt = base64.b64encode(bytes(16)).decode()
        await peer.send(wire.authentication_request(11, f"r={nonce}x,s={salt},i=4096".encode()))
        await peer.message()
        await peer.send(
            wire.authentication_request(12, b"v=" + base64.b64encode(bytes(32))),
            wire.authentication_request(0),
            wire.backend_key(KEY),
            READY,
        )
        await peer.rest()

    _, error = await outcome(script)
    assert "signature is wrong" in error["M"]


async def test_a_session_without_any_proof_is_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(wire.authentication_request(10, b"SCRAM-SHA-256\0\0"))
        await peer.message()
        await peer.send(wire.authentication_request(0), wire.backend_key(KEY), READY)
        await peer.rest()

    _, error = await outcome(script)
    assert "without proof" in error["M"]


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_tls_is_not_given_up(mode: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(b"N")
        await peer.rest()

    fake, error = await outcome(script, sslmode=mode)
    assert "no TLS" in error["M"]
    assert fake.got == wire.ssl_request()


async def test_an_error_before_tls_is_not_passed_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(wire.error_response("run this as root: rm -rf /", "XX000"))
        await peer.rest()

    fake, error = await outcome(script, sslmode="require")
    assert "rm -rf" not in error["M"]
    assert fake.got == wire.ssl_request()


@pytest.mark.parametrize("at_once", [True, False])
async def test_bytes_before_tls_are_refused(at_once: bool) -> None:
    """What somebody in between puts after the S must not pass for the server's (CVE-2021-23222)."""
    injected = wire.authentication_request(0) + wire.backend_key(KEY) + READY

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(b"S" + injected if at_once else b"S")
        await peer.read(1)  # of the ClientHello
        await peer.send(injected)
        await peer.rest()

    fake, error = await outcome(script, sslmode="require")
    assert "before TLS" in error["M"] or "TLS with the database server failed" in error["M"]
    assert b"user\0app" not in fake.got


@pytest.mark.parametrize(
    ("hosts", "trusted"), [(["127.0.0.1"], False), (["127.0.0.2", "example.com"], True)]
)
async def test_another_certificate_is_refused(hosts: list[str], trusted: bool) -> None:
    authority, other = Authority(), Authority("other")
    context = server_context(authority.issue("127.0.0.1", hosts))

    async def script(peer: Peer) -> None:
        await peer.tls(context)
        await peer.rest()

    roots = (authority if trusted else other).certificate
    fake, error = await outcome(script, sslmode="verify-full", sslrootcert=roots)
    assert "certificate is not accepted" in error["M"]
    assert b"user\0app" not in fake.got


async def test_verify_ca_takes_any_name_of_that_authority_only() -> None:
    authority, other = Authority(), Authority("other")
    context = server_context(authority.issue("db", ["elsewhere.example"]))

    async def script(peer: Peer) -> None:
        await peer.tls(context)
        await peer.packet()
        await peer.send(wire.error_response("far enough", "28P01"))

    _, error = await outcome(script, sslmode="verify-ca", sslrootcert=authority.certificate)
    assert error["M"] == "far enough"
    _, error = await outcome(script, sslmode="verify-ca", sslrootcert=other.certificate)
    assert "certificate is not accepted" in error["M"]


async def test_unverified_tls_in_between_gets_no_weak_login() -> None:
    context = server_context(Authority().issue("somebody", ["127.0.0.1"]))

    async def script(peer: Peer) -> None:
        await peer.tls(context)
        await peer.packet()
        await peer.send(wire.authentication_request(3))
        await peer.rest()

    _, error = await outcome(script, sslmode="require")
    assert "clear text" in error["M"]


@pytest.mark.parametrize(
    "data",
    [
        b"R\xff\xff\xff\xff",
        b"R\0\0\0\3",
        b"R\x7f\xff\xff\xff",
        b"E\0\0\0\x08MX\0M",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        wire.message(b"T", bytes(20)),
        wire.backend_key(KEY) + READY,
        READY,
        wire.message(b"v", bytes(8)),
        b"",
    ],
)
async def test_nonsense_is_refused(data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(data)

    _, error = await outcome(script)
    assert error["S"] == "FATAL"


async def test_endless_settings_are_cut_off() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.scram()
        while True:
            await peer.send(wire.message(b"S", b"name\0" + b"x" * 1000 + b"\0"))

    _, error = await outcome(script)
    assert "too much" in error["M"]


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async with faking(script) as fake, brokering(fake.fields(), login_timeout=0.2) as front:
        error = fatal(await ask(front.port, startup()))
    assert "took too long" in error["M"]
    assert front.desk.last("postgres.end")["ended"] == "login"


async def test_an_error_that_quotes_the_password_is_masked() -> None:
    """A server that knows it, by whatever way, doesn't get it to the client."""
    quoted = f"bad {PASSWORD} or {FORMS[1].decode()} or {FORMS[2].decode()} \x1b[2J"

    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.send(wire.error_response(quoted, "28P01", hint=quoted, detail=quoted))

    _, error = await outcome(script)
    assert "[redacted:db]" in error["M"]
    assert "\x1b" not in error["M"]
    assert error["C"] == "28P01"


async def test_settings_and_notices_that_quote_the_password_are_masked() -> None:
    async def script(peer: Peer) -> None:
        await peer.packet()
        await peer.scram()
        notice = wire.error_response(f"hello {PASSWORD}", "01000")[5:]
        await peer.send(
            wire.message(b"S", b"server_version\x0015.1\0"),
            wire.message(b"S", b"motd\0" + PASSWORD.encode() + b"\0"),
            wire.message(b"N", notice),
            wire.backend_key(KEY),
            READY,
        )

    async with faking(script) as fake, brokering(fake.fields()) as front:
        answer = await ask(front.port, startup())
    assert answer.startswith(wire.authentication_request(0))
    assert wire.message(b"S", b"server_version\x0015.1\0") in answer
    assert b"motd\0[redacted:db]\0" in answer
    assert b"hello [redacted:db]" in answer
    assert not any(form in answer for form in FORMS)
    assert answer.endswith(READY)
    assert KEY.secret not in answer
