"""What a tool or a cell may do to the broker: nothing beyond a session of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.postgres import PASSWORD, anywhere, brokering
from tests.support.postgres_fakes import (
    KEY,
    READY,
    Peer,
    ask,
    faking,
    fatal,
    raw_startup,
    startup,
)

from keyless_sidecar.audit import AuditUnavailable
from keyless_sidecar.execution.destinations import Destination
from keyless_sidecar.policy.acts import Decision
from keyless_sidecar.postgres import wire
from keyless_sidecar.postgres.client import PARAMETERS
from keyless_sidecar.postgres.upstream import public_only

GREETING = wire.authentication_request(0)


async def honest(peer: Peer) -> None:
    """Logs in, then echoes."""
    first = await peer.packet()
    if isinstance(wire.parse_first(first), wire.CancelRequest):
        return
    await peer.scram()
    await peer.send(wire.backend_key(KEY), READY)
    while data := await peer.reader.read(65536):
        peer.got += data
        await peer.send(data)


async def ready(reader: asyncio.StreamReader) -> wire.BackendKey:
    """Read up to ReadyForQuery."""
    key = None
    while True:
        header = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(header[1:], "big") - 4)
        assert header[:1] != b"E", body
        if header[:1] == b"K":
            key = wire.parse_backend_key(body)
        if header[:1] == b"Z":
            assert key is not None
            return key


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0",
        b"\0\0\0\7abc",
        b"\xff\xff\xff\xff" + bytes(100),
        b"\0\0\x27\x11" + bytes(10_000),
        raw_startup(0x20000, b"user\0app\0\0"),
        raw_startup(0x30000, b"user\0app"),
        raw_startup(0x30000, b"user\0app\0user\0root\0\0"),
        raw_startup(0x30000, b"user\0\xff\0\0"),
        wire.ssl_request() * 2,
    ],
)
async def test_malformed_starts_are_refused_before_anything_is_fetched(data: bytes) -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        answer = await ask(front.port, data)
        assert fatal(answer.removeprefix(b"N"))["C"] == "08P01"
        assert not fake.peers
        assert not front.desk.acts
        # It goes on serving.
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        await ready(reader)
        writer.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=400))
def test_garbage_gets_an_error_or_nothing(data: bytes) -> None:
    async def once() -> tuple[bytes, int]:
        async with faking(honest) as fake, brokering(fake.fields(), startup_timeout=0.05) as front:
            return await ask(front.port, data), len(fake.peers)

    answer, peers = asyncio.run(once())
    assert peers == 0
    assert answer.lstrip(b"N")[:1] in (b"", b"E")


async def test_encryption_is_declined_then_the_session_begins() -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(raw_startup(80877104, b""))
        assert await reader.readexactly(1) == b"N"
        writer.write(wire.ssl_request())
        assert await reader.readexactly(1) == b"N"
        writer.write(startup())
        await ready(reader)
        writer.close()


async def test_slow_clients_are_dropped() -> None:
    async with faking(honest) as fake, brokering(fake.fields(), startup_timeout=0.2) as front:
        silent = await asyncio.open_connection("127.0.0.1", front.port)
        dripping = await asyncio.open_connection("127.0.0.1", front.port)

        async def drip() -> None:
            with contextlib.suppress(OSError):
                for byte in startup():
                    dripping[1].write(bytes([byte]))
                    await dripping[1].drain()
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        assert await silent[0].read() == b""
        with contextlib.suppress(OSError):
            assert await dripping[0].read() == b""
        task.cancel()
        await asyncio.wait({task})
        for _, writer in (silent, dripping):
            writer.transport.abort()
        assert not fake.peers


async def test_a_second_startup_is_just_bytes_for_the_server() -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        await ready(reader)
        second = wire.startup_message({"user": "postgres", "database": "other"})
        writer.write(second)
        assert await reader.readexactly(len(second)) == second
        assert len(fake.peers) == 1
        writer.close()
    assert len(front.desk.acts) == 1


@pytest.mark.parametrize(
    ("parameters", "code", "why"),
    [
        ({"user": "postgres"}, "28000", "for the user 'app'"),
        ({"database": "template1"}, "28000", "for the database 'shop'"),
        ({"options": "-c role=postgres"}, "42501", "options is not allowed"),
        ({"replication": "database"}, "42501", "replication is not allowed"),
        ({"User": "postgres"}, "42501", "'User'"),
        ({"Database": "x"}, "42501", "'Database'"),
        ({"local_preload_libraries": "x"}, "42501", "use SET"),
        ({"session_authorization": "postgres"}, "42501", "use SET"),
        ({"role": "postgres"}, "42501", "use SET"),
        ({"evil\x1b[2J": "x"}, "42501", "evil?"),
    ],
)
async def test_other_parameters_are_refused(
    parameters: dict[str, str], code: str, why: str
) -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        error = fatal(await ask(front.port, startup(**parameters)))
        assert (error["C"], why in error["M"]) == (code, True), error
        assert not fake.peers
        assert not front.desk.acts
        assert front.desk.last("postgres.refused")["reason"] == error["M"]
        assert front.broker.notes()


async def test_harmless_parameters_pass() -> None:
    given = {"application_name": "x", "client_encoding": "UTF8", "DateStyle": "ISO"}
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup(**given))
        await ready(reader)
        writer.close()
        seen = wire.parse_first(fake.peers[0].got[4 : int.from_bytes(fake.got[:4], "big")])
    assert isinstance(seen, wire.Startup)
    assert seen.parameters == {"user": "app", "database": "shop", **given}


async def test_options_pass_where_they_are_allowed() -> None:
    allowed = PARAMETERS | {"options"}
    async with faking(honest) as fake, brokering(fake.fields(), parameters=allowed) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup(options="-c geqo=off"))
        await ready(reader)
        writer.close()
    assert b"options\0-c geqo=off\0" in fake.got


async def test_the_database_is_the_entrys_or_the_clients() -> None:
    fields = {"user": "app"}
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(wire.startup_message(fields))
        await ready(reader)
        writer.close()
        assert front.desk.acts[0].attributes["database"] == "shop"
        assert front.desk.entry is not None
        free = {name: text for name, text in fake.fields().items() if name != "database"}
    async with faking(honest) as fake, brokering({**free, "port": str(fake.port)}) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(wire.startup_message({**fields, "database": "other"}))
        await ready(reader)
        writer.close()
        assert front.desk.acts[0].attributes["database"] == "other"


async def test_newer_protocols_are_negotiated_down() -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(raw_startup(0x3270F, b"user\0app\0database\0shop\0_pq_.new\0on\0\0"))
        header = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(header[1:], "big") - 4)
        assert (header[:1], body) == (b"v", b"\0\3\0\0\0\0\0\1_pq_.new\0")
        await ready(reader)
        writer.close()
    assert b"_pq_" not in fake.got


@pytest.mark.parametrize("outcome", ["deny", "ask"])
async def test_the_policy_is_asked_and_obeyed(outcome: Any) -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        front.desk.decision = Decision(outcome, "policy.cedar:no-db", "Not on Fridays.")
        error = fatal(await ask(front.port, startup(application_name="mine")))
        assert error["C"] == "28000"
        assert "Not on Fridays." in error["M"]
        assert "policy.cedar:no-db" in error["M"]
        assert not fake.peers
        (act,) = front.desk.acts
        assert (act.action, act.credential, act.mutating) == ("postgres:connect", "db", None)
        assert act.attributes == {
            "host": "127.0.0.1",
            "port": fake.port,
            "database": "shop",
            "user": "app",
            "application_name": "mine",
            "credential_kind": "postgres",
            "delivery": "proxy",
        }
        record = front.desk.last("postgres.connect")
        assert (record["outcome"], record["rule"]) == (outcome, "policy.cedar:no-db")
        assert PASSWORD not in str(front.desk.records) + str(front.desk.acts)


async def test_private_addresses_need_a_word_of_the_person() -> None:
    async with faking(honest) as fake:
        async with brokering(fake.fields(), address_check=public_only) as front:
            error = fatal(await ask(front.port, startup()))
        assert "not public" in error["M"]
        assert not fake.peers


async def test_a_name_is_resolved_once_and_all_its_addresses_are_checked() -> None:
    asked: list[str] = []

    async def resolver(destination: Any) -> list[str]:
        asked.append(destination.host)
        return ["93.184.216.34", "127.0.0.1"]

    async with faking(honest) as fake:
        fields = fake.fields(host="db.example.com")
        async with brokering(fields, resolver=resolver, address_check=public_only) as front:
            error = fatal(await ask(front.port, startup()))
    assert "not public" in error["M"]
    assert asked == ["db.example.com"]


async def test_what_cant_be_recorded_isnt_done() -> None:
    async def record(kind: str, fields: Mapping[str, Any]) -> None:
        raise AuditUnavailable("full")

    async with faking(honest) as fake, brokering(fake.fields()) as front:
        front.broker._record = record
        error = fatal(await ask(front.port, startup()))
        assert "audit" in error["M"]
        assert not fake.peers


async def test_a_removed_entry_ends_its_sessions_and_begins_no_more() -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        await ready(reader)
        await front.broker.drop("another")
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        front.desk.entry = None
        await front.broker.drop("db")
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()
        error = fatal(await ask(front.port, startup()))
        assert "no credential named db" in error["M"]
        record = front.desk.last("postgres.end")
        assert record["ended"] == "broker"
        assert record["bytes_to_server"] == record["bytes_to_client"] == 10


async def test_a_rotated_entry_counts_for_the_next_session() -> None:
    async with faking(honest) as fake, brokering(fake.fields(password="Old-one-8Xk2")) as front:
        error = fatal(await ask(front.port, startup()))
        assert error["S"] == "FATAL"
        assert front.desk.entry is not None
        front.desk.entry.fields = fake.fields()
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        await ready(reader)
        writer.close()


async def test_sessions_are_limited_and_cancelling_still_works() -> None:
    async with faking(honest) as fake, brokering(fake.fields(), connections=2) as front:
        held = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(startup())
            held.append((await ready(reader), reader, writer))
        assert fatal(await ask(front.port, startup()))["C"] == "53300"
        assert await ask(front.port, wire.cancel_request(held[0][0])) == b""
        assert fake.got.endswith(wire.cancel_request(KEY))
        held[0][2].write(wire.message(b"X"))
        held[0][2].write_eof()
        await held[0][1].read()
        held[0][2].close()
        await front.desk.ended.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        await ready(reader)
        for each in (writer, held[1][2]):
            each.close()


async def test_a_flood_of_connections_is_shed() -> None:
    async with faking(honest) as fake, brokering(fake.fields(), connections=1) as front:
        flood = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(40)]
        ends = [asyncio.create_task(reader.read()) for reader, _ in flood]
        done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 30:
            more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for task in pending:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for _, writer in flood:
            writer.transport.abort()


async def test_only_the_key_of_an_own_session_cancels() -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        key = await ready(reader)
        assert key.secret != KEY.secret
        before = len(fake.peers)
        for guess in (
            KEY,
            wire.BackendKey(key.pid, b"\0\0\0\0"),
            wire.BackendKey(key.pid + 1, key.secret),
            wire.BackendKey(key.pid, key.secret + b"\0"),
        ):
            assert await ask(front.port, wire.cancel_request(guess)) == b""
        assert len(fake.peers) == before
        await ask(front.port, wire.cancel_request(key))
        assert len(fake.peers) == before + 1
        writer.write(wire.message(b"X"))
        writer.write_eof()
        await reader.read()
        writer.close()
        await front.desk.ended.wait()
        # The session is gone, and so is its key.
        await ask(front.port, wire.cancel_request(key))
        assert len(fake.peers) == before + 1


async def test_a_connection_must_begin_with_the_token() -> None:
    async with faking(honest) as fake, brokering(fake.fields(), token=b"t" * 32) as front:
        assert await ask(front.port, startup() + bytes(64)) == b""
        assert await ask(front.port, b"u" * 32 + startup()) == b""
        assert not fake.peers
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"t" * 32 + startup())
        await ready(reader)
        writer.close()


async def test_a_unix_listener_does_as_well(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / ".s.PGSQL.5432"))
    listener.listen()
    async with faking(honest) as fake, brokering(fake.fields(), listener=listener) as front:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / ".s.PGSQL.5432"))
        writer.write(startup())
        await ready(reader)
        writer.close()
        assert (front.host, front.port) == (str(tmp_path), 5432)


async def test_a_client_that_vanishes_has_its_statement_cancelled() -> None:
    async with faking(honest) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(startup())
        await ready(reader)
        await front.broker.close()
        writer.close()
    assert fake.got.endswith(wire.cancel_request(KEY))


async def test_a_client_that_reads_nothing_holds_back_the_server() -> None:
    sent = 0

    async def pouring(peer: Peer) -> None:
        nonlocal sent
        if isinstance(wire.parse_first(await peer.packet()), wire.CancelRequest):
            return
        await peer.scram()
        await peer.send(wire.backend_key(KEY), READY)
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await peer.send(bytes(65536))
            except TimeoutError:
                stuck.set()
                return
            sent += 65536

    stuck = asyncio.Event()
    async with faking(pouring) as fake, brokering(fake.fields()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port, limit=1024)
        writer.write(startup())
        await ready(reader)
        await stuck.wait()
        assert sent < 64 * 1024 * 1024
        writer.transport.abort()


def test_the_default_check_is_strict() -> None:
    assert public_only(Destination("db", 5432), ["10.0.0.1"])
    assert public_only(Destination("db", 5432), ["169.254.169.254"])
    assert public_only(Destination("db", 5432), [])
    assert not public_only(Destination("db", 5432), ["93.184.216.34"])
    assert not anywhere(Destination("db", 5432), ["10.0.0.1"])
