"""Requests that two readers could understand in two ways: refused, and never seen by the server."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.unit.egress.engine.stage import HOST, Origin, Passing, answering, plain, staged

H = f"Host: {HOST}\r\n".encode()
POST = b"POST / HTTP/1.1\r\n" + H
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n"

#: Heads (and what follows) inside of a tunnel to HOST.
HEADS = {
    "both framings": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, other order": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd",
    "two equal lengths": POST + b"Content-Length: 4\r\ncontent-length: 4\r\n\r\nabcd",
    "list of lengths": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "signed length": POST + b"Content-Length: +4\r\n\r\nabcd",
    "negative length": POST + b"Content-Length: -1\r\n\r\nabcd",
    "hex length": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "octal length": POST + b"Content-Length: 04\r\n\r\nabcd",
    "length with blank": POST + b"Content-Length: 4 4\r\n\r\nabcd",
    "fraction": POST + b"Content-Length: 4.0\r\n\r\nabcd",
    "empty length": POST + b"Content-Length:\r\n\r\nabcd",
    "huge length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nabcd",
    "exotic digits": POST + "Content-Length: \u0664\r\n\r\nabcd".encode(),
    "two codings": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding list": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity, chunked": POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "misspelt coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "coding with parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "vertical tab in coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "blank before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before colon": POST + b"Content-Length\t: 4\r\n\r\nabcd",
    "underscored length": POST + b"Content_Length: 4\r\n\r\nabcd",
    "underscored coding": POST + b"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": POST + b"X-A: b\r\n c: d\r\n\r\n",
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "first header folded": b"POST / HTTP/1.1\r\n Host: api.example\r\n\r\n",
    "bare LF between headers": POST + b"X-A: b\nContent-Length: 4\r\n\r\nabcd",
    "bare LF after request line": b"GET / HTTP/1.1\n" + H + b"\r\n",
    "bare CR in value": POST + b"X-A: b\rContent-Length: 4\r\n\r\nabcd",
    "bare CR in request line": b"GET /\r HTTP/1.1\r\n" + H + b"\r\n",
    "NUL in value": POST + b"X-A: b\0c\r\n\r\n",
    "NUL in name": POST + b"X-\0A: b\r\n\r\n",
    "control character": POST + b"X-A: b\x01c\r\n\r\n",
    "delete character": POST + b"X-A: b\x7fc\r\n\r\n",
    "no colon": POST + b"Content-Length 4\r\n\r\nabcd",
    "empty name": POST + b": 4\r\n\r\n",
    "name with slash": POST + b"X/A: 4\r\n\r\n",
    "name beyond ASCII": POST + "X-Ä: 4\r\n\r\n".encode(),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no host in 1.0": b"GET / HTTP/1.0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + H + b"Host: other.example\r\n\r\n",
    "two equal hosts": b"GET / HTTP/1.1\r\n" + H + H + b"\r\n",
    "other host": b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
    "other port": b"GET / HTTP/1.1\r\nHost: api.example:8443\r\n\r\n",
    "http port": b"GET / HTTP/1.1\r\nHost: api.example:80\r\n\r\n",
    "host with user": b"GET / HTTP/1.1\r\nHost: a@api.example\r\n\r\n",
    "host list": b"GET / HTTP/1.1\r\nHost: api.example, other.example\r\n\r\n",
    "host with path": b"GET / HTTP/1.1\r\nHost: api.example/x\r\n\r\n",
    "host with dot": b"GET / HTTP/1.1\r\nHost: api.example.\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "absolute form": b"GET https://api.example/ HTTP/1.1\r\n" + H + b"\r\n",
    "absolute form elsewhere": b"GET http://other.example/ HTTP/1.1\r\n" + H + b"\r\n",
    "authority form": b"GET api.example:443 HTTP/1.1\r\n" + H + b"\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n",
    "tunnel in a tunnel": b"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
    "tunnel to itself": b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n",
    "backslash": b"GET /a\\..\\b HTTP/1.1\r\n" + H + b"\r\n",
    "blank in target": b"GET /a b HTTP/1.1\r\n" + H + b"\r\n",
    "raw bytes in target": "GET /ä HTTP/1.1\r\n".encode() + H + b"\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\n" + H + b"\r\n",
    "tab for blank": b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n",
    "blank at the end": b"GET / HTTP/1.1 \r\n" + H + b"\r\n",
    "empty line first": b"\r\nGET / HTTP/1.1\r\n" + H + b"\r\n",
    "no version": b"GET /\r\n" + H + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + H + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + H + b"\r\n",
    "HTTP/01.1": b"GET / HTTP/01.1\r\n" + H + b"\r\n",
    "http/1.1": b"GET / http/1.1\r\n" + H + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case method": b"get / HTTP/1.1\r\n" + H + b"\r\n",
    "odd method": b"GE(T / HTTP/1.1\r\n" + H + b"\r\n",
    "trace": b"TRACE / HTTP/1.1\r\n" + H + b"\r\n",
    "upgrade": b"GET / HTTP/1.1\r\n" + H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "upgrade without option": b"GET / HTTP/1.1\r\n" + H + b"Upgrade: h2c\r\n\r\n",
    "h2c": b"GET / HTTP/1.1\r\n" + H + b"Connection: HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n",
    "connection names host": b"GET / HTTP/1.1\r\n" + H + b"Connection: close, Host\r\n\r\n",
    "connection names length": POST
    + b"Connection: Content-Length\r\nContent-Length: 4\r\n\r\nabcd",
    "connection names signature": b"GET / HTTP/1.1\r\n" + H + b"Connection: authorization\r\n\r\n",
    "odd expectation": POST + b"Content-Length: 4\r\nExpect: 200-ok\r\n\r\nabcd",
    "two expectations": POST + b"Content-Length: 4\r\n" + b"Expect: 100-continue\r\n" * 2 + b"\r\n",
    "too many headers": b"GET / HTTP/1.1\r\n" + H + b"X-A: b\r\n" * 200 + b"\r\n",
    "too long": b"GET / HTTP/1.1\r\n" + H + b"X-A: " + b"b" * 70_000 + b"\r\n\r\n",
    "too long without end": b"GET / HTTP/1.1\r\n" + H + b"X-A: " + b"b" * 70_000,
    "TLS within TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
#: Bodies: the server may see their beginning, never their end.
BODIES = {
    "no number": b"zz\r\nabc\r\n",
    "negative": b"-3\r\nabc\r\n",
    "signed": b"+3\r\nabc\r\n",
    "prefix": b"0x3\r\nabc\r\n",
    "blank before": b" 3\r\nabc\r\n",
    "blank after": b"3 \r\nabc\r\n",
    "underscore": b"1_0\r\n",
    "empty size": b"\r\nabc\r\n",
    "huge": b"f" * 40 + b"\r\n",
    "bare LF after size": b"3\nabc\r\n",
    "bare CR after size": b"3\rabc\r\n",
    "LF within an extension": b"3;a\nb\r\nabc\r\n",
    "NUL within an extension": b"3;a\0b\r\nabc\r\n",
    "long extension": b"3;" + b"a" * 5000 + b"\r\nabc\r\n",
    "longer than said": b"3\r\nabcdef\r\n",
    "shorter than said": b"4\r\nabc\r\n",
    "bare LF after chunk": b"3\r\nabc\n",
    "other bytes after chunk": b"3\r\nabcXY",
    "folded trailer": b"0\r\n X: y\r\n\r\n",
    "malformed trailer": b"0\r\nX y\r\n\r\n",
    "bare LF trailer": b"0\r\nX: y\n\r\n\r\n",
    "bare LF at the end": b"0\r\n\n",
    "too many trailers": b"0\r\n" + b"X: y\r\n" * 40 + b"\r\n",
}


def test_the_tables_are_long_enough() -> None:
    assert len(HEADS) >= 40
    assert len(BODIES) >= 20


@pytest.mark.parametrize("name", HEADS)
async def test_ambiguous_heads_are_refused(name: str) -> None:
    origin, handler = answering(plain()), Passing()
    async with staged(origin, handler=handler) as stage:
        client = await stage.tunnel()
        await client.send(HEADS[name] + SMUGGLED * 2)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"The request is refused" in answer
        assert answer.count(b"\r\n\r\n") == 1
        assert handler.seen == []
        assert origin.connections == 0


@pytest.mark.parametrize("name", BODIES)
async def test_ambiguous_bodies_never_end_for_the_server(name: str) -> None:
    seen = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            seen.extend(data)

    origin, handler = Origin(script), Passing()
    async with staged(origin, handler=handler) as stage:
        client = await stage.tunnel()
        await client.send(CHUNKED + BODIES[name] + SMUGGLED)
        answer = await client.rest()
        await asyncio.wait_for(origin.ended.wait(), 10)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"\r\n\r\n") == 1
        assert b"0\r\n\r\n" not in seen
        assert b"smuggled" not in seen
        assert len(handler.seen) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"GET http://api.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n",
        b"GET http://api.example/ HTTP/1.1\r\n\r\n",
        b"GET http://api.example/ HTTP/1.1\r\nHost: api.example:81\r\n\r\n",
        b"GET https://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"GET ftp://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"GET http://a@api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"GET http://api.example\\@other.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"GET http://api.example#x HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"CONNECT api.example HTTP/1.1\r\nHost: api.example\r\n\r\n",
        b"CONNECT api.example:0 HTTP/1.1\r\nHost: api.example:0\r\n\r\n",
        b"CONNECT api.example:99999 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
        b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:444\r\n\r\n",
        b"CONNECT api.example:443 HTTP/1.1\r\nHost: a\r\nHost: api.example\r\n\r\n",
        b"CONNECT api.example:443 HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
        b"CONNECT api.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT http://api.example:443/ HTTP/1.1\r\n\r\n",
        b"CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.1:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example:443 HTTP/1.1\r\n\r\n" + SMUGGLED,
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
    ],
)
async def test_ambiguous_destinations_are_refused(raw: bytes) -> None:
    origin, handler = answering(plain()), Passing()
    async with staged(origin, handler=handler) as stage:
        assert (await stage.ask(raw)).startswith(b"HTTP/1.1 400 ")
        assert handler.seen == []
        assert origin.connections == 0


async def test_a_plain_connection_can_name_another_host_each_time_but_no_tunnel_later() -> None:
    origin, handler = answering(plain()), Passing()
    async with staged(origin, handler=handler) as stage:
        client = await stage.open()
        for host in ("api.example", "other.example"):
            await client.send(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            await client.answer()
        assert [seen.host for seen in handler.seen] == ["api.example", "other.example"]
        await client.send(b"CONNECT api.example:443 HTTP/1.1\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_plain_text_within_a_tunnel_is_not_read() -> None:
    origin, handler = answering(plain()), Passing()
    async with staged(origin, handler=handler) as stage:
        client = await stage.open()
        await client.send(b"CONNECT api.example:443 HTTP/1.1\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200")
        await client.send(SMUGGLED)
        assert b"HTTP" not in await client.rest()
        assert handler.seen == []


async def test_a_get_with_a_body_does_not_leave_it_to_the_next_request() -> None:
    """Some servers don't read such bodies, and would take them for the next request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            origin.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(plain())
            await writer.drain()

    origin = Origin(script)
    async with staged(origin) as stage:
        client = await stage.tunnel()
        head = f"GET /first HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n"
        await client.send(head.encode() + SMUGGLED)
        await client.answer()
        await client.close()
        again = await stage.tunnel()
        await again.send(f"GET /second HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await again.answer()
        assert origin.connections == 2
        assert b"/second" in origin.heads[-1]


async def test_a_handshake_for_nothing_is_the_end_of_it() -> None:
    async with staged(answering(plain())) as stage:
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            await stage.tunnel(context=context)
