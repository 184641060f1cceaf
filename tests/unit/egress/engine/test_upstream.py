"""Real servers: who they are, what they answer, and connections that are used again."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.egress.engine.stage import (
    HOST,
    Answering,
    Origin,
    answering,
    plain,
    running,
    staged,
)

from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.exchange import Limits
from keyless_sidecar.egress.messages import Forward, Request, Response, UpstreamFailed
from keyless_sidecar.egress.pool import Pool
from keyless_sidecar.egress.trust import client_context
from keyless_sidecar.egress.upstream import Forwarder
from keyless_sidecar.execution.destinations import Allowed, BadDestination, Destination

GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
POST = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi".encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\nSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n Set-Cookie: c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n",
    ],
)
async def test_answers_that_can_be_read_in_two_ways(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await origin.request(reader)
        writer.write(answer)
        await writer.drain()
        await reader.read(-1)

    origin = Origin(script)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"Set-Cookie" not in head
        assert body.endswith(b".\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n4\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf!\r\n0\r\n\r\n",
    ],
)
async def test_half_an_answer_is_not_passed_off_as_a_whole(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await origin.request(reader)
        writer.write(answer)
        await writer.drain()

    origin = Origin(script)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        got = await client.rest()
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert not got.endswith(b"0\r\n\r\n")
        assert b"half" not in got or len(got.partition(b"\r\n\r\n")[2]) < 20


async def test_a_server_that_dies() -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    for raw in (GET, POST):
        origin = Origin(dies)
        async with staged(origin) as stage:
            client = await stage.tunnel()
            await client.send(raw)
            head, body = await client.answer()
            assert head.startswith(b"HTTP/1.1 502 ")
            assert b"api.example:443 closed the connection without an answer" in body
            assert origin.connections == 1
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with staged(upstreams={"*": f"http://127.0.0.1:{port}"}) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        assert b"doesn't answer" in (await client.answer())[1]


async def test_connections_are_used_again_across_tools_connections() -> None:
    origin, pool = answering(plain()), Pool()
    async with staged(origin, tls=True, pool=pool) as stage:
        for _ in range(3):
            client = await stage.tunnel()
            await client.send(POST)
            await client.answer()
            await client.close()
        assert origin.connections == 1
        assert len(pool) == 1
    assert len(pool) == 1  # shared: it outlives the proxy
    pool.close()
    assert len(pool) == 0


async def test_idle_connections_end() -> None:
    origin = answering(plain())
    async with staged(origin, pool=Pool(seconds=0.05)) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        await client.answer()
        await asyncio.wait_for(origin.ended.wait(), 10)


async def test_connections_that_said_more_than_asked_are_not_used_again() -> None:
    origin = answering(plain() + plain(b"poison"), plain(b"clean"))
    async with staged(origin) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        assert (await client.answer())[1] == b"hello"
        await client.send(GET)
        assert (await client.answer())[1] == b"clean"
        assert origin.connections == 2


class Closing(Origin):
    """Answers once on each connection, and reads the second request before it closes."""

    def __init__(self) -> None:
        super().__init__(self._script)

    async def _script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.request(reader)
        writer.write(plain(str(self.connections).encode()))
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()


async def test_a_reused_connection_that_was_gone_is_replaced_once() -> None:
    origin = Closing()
    async with staged(origin) as stage:
        client = await stage.tunnel()
        for number in range(1, 4):
            await client.send(GET)
            assert (await client.answer())[1] == str(number).encode()
        assert origin.connections == 3


async def test_what_may_have_been_done_is_not_done_twice() -> None:
    for raw in (POST, f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode()):
        origin = Closing()
        async with staged(origin) as stage:
            client = await stage.tunnel()
            await client.send(GET)
            await client.answer()
            await client.send(raw)
            assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
            assert origin.connections == 1


async def test_an_answer_that_a_handler_drops_is_not_read_by_the_next() -> None:
    async def drop(request: Request, forward: Forward) -> Response:
        await forward(request)
        return Response.of(200, b"mine")

    origin = answering(plain(b"x" * 1_000_000))
    async with staged(origin, handler=Answering(drop)) as stage:
        client = await stage.tunnel()
        for _ in range(3):
            await client.send(GET)
            assert (await client.answer())[1] == b"mine"
        assert origin.connections == 3


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "::1", "fe80::1", "::ffff:10.0.0.1"],
)
async def test_names_that_lead_inside_are_refused(address: str) -> None:
    async def inside(destination: Destination) -> Sequence[str]:
        return ["93.184.216.34", address]

    async with staged(resolver=inside) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 403 ")
        assert b"not public" in body
        assert b" 403 Keyless: api.example:443 resolves to an address that is not public." in head
        assert stage.proxy.notes() == [
            "egress refused: api.example:443: it resolves to an address that is not public."
        ]


async def test_a_name_is_resolved_once() -> None:
    asked: list[Destination] = []

    async def rebinding(destination: Destination) -> Sequence[str]:
        asked.append(destination)
        return ["10.0.0.1"] if len(asked) == 1 else ["93.184.216.34"]

    async with staged(resolver=rebinding) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        assert (await client.answer())[0].startswith(b"HTTP/1.1 403 ")
        assert asked == [Destination(HOST, 443)]


async def test_names_that_do_not_resolve() -> None:
    async def nothing(_: Destination) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def empty(_: Destination) -> Sequence[str]:
        return []

    async def nonsense(_: Destination) -> Sequence[str]:
        return ["not an address"]

    for resolver, status in ((nothing, b"502"), (empty, b"403"), (nonsense, b"403")):
        async with staged(resolver=resolver) as stage:
            client = await stage.tunnel()
            await client.send(GET)
            assert (await client.answer())[0].split()[1] == status


def certificate(tmp_path: Path, name: str, *, days: int) -> tuple[ssl.SSLContext, str]:
    """A server context that signs for itself, and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    file = tmp_path / "server.pem"
    file.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, pem.decode()


@pytest.mark.parametrize(
    ("name", "days", "good"),
    [("localhost", 10, True), ("other.example", 10, False), ("localhost", -1, False)],
)
async def test_servers_that_are_not_who_they_should_be(
    name: str, days: int, good: bool, tmp_path: Path
) -> None:
    serving, pem = certificate(tmp_path, name, days=days)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=pem)

    async def loopback(_: Destination) -> Sequence[str]:
        return ["127.0.0.1"]

    async with running(answering(plain()), serving) as origin:
        url = f"https://localhost:{origin.port}"
        forward = Forwarder(
            Allowed((("*.example", 443),)), {"*": url}, resolver=loopback, trust=trust
        )
        request = Request("GET", "https", HOST, 443, "/", [("Host", HOST)])
        if good:
            response = await forward(request)
            assert await response.read(100) == b"hello"
        else:
            with pytest.raises(UpstreamFailed, match="isn't who it should be"):
                await forward(request)
            assert origin.heads == []
        forward.close()


async def test_strangers_are_not_trusted_by_default() -> None:
    context = Authority().context_for("localhost")
    origin = answering(plain())
    async with staged(origin, upstream_tls=context) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"isn't who it should be" in body
        assert origin.heads == []


async def test_a_server_without_tls_where_tls_is_due() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(plain())
        await writer.drain()

    async with (
        running(Origin(script)) as origin,
        staged(upstreams={"*": f"https://127.0.0.1:{origin.port}"}) as stage,
    ):
        client = await stage.tunnel()
        await client.send(GET)
        assert b"No secure connection" in (await client.answer())[1]


def test_the_default_trust_verifies() -> None:
    context = client_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 50


async def test_redirects_are_new_requests() -> None:
    """The proxy follows none; the tool's next request is decided as any other."""
    answer = plain(b"", "Location: https://evil.test/\r\n", "302 Found")
    async with staged(answering(answer)) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        assert b"Location: https://evil.test/" in await client.head()
        with pytest.raises(ConnectionRefusedError, match="403"):
            await stage.tunnel("evil.test")
        assert stage.proxy.refused == {"evil.test:443": 1}


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a@x", "http://x/path", "x:1"])
def test_upstreams_that_do_not_parse(url: str) -> None:
    with pytest.raises(BadDestination):
        Forwarder(Allowed(), {"*": url})


async def test_what_no_handler_claims() -> None:
    class Nobody(Answering):
        def claims(self, destination: Destination) -> bool:
            return False

    async def never(request: Request, forward: Forward) -> Response:
        raise AssertionError

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async with running(Origin(echo)) as origin:
        allowed = Allowed((), frozenset({Destination("127.0.0.1", origin.port)}))
        nobody = Nobody(never)
        async with staged(handler=nobody, allowed=allowed) as stage:
            answer = await stage.ask(f"CONNECT 127.0.0.1:{origin.port} HTTP/1.1\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert origin.connections == 0
        async with staged(handler=nobody, allowed=allowed, allow_tunnels=True) as stage:
            client = await stage.open()
            await client.send(f"CONNECT 127.0.0.1:{origin.port} HTTP/1.1\r\n\r\nhello".encode())
            assert (await client.head()).startswith(b"HTTP/1.1 200 ")
            assert await client.reader.readexactly(5) == b"hello"
            client.writer.write_eof()
            assert await client.rest() == b""
            for target in ("other.example:443", "169.254.169.254:80"):
                refused = await stage.ask(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
                assert refused.startswith(b"HTTP/1.1 403 ")
            assert sum(stage.proxy.refused.values()) == 2


async def test_unclaimed_plain_requests_are_passed_where_tunnels_are() -> None:
    class Nobody(Answering):
        def claims(self, destination: Destination) -> bool:
            return False

    async def never(request: Request, forward: Forward) -> Response:
        raise AssertionError

    raw = f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    async with staged(answering(plain()), handler=Nobody(never), allow_tunnels=True) as stage:
        assert (await stage.ask(raw)).endswith(b"hello")
    async with staged(answering(plain()), handler=Nobody(never)) as stage:
        assert (await stage.ask(raw)).startswith(b"HTTP/1.1 403 ")


async def test_connections_are_capped_and_names_of_refused_hosts_bounded() -> None:
    async with staged(answering(plain()), connections=2) as stage:
        held = [await stage.tunnel() for _ in range(2)]
        assert await stage.ask(b"CONNECT api.example:443 HTTP/1.1\r\n\r\n") == b""
        for client in held:
            await client.send(GET)
            await client.answer()
    async with staged(answering(plain())) as stage:
        for number in range(40):
            await stage.ask(f"CONNECT h{number}.test:443 HTTP/1.1\r\n\r\n".encode())
        assert len(stage.proxy.refused) == 33
        assert "egress refused: further destinations (8 times)" in stage.proxy.notes()


async def test_limits_have_sensible_defaults() -> None:
    assert Limits().connect == 20
    assert Limits().head == 300
