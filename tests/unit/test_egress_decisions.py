"""Where a tool may connect to, and which request heads the gate accepts: no sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.execution import http_head
from keyless_sidecar.execution.destinations import (
    Allowed,
    BadDestination,
    Destination,
    allowed_for,
    is_public,
    parse_authority,
    parse_url,
    split_pattern,
)

AWS = ("*.amazonaws.com:443", "*.api.aws:443")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001::1",
    ],
)
def test_addresses_that_are_never_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["52.94.133.131", "8.8.8.8", "2600:1f18::1"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:80:80",
        "user@host:80",
        "ho st:80",
        "host:٤٤٣",
        "höst:80",
        "host..example:80",
        "-host:80",
        ".host:80",
        "host.:80",
        "127.1:80",
        "2130706433:80",
        "0x7f000001:80",
        "0x7f.0.0.1:80",
        "0177.0.0.1:80",
        "127.0.0.01:80",
        "1.2.3.4.5:80",
        "[::1]",
        "[::1%eth0]:80",
        "[::g]:80",
        "host:80/path",
        "a" * 254 + ":80",
        "host\r\n:80",
    ],
)
def test_authorities_that_are_refused(text: str) -> None:
    with pytest.raises(BadDestination):
        parse_authority(text)


def test_authority_is_brought_to_one_form() -> None:
    assert parse_authority("S3.Amazonaws.COM:443") == Destination("s3.amazonaws.com", 443)
    assert parse_authority("[2600:0:0::1]:443") == Destination("2600::1", 443)
    assert str(Destination("2600::1", 443)) == "[2600::1]:443"
    assert parse_url("http://127.0.0.1:5000") == Destination("127.0.0.1", 5000)
    assert parse_url("https://minio.example/") == Destination("minio.example", 443)
    for url in ("ftp://x/", "http://a@b/", "file:///etc/passwd", "http://"):
        with pytest.raises(BadDestination):
            parse_url(url)


def test_pattern_matches_below_its_domain_only() -> None:
    allowed, upstream = allowed_for(AWS, {})
    assert upstream == ""
    for host in ("s3.amazonaws.com", "lambda.eu-west-1.amazonaws.com"):
        assert allowed.refusal(Destination(host, 443)) == ""
    for host, port in (
        ("amazonaws.com", 443),
        ("evilamazonaws.com", 443),
        ("amazonaws.com.evil.example", 443),
        ("s3.amazonaws.com", 80),
        ("169.254.169.254", 80),
        ("127.0.0.1", 443),
    ):
        assert "not among the hosts" in allowed.refusal(Destination(host, port))


def test_port_may_be_a_wildcard() -> None:
    assert split_pattern("example.org:*") == ("example.org", 0)
    allowed, _ = allowed_for(["example.org:*"], {})
    assert allowed.refusal(Destination("example.org", 8443)) == ""


def test_upstream_takes_the_place_of_the_hosts_that_it_covers() -> None:
    upstreams = {"*.amazonaws.com": "http://127.0.0.1:5000"}
    allowed, url = allowed_for((*AWS, "example.org:443"), upstreams)
    assert url == "http://127.0.0.1:5000"
    assert allowed.refusal(Destination("127.0.0.1", 5000)) == ""
    assert allowed.refusal(Destination("example.org", 443)) == ""
    assert allowed.refusal(Destination("127.0.0.1", 5001))
    assert allowed.refusal(Destination("s3.amazonaws.com", 443))
    assert allowed.address_refusal(Destination("127.0.0.1", 5000), ["127.0.0.1"]) == ""


def test_exclusive_upstream_is_all_there_is() -> None:
    upstreams = {"*.amazonaws.com": "http://127.0.0.1:5000"}
    allowed, _ = allowed_for(AWS, upstreams, exclusive=True)
    assert allowed.refusal(Destination("127.0.0.1", 5000)) == ""
    assert allowed.refusal(Destination("x.api.aws", 443))


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    allowed, _ = allowed_for(["example.org:443"], {})
    there = Destination("example.org", 443)
    assert allowed.address_refusal(there, ["93.184.216.34"]) == ""
    assert "not public" in allowed.address_refusal(there, ["93.184.216.34", "10.0.0.1"])
    assert "no address" in allowed.address_refusal(there, [])


def test_nothing_is_allowed_by_default() -> None:
    assert Allowed().refusal(Destination("example.org", 443))


# ------------------------------------------------------------------------------ heads


def head(text: str) -> http_head.Head:
    return http_head.parse(text.replace("\n", "\r\n").encode("latin-1"))


def test_connect() -> None:
    for version in ("1.0", "1.1"):
        parsed = head(f"CONNECT s3.amazonaws.com:443 HTTP/{version}")
        assert parsed.tunnel
        assert parsed.destination == Destination("s3.amazonaws.com", 443)
    parsed = head("CONNECT h.example:443 HTTP/1.1\nHost: h.example:443\nProxy-Connection: close")
    assert parsed.destination.port == 443


def test_absolute_request_is_rewritten() -> None:
    parsed = head(
        "PUT http://127.0.0.1:5000/b/k?x=1 HTTP/1.1\nHost: 127.0.0.1:5000\nContent-Length: 3\n"
        "Proxy-Authorization: Basic x\nConnection: keep-alive, X-Hop\nX-Hop: 1\nX-Amz: a"
    )
    assert parsed.destination == Destination("127.0.0.1", 5000)
    assert parsed.body == 3
    assert parsed.forwarded() == (
        b"PUT /b/k?x=1 HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nContent-Length: 3\r\nX-Amz: a\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert head("GET http://h.example?q=1 HTTP/1.1\nHost: h.example").path == "/?q=1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET / HTTP/1.1\nHost: h",
        "GET https://h.example/ HTTP/1.1\nHost: h.example",
        "GET http://h.example/ HTTP/2.0\nHost: h.example",
        "GET  http://h.example/ HTTP/1.1\nHost: h.example",
        "get http://h.example/ HTTP/1.1\nHost: h.example",
        "GET http://h.example/ HTTP/1.1",
        "GET http://h.example/ HTTP/1.1\nHost: other.example",
        "GET http://h.example/ HTTP/1.1\nHost: h.example:81",
        "GET http://h.example/ HTTP/1.1\nHost: h.example\nHost: h.example",
        "GET http://u@h.example/ HTTP/1.1\nHost: h.example",
        "GET http://h.example/#f HTTP/1.1\nHost: h.example",
        "CONNECT h.example:443 HTTP/1.1\nHost: other.example:443",
        "CONNECT h.example HTTP/1.1",
        "CONNECT http://h.example:443 HTTP/1.1",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nContent-Length: 1\n"
        "Transfer-Encoding: chunked",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nContent-Length: 1\nContent-Length: 1",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nContent-Length: +1",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nContent-Length: 1, 1",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nTransfer-Encoding: gzip, chunked",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nTransfer-Encoding : chunked",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nTransfer-Encoding: x\n"
        "Transfer-Encoding: chunked",
        "POST http://h.example/ HTTP/1.1\nHost: h.example\nContent-Length: 1\n"
        "Connection: Content-Length",
        "GET http://h.example/ HTTP/1.1\nHost: h.example\n folded: x",
        "GET http://h.example/ HTTP/1.1\nHost: h.example\nno colon",
        "GET http://h.example/ HTTP/1.1\nHost: h.example\nX: a\x00b",
        "GET http://h.example/ HTTP/1.1\nHost: h.example\n" + "X: y\n" * 200 + "Z: z",
    ],
)
def test_heads_that_are_refused(text: str) -> None:
    with pytest.raises(http_head.BadRequest):
        head(text)


def test_bare_line_breaks_are_refused() -> None:
    for raw in (
        b"GET http://h.example/ HTTP/1.1\r\nHost: h.example\nX: y",
        b"GET http://h.example/ HTTP/1.1\r\nHost: h.example\r\nX: a\rY: b",
    ):
        with pytest.raises(http_head.BadRequest):
            http_head.parse(raw)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_head_or_a_refusal(raw: bytes) -> None:
    try:
        parsed = http_head.parse(raw)
    except http_head.BadRequest:
        return
    assert 0 < parsed.destination.port < 65536


@given(st.text(max_size=60))
def test_any_text_gives_a_destination_or_a_refusal(text: str) -> None:
    try:
        destination = parse_authority(text)
    except BadDestination:
        return
    assert destination.host == destination.host.lower()
    assert parse_authority(str(destination)) == destination
