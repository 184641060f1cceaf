"""Requests through the proxy, over real sockets and real TLS."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.unit.egress.engine.stage import (
    HOST,
    Answering,
    Origin,
    Passing,
    answering,
    plain,
    staged,
    trusting,
)

from keyless_sidecar.egress.authority import Authority
from keyless_sidecar.egress.messages import Forward, Request, Response

GET = f"GET /a%20b?x=y HTTP/1.1\r\nHost: {HOST}\r\nX-One: 1\r\n\r\n".encode()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_request_in_a_tunnel_reaches_the_handler_and_the_server(tls: bool) -> None:
    handler = Passing()
    async with staged(answering(plain()), tls=tls, handler=handler) as stage:
        client = await stage.tunnel()
        for _ in range(3):
            await client.send(GET)
            head, body = await client.answer()
            assert head == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            assert body == b"hello"
    first = handler.seen[0]
    assert (first.method, first.scheme, first.host, first.port) == ("GET", "https", HOST, 443)
    assert first.target == "/a%20b?x=y"
    assert first.headers == [("Host", HOST), ("X-One", "1")]
    assert first.length == 0
    assert "X-One" not in repr(first)


async def test_plain_requests_reach_the_handler_too() -> None:
    origin, handler = answering(plain()), Passing()
    async with staged(origin, handler=handler) as stage:
        client = await stage.open()
        for path in ("/x?y", "?y", ""):
            await client.send(
                f"GET http://{HOST}:8080{path} HTTP/1.1\r\nHost: {HOST}:8080\r\n"
                "Proxy-Connection: keep-alive\r\n\r\n".encode()
            )
            assert (await client.answer())[1] == b"hello"
    assert [(seen.scheme, seen.port, seen.target) for seen in handler.seen] == [
        ("http", 8080, "/x?y"),
        ("http", 8080, "/?y"),
        ("http", 8080, "/"),
    ]
    assert b"proxy-connection" not in origin.heads[0].lower()


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_go_both_ways(chunked: bool) -> None:
    data = bytes(range(256)) * 8192

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await origin.request(reader)
            if chunked:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for start in range(0, len(body), 100_000):
                    piece = body[start : start + 100_000]
                    writer.write(b"%x;ext=1\r\n" % len(piece) + piece + b"\r\n")
                writer.write(b"0\r\nX-Trailer: 1\r\n\r\n")
            else:
                writer.write(plain(body))
            await writer.drain()

    origin = Origin(echo)
    async with staged(origin, tls=True) as stage:
        client = await stage.tunnel()
        for _ in range(2):
            head = f"PUT /x HTTP/1.1\r\nHost: {HOST}\r\n"
            if chunked:
                await client.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                for start in range(0, len(data), 70_000):
                    piece = data[start : start + 70_000]
                    await client.send(b"%X\r\n" % len(piece) + piece + b"\r\n")
                await client.send(b"0\r\n\r\n")
            else:
                await client.send(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            head_back, body = await client.answer()
            assert body == data
            assert (b"chunked" in head_back) == chunked
        assert origin.bodies == [data, data]
        assert origin.connections == 1


@pytest.mark.parametrize(
    ("request_line", "answer", "expected"),
    [
        ("HEAD", plain(b"")[:-2] + b"X: 1\r\n\r\n", b"Content-Length: 0"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"Content-Length: 1000"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"200 OK"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"Content-Length: 9"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"204 No Content"),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b""), b"200 OK"),
        ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + plain(b""), b"200 OK"),
        ("GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"200 "),
    ],
)
async def test_answers_without_a_body(request_line: str, answer: bytes, expected: bytes) -> None:
    origin = answering(answer)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        for _ in range(2):
            await client.send(f"{request_line} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert expected in await client.head()
        assert origin.connections == 1


async def test_a_body_until_the_connections_end_becomes_chunked() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await origin.request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nsome")
        await writer.drain()
        writer.write(b"thing")

    origin = Origin(script)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer())[1] == b"something"
        old = await stage.tunnel()
        await old.send(f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        answer = await old.rest()
        assert answer == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsomething"


async def test_pipelined_requests_are_answered_in_order() -> None:
    origin = answering(plain(b"1"), plain(b"2"), plain(b"3"))
    async with staged(origin) as stage:
        client = await stage.tunnel()
        await client.send(GET * 3)
        assert [(await client.answer())[1] for _ in range(3)] == [b"1", b"2", b"3"]


async def test_each_request_is_decided_on_its_own() -> None:
    async def second_only(request: Request, forward: Forward) -> Response:
        if len(handler.seen) == 2:
            return await forward(request)
        return Response.of(403, b"no")

    origin, handler = answering(plain()), Answering(second_only)
    async with staged(origin, handler=handler) as stage:
        client = await stage.tunnel()
        statuses = []
        for _ in range(3):
            await client.send(GET)
            statuses.append((await client.answer())[0].split()[1])
        assert statuses == [b"403", b"200", b"403"]
        assert len(origin.heads) == 1


async def test_errors_of_a_handler_close_nothing_open_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(request: Request, forward: Forward) -> Response:
        raise ZeroDivisionError

    origin = answering(plain())
    async with staged(origin, handler=Answering(broken)) as stage:
        client = await stage.tunnel()
        await client.send(GET)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 500")
        assert b"internal error" in body
        assert origin.connections == 0
    assert "a handler failed" in caplog.text


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\nb", "a\0b"])
async def test_a_handler_cannot_split_requests_or_answers(value: str) -> None:
    async def outgoing(request: Request, forward: Forward) -> Response:
        request.headers.append(("X-Bad", value))
        return await forward(request)

    async def incoming(request: Request, forward: Forward) -> Response:
        return Response.of(200, b"", headers=[("X-Bad", value)])

    for act, status in ((outgoing, b"400"), (incoming, b"502")):
        origin = answering(plain())
        async with staged(origin, handler=Answering(act)) as stage:
            client = await stage.tunnel()
            await client.send(GET)
            assert (await client.answer())[0].split()[1] == status
            assert origin.connections == 0


async def test_a_handler_cannot_send_a_request_elsewhere() -> None:
    async def elsewhere(request: Request, forward: Forward) -> Response:
        request.host = "evil.test"
        request.headers = [("Host", "evil.test")]
        return await forward(request)

    async def other_host(request: Request, forward: Forward) -> Response:
        request.headers = [("Host", "other.example")]
        return await forward(request)

    for act, status in ((elsewhere, b"403"), (other_host, b"400")):
        origin = answering(plain())
        async with staged(origin, handler=Answering(act)) as stage:
            client = await stage.tunnel()
            await client.send(GET)
            assert (await client.answer())[0].split()[1] == status
            assert origin.connections == 0


async def test_the_name_in_the_handshake_must_be_the_tunnels() -> None:
    async with staged(answering(plain())) as stage:
        context = trusting(stage.authority)
        context.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await stage.tunnel(context=context, server_hostname="other.example")
        assert not stage.proxy.refused
        client = await stage.tunnel(context=context, server_hostname="")
        await client.send(GET)
        assert (await client.answer())[1] == b"hello"
    strangers = trusting(Authority())
    async with staged(answering(plain())) as stage:
        with pytest.raises(ssl.SSLCertVerificationError):
            await stage.tunnel(context=strangers)


async def test_old_tls_is_refused_and_only_http1_is_offered() -> None:
    async with staged(answering(plain())) as stage:
        context = trusting(stage.authority)
        context.set_alpn_protocols(["h2", "http/1.1"])
        client = await stage.tunnel(context=context)
        tls = client.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() == "TLSv1.3"
