"""psql and psycopg through the broker to a real PostgreSQL server, and a hunt for the password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from tests.support.postgres import (
    DATABASE,
    ODD_PASSWORD,
    PASSWORD,
    Authority,
    Broker,
    Server,
    binaries,
    brokering,
    running,
)

from keyless_sidecar.postgres.environment import client_environment
from keyless_sidecar.tools.psql_tool import psql_declaration

pytestmark = pytest.mark.skipif(binaries() is None, reason="needs Debian's postgresql-15")

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def tls_server() -> Iterator[Server]:
    """A server with TLS."""
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def plain_server() -> Iterator[Server]:
    """A server without."""
    with running(tls=False) as server:
        yield server


@dataclass
class Tap:
    """Between client and broker: all bytes to the client are kept, up to a limit."""

    port: int = 0
    seen: bytearray = field(default_factory=bytearray)


@contextlib.asynccontextmanager
async def tapping(front: Broker) -> AsyncIterator[Tap]:
    """A relay to the broker that records what the client gets."""
    tap = Tap()
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if keep:
                    tap.seen += data
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        up = await asyncio.open_connection(front.host, front.port)
        await asyncio.gather(copy(reader, up[1], False), copy(up[0], writer, True))
        up[1].close()
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks)


def forms(secret: str) -> list[bytes]:
    """The secret as it could hide."""
    raw = secret.encode()
    aligned = [base64.b64encode(bytes(shift) + raw)[4:-4] for shift in range(3)]
    return [raw, raw[::-1], raw.hex().encode(), *aligned, raw.decode().encode("utf-16-le")]


@dataclass
class Done:
    """A psql that has ended."""

    code: int
    out: str
    err: str


async def start_psql(
    front: Broker, *arguments: str, port: int | None = None, stdin: int | None = None
) -> asyncio.subprocess.Process:
    """psql as the tool's declaration and the broker's environment have it."""
    declaration = psql_declaration({})
    assert declaration is not None
    assert front.desk.entry is not None
    fields = front.desk.entry.fields
    environment = {
        **declaration["environment"],
        **client_environment(fields, port or front.port, host=front.host),
    }
    assert not any(secret in str(environment) for secret in (PASSWORD, ODD_PASSWORD))
    return await asyncio.create_subprocess_exec(
        declaration["path"],
        *declaration["arguments"],
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def psql(front: Broker, *arguments: str, port: int | None = None) -> Done:
    """Run it to its end."""
    process = await start_psql(front, *arguments, port=port)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


WHO = "select current_user, current_database(), ssl from pg_stat_ssl where pid = pg_backend_pid()"

#: role, fields beside the usual ones, and: method, TLS, channel binding.
LOGINS = [
    ("app", {}, ("scram-sha-256", True, True)),
    ("app", {"sslmode": "disable"}, ("scram-sha-256", False, False)),
    ("app", {"sslmode": "require"}, ("scram-sha-256", True, True)),
    ("app", {"sslmode": "verify-ca", "sslrootcert": "*"}, ("scram-sha-256", True, True)),
    ("app", {"sslmode": "verify-full", "sslrootcert": "*"}, ("scram-sha-256", True, True)),
    ("app", {"host": "localhost", "sslrootcert": "*"}, ("scram-sha-256", True, True)),
    ("app", {"channel_binding": "require"}, ("scram-sha-256", True, True)),
    ("odd", {"password": ODD_PASSWORD}, ("scram-sha-256", True, True)),
    ("hashed", {"sslrootcert": "*"}, ("md5", True, False)),
    ("hashed", {"sslmode": "disable", "require_auth": "md5"}, ("md5", False, False)),
    ("clear", {"sslrootcert": "*"}, ("password", True, False)),
    ("trusted", {"sslrootcert": "*"}, ("none", True, False)),
]


@pytest.mark.parametrize(("user", "more", "expected"), LOGINS)
async def test_each_way_to_log_in(
    tls_server: Server, user: str, more: dict[str, str], expected: tuple[str, bool, bool]
) -> None:
    if "sslrootcert" in more:
        more = {**more, "sslrootcert": tls_server.authority.certificate}
    fields = tls_server.fields(user, **more)
    async with brokering(fields) as front, tapping(front) as tap:
        done = await psql(front, "-Atc", WHO, port=tap.port)
        await front.desk.ended.wait()
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{user}|{DATABASE}|{'t' if expected[1] else 'f'}\n"
    record = front.desk.last("postgres.end")
    assert (record["method"], record["tls"], record["channel_binding"]) == expected
    assert record["ended"] == "client"
    assert 0 < record["bytes_to_client"] < len(tap.seen)
    for form in forms(fields["password"]):
        assert form not in tap.seen
        assert form not in str(front.desk.records).encode()


async def test_a_certificate_logs_in(tls_server: Server) -> None:
    pair = tls_server.authority.issue("certified")
    fields = tls_server.fields(
        "certified",
        password="",
        sslcert=pair.certificate,
        sslkey=pair.key,
        sslrootcert=tls_server.authority.certificate,
    )
    async with brokering(fields) as front, tapping(front) as tap:
        done = await psql(front, "-Atc", WHO, port=tap.port)
        await front.desk.ended.wait()
    assert done.out == f"certified|{DATABASE}|t\n"
    assert front.desk.last("postgres.end")["method"] == "none"
    middle = pair.key.splitlines()[1].encode()
    assert middle not in tap.seen


@pytest.mark.parametrize("other", ["another name", "another authority", "no key"])
async def test_a_wrong_certificate_doesnt(tls_server: Server, other: str) -> None:
    authority = Authority() if other == "another authority" else tls_server.authority
    pair = authority.issue("somebody" if other == "another name" else "certified")
    key = "no key at all" if other == "no key" else pair.key
    fields = tls_server.fields(
        "certified",
        password="",
        sslcert=pair.certificate,
        sslkey=key,
        sslrootcert=tls_server.authority.certificate,
    )
    async with brokering(fields) as front:
        done = await psql(front, "-Atc", WHO)
    assert done.code == 2
    assert "FATAL" in done.err


@pytest.mark.parametrize("mode", ["", "disable", "prefer"])
async def test_a_server_without_tls(plain_server: Server, mode: str) -> None:
    async with brokering(plain_server.fields(sslmode=mode)) as front:
        done = await psql(front, "-Atc", WHO)
        await front.desk.ended.wait()
    assert done.out == f"app|{DATABASE}|f\n"
    record = front.desk.last("postgres.end")
    assert (record["method"], record["tls"]) == ("scram-sha-256", False)


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_tls_is_refused_where_it_is_demanded(
    plain_server: Server, mode: str
) -> None:
    async with brokering(plain_server.fields(sslmode=mode)) as front:
        done = await psql(front, "-Atc", WHO)
    assert done.code == 2
    assert "offers no TLS" in done.err


@pytest.mark.parametrize(
    ("user", "more", "why"),
    [
        ("hashed", {}, "MD5"),
        ("hashed", {"sslmode": "disable"}, "MD5"),
        ("clear", {}, "clear text"),
        ("clear", {"sslmode": "require", "require_auth": "password"}, "clear text"),
        ("trusted", {}, "no proof"),
        ("hashed", {"require_auth": "scram-sha-256"}, "MD5"),
        ("app", {"sslmode": "disable", "channel_binding": "require"}, "channel binding"),
        ("app", {"sslmode": "verify-full"}, "certificate is not accepted"),
        ("app", {"password": "Wrong-8fh2-Kd93"}, "password authentication failed"),
        ("nobody", {}, "password authentication failed"),
        ("app", {"database": "missing"}, 'database "missing" does not exist'),
        ("app", {"port": "1"}, "doesn't answer"),
        ("app", {"host": "no-such-host.invalid"}, "can't be resolved"),
    ],
)
async def test_what_fails_says_why_and_holds_no_password(
    tls_server: Server, user: str, more: dict[str, str], why: str
) -> None:
    fields = tls_server.fields(user, **more)
    async with brokering(fields) as front, tapping(front) as tap:
        done = await psql(front, "-Atc", WHO, port=tap.port)
    assert done.code == 2
    assert why in done.err
    for form in forms(fields["password"]):
        assert form not in tap.seen
        assert form not in str(front.desk.records).encode()
    assert front.desk.last("postgres.end")["ended"] == "login"


async def test_a_password_that_the_client_sends_counts_for_nothing(tls_server: Server) -> None:
    async with (
        brokering(tls_server.fields()) as front,
        await psycopg.AsyncConnection.connect(
            host="127.0.0.1",
            port=front.port,
            user="app",
            dbname=DATABASE,
            password="whatever",
            sslmode="prefer",
        ) as connection,
    ):
        cursor = await connection.execute("select current_user")
        assert await cursor.fetchone() == ("app",)


@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
async def test_psycopg(tls_server: Server, version: str) -> None:
    if psycopg.pq.version() < 180000 and version != "3.0":
        pytest.skip("this libpq speaks 3.0 only")
    more = {} if psycopg.pq.version() < 180000 else {"max_protocol_version": version}
    async with (
        brokering(tls_server.fields()) as front,
        await psycopg.AsyncConnection.connect(
            host="127.0.0.1", port=front.port, user="app", dbname=DATABASE, **more
        ) as connection,
    ):
        await connection.execute("create temporary table t (a int, b text)")
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "insert into t values (%s, %s)", [(n, "é" * n) for n in range(100)]
            )
            await cursor.execute("select count(*), sum(length(b)) from t")
            assert await cursor.fetchone() == (100, 4950)
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.execute("select * from missing")
        await connection.rollback()
        assert connection.info.backend_pid > 0
        running = asyncio.create_task(_sleep(connection))
        await _until_active(tls_server, connection.info.backend_pid)
        await connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await running


async def _sleep(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    await connection.execute("select pg_sleep(600)")


async def _until_active(server: Server, pid: int) -> None:
    query = "select pid from pg_stat_activity where state = 'active'"
    while str(pid) not in (await asyncio.to_thread(server.sql, query)).split():
        await asyncio.sleep(0.01)


BUSY = (
    "do $$ begin perform pg_advisory_lock({lock}); "
    "raise notice 'begun'; perform pg_sleep(600); end $$"
)


async def begun(process: asyncio.subprocess.Process) -> None:
    """Wait for the statement's own word."""
    assert process.stderr is not None
    assert b"begun" in await process.stderr.readline()


async def freed(server: Server, lock: int) -> None:
    """Wait for the server to have ended a statement that held a lock."""
    statement = f"set lock_timeout = '30s'; select pg_advisory_lock({lock})"
    await asyncio.to_thread(server.sql, f"\\c {DATABASE}\n{statement}")


async def test_an_interrupt_of_psql_cancels_its_statement(tls_server: Server) -> None:
    async with brokering(tls_server.fields()) as front:
        process = await start_psql(front, "-c", BUSY.format(lock=1))
        await begun(process)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"canceling statement due to user request" in err
    await freed(tls_server, 1)


@pytest.mark.parametrize("end", ["close", "drop", "kill"])
async def test_a_session_that_ends_takes_its_statement_along(tls_server: Server, end: str) -> None:
    async with brokering(tls_server.fields()) as front:
        process = await start_psql(front, "-c", BUSY.format(lock=2))
        await begun(process)
        if end == "close":
            await front.broker.close()
        elif end == "drop":
            await front.broker.drop("db")
        else:
            process.kill()
            await process.wait()
        await freed(tls_server, 2)
        _, err = await process.communicate()
    if end != "kill":
        assert b"server closed the connection unexpectedly" in err
        assert front.desk.last("postgres.end")["ended"] == "broker"


@pytest.mark.timeout(180)
async def test_a_server_that_dies_ends_the_session() -> None:
    with running() as server:
        async with brokering(server.fields()) as front:
            process = await start_psql(front, "-c", BUSY.format(lock=3))
            await begun(process)
            await asyncio.to_thread(server.stop)
            _, err = await process.communicate()
            assert process.returncode == 2
            assert b"server closed the connection unexpectedly" in err
            again = await psql(front, "-c", "select 1")
            assert again.code == 2
            assert "doesn't answer" in again.err


async def test_a_removed_or_rotated_credential(tls_server: Server) -> None:
    async with brokering(tls_server.fields()) as front:
        assert (await psql(front, "-c", "select 1")).code == 0
        assert front.desk.entry is not None
        front.desk.entry.fields = tls_server.fields(password="Wrong-now-72Kd")
        assert "password authentication failed" in (await psql(front, "-c", "select 1")).err


async def test_other_users_databases_and_options_are_refused(tls_server: Server) -> None:
    async with brokering(tls_server.fields()) as front:
        for arguments, why in (
            (("-U", "postgres"), "for the user 'app'"),
            (("-d", "postgres"), f"for the database '{DATABASE}'"),
            (("-d", "options=-crole=postgres"), "options is not allowed"),
            (("-d", "replication=database"), "replication is not allowed"),
        ):
            done = await psql(front, *arguments, "-c", "select 1")
            assert done.code == 2
            assert why in done.err


def resident() -> int:
    """Bytes of this process that are in memory and its own."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def reset_peak() -> None:
    """Forget the highest value so far."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The highest value since then."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["disable", "require"])
async def test_copies_of_200_megabytes_both_ways_in_flat_memory(
    tls_server: Server, mode: str, tmp_path: Path
) -> None:
    rows = 200_000
    out = tmp_path / "copy"
    query = "select repeat(md5(n::text), 32) from generate_series(1, 200000) n"
    async with brokering(tls_server.fields(sslmode=mode)) as front:
        await psql(front, "-c", "select 1")
        before = resident()
        reset_peak()
        done = await psql(
            front,
            "-c",
            f"\\copy ({query}) to '{out}'",
        )
        assert done.err == ""
        assert done.out == f"COPY {rows}\n"
        assert out.stat().st_size == rows * 1025
        done = await psql(
            front,
            *("-Atc", "create temporary table t (a text)"),
            *("-c", f"\\copy t from '{out}'"),
            *("-c", "select count(*), sum(length(a)), bool_and(length(a) = 1024) from t"),
        )
        assert done.out.splitlines()[-1] == f"{rows}|{rows * 1024}|t", done.err
        grown = peak() - before
        print(f"sslmode {mode}: memory grew by {grown / MEGABYTE:.1f} MB")
    assert grown < 24 * MEGABYTE


async def test_many_sessions_at_once(tls_server: Server) -> None:
    async with brokering(tls_server.fields(), connections=16) as front:
        made = await asyncio.gather(
            *(
                psycopg.AsyncConnection.connect(
                    host="127.0.0.1", port=front.port, user="app", dbname=DATABASE
                )
                for _ in range(16)
            )
        )
        assert len({connection.info.backend_pid for connection in made}) == 16
        with pytest.raises(psycopg.OperationalError, match="16 connections are open"):
            await psycopg.AsyncConnection.connect(
                host="127.0.0.1", port=front.port, user="app", dbname=DATABASE
            )
        for connection in made:
            await connection.close()


async def test_the_shell_of_psql_holds_nothing(tls_server: Server) -> None:
    """``\\!`` runs with psql's own environment and descriptors: none of them is worth anything."""
    async with brokering(tls_server.fields()) as front:
        done = await psql(
            front, "-c", "\\! cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n'"
        )
        assert "PGPORT" in done.out
        for form in forms(PASSWORD):
            assert form not in done.out.encode()


async def test_the_memory_of_the_client_holds_no_password(tls_server: Server) -> None:
    """A dump of psql's own process, taken while it is connected."""
    async with brokering(tls_server.fields()) as front:
        process = await start_psql(front, "-c", BUSY.format(lock=4))
        await begun(process)
        found = await asyncio.to_thread(_search, process.pid, forms(PASSWORD))
        process.kill()
        await process.wait()
        await freed(tls_server, 4)
        await process.communicate()
    assert found == []


def _search(pid: int, wanted: list[bytes]) -> list[bytes]:
    found = []
    searched = 0
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("r") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue
            searched += len(data)
            found += [form for form in wanted if form in data]
    assert searched > MEGABYTE
    return found
