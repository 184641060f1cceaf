"""Real PostgreSQL servers beside the tests, their certificates, and a broker in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyless_sidecar.execution.destinations import Destination
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.postgres.broker import PostgresBroker
from keyless_sidecar.vault import VaultError

#: Nobody registered it as weak, and nothing else in a test looks like it.
PASSWORD = "Vq7-keyless-hunted-Zt4pWm9Xc2"
#: SASLprep doesn't allow it: PostgreSQL takes the bytes as they are.
ODD_PASSWORD = "pass\N{GRINNING FACE}wort-\N{LATIN SMALL LETTER E WITH ACUTE}-Kq83hT"
DATABASE = "shop"


def binaries() -> Path | None:
    """Where Debian (``postgresql-15`` or newer) keeps the server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: str
    key: str = field(repr=False)


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._sign(self._name, self._key, None, authority=True)
        self.certificate = signed.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, hosts: Sequence[str] = ()) -> Pair:
        """A certificate with a common name, for these hosts and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        signed = self._sign(subject, key, names)
        return Pair(
            signed.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
        )

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: list[x509.GeneralName] | None,
        *,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=7))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


_HBA = """
local all postgres trust
hostssl all certified 127.0.0.1/32 cert
host all hashed 127.0.0.1/32 md5
host all clear 127.0.0.1/32 password
host all trusted 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""

_ROLES = f"""
create database {DATABASE};
create role app login password '{PASSWORD}';
create role odd login password '{ODD_PASSWORD}';
create role clear login password '{PASSWORD}';
create role trusted login;
create role certified login;
set password_encryption = md5;
create role hashed login password '{PASSWORD}';
"""


@dataclass
class Server:
    """A running PostgreSQL server on 127.0.0.1."""

    port: int
    folder: Path
    authority: Authority
    bin: Path
    user: str
    process: subprocess.Popen[bytes]

    def fields(self, user: str = "app", **more: str) -> dict[str, str]:
        """Fields of a vault entry for one of its roles; an empty one is left out."""
        found = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "username": user,
            "password": PASSWORD,
            "database": DATABASE,
            **more,
        }
        return {name: value for name, value in found.items() if value}

    def sql(self, statement: str) -> str:
        """Run as the superuser, beside everything that is tested; gives the bare result."""
        return subprocess.run(
            [
                *(str(self.bin / "psql"), "-XAtq", "-h", str(self.folder), "-p", str(self.port)),
                *("-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-f", "-"),
            ],
            input=statement,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def stop(self) -> None:
        """Let it die at once, as in a crash."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


@contextlib.contextmanager
def running(*, tls: bool = True) -> Iterator[Server]:
    """A fresh server with the roles ``app`` (SCRAM), ``hashed``, ``clear``, ``certified``, …."""
    found = binaries()
    if found is None:
        raise RuntimeError("install postgresql-15")
    # A server refuses to run as root, and wants a user with a name.
    account = pwd.getpwnam("postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    ids: dict[str, Any] = {}
    if os.geteuid() == 0:
        ids = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="kl-pg-"))
    authority = Authority()
    pair = authority.issue("127.0.0.1", ["127.0.0.1", "localhost"])
    try:
        os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        options = {"cwd": folder, "env": environment, **ids}
        subprocess.run(
            [str(found / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"],
            stdout=subprocess.DEVNULL,
            check=True,
            **options,
        )
        _write(data / "pg_hba.conf", _HBA, account)
        for name, text in (
            ("server.crt", pair.certificate),
            ("server.key", pair.key),
            ("root.crt", authority.certificate),
        ):
            _write(data / name, text, account)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(folder),
            "ssl": "on" if tls else "off",
            "ssl_ca_file": "root.crt" if tls else "",
            "fsync": "off",
            "max_connections": "60",
            "log_min_messages": "fatal",
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(found / "postgres"), "-D", str(data)]
                + [f"--{name}={value}" for name, value in settings.items()],
                stdout=log,
                stderr=log,
                **options,
            )
        server = Server(port, folder, authority, found, account.pw_name, process)
        try:
            _wait(server)
            server.sql(_ROLES)
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, text: str, account: pwd.struct_passwd) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    os.chown(path, account.pw_uid, account.pw_gid)


def _wait(server: Server) -> None:
    """Until it takes connections, which it says by making its socket and answering."""
    for _ in range(600):
        done = subprocess.run(
            [
                *(str(server.bin / "pg_isready"), "-q", "-t", "1"),
                *("-h", str(server.folder), "-p", str(server.port)),
            ],
            check=False,
        )
        if done.returncode == 0:
            return
        if server.process.poll() is not None:
            raise RuntimeError((server.folder / "log").read_text())
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.1)
    raise RuntimeError("PostgreSQL didn't come up")


@dataclass
class Entry:
    """A vault entry as the broker sees it, also with fields that the vault may not know yet."""

    name: str
    fields: Mapping[str, str]
    kind: str = "postgres"

    def secrets(self) -> list[tuple[str, bytes]]:
        """Its secret values."""
        return [
            (self.name, self.fields[each].encode())
            for each in ("password", "sslkey")
            if each in self.fields
        ]


class Desk:
    """What a broker asks: the vault, the policy and the audit, all of one test."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.entry: Entry | None = Entry("db", fields)
        self.decision = Decision("allow", "test.allow", "The test allows it.")
        self.acts: list[Act] = []
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.ended = asyncio.Event()

    async def fetch(self, name: str) -> Entry:
        """The entry, unless a person removed it."""
        if self.entry is None:
            raise VaultError(f"There is no credential named {name}")
        return self.entry

    def decide(self, act: Act) -> Decision:
        """What the test says."""
        self.acts.append(act)
        return self.decision

    async def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Keep it."""
        self.records.append((kind, dict(fields)))
        if kind == "postgres.end":
            self.ended.set()

    def last(self, kind: str) -> dict[str, Any]:
        """The last record of a kind."""
        return [fields for each, fields in self.records if each == kind][-1]


@dataclass
class Broker:
    """A running broker, and the port (or folder) to reach it."""

    broker: PostgresBroker
    desk: Desk
    port: int
    host: str = "127.0.0.1"


def anywhere(destination: Destination, addresses: Sequence[str]) -> str:
    """An address check that lets private addresses pass."""
    return "" if addresses else f"{destination} has no address"


@contextlib.asynccontextmanager
async def brokering(
    fields: Mapping[str, str], *, listener: socket.socket | None = None, **options: Any
) -> AsyncIterator[Broker]:
    """A broker for an entry with these fields."""
    desk = Desk(fields)
    bound = socket.create_server(("127.0.0.1", 0)) if listener is None else listener
    address = bound.getsockname()
    options.setdefault("address_check", anywhere)
    broker = PostgresBroker(bound, "db", desk.fetch, desk.decide, desk.record, **options)
    await broker.start()
    try:
        if isinstance(address, str):
            yield Broker(broker, desk, int(address.rpartition(".")[2]), str(Path(address).parent))
        else:
            yield Broker(broker, desk, address[1])
    finally:
        await broker.close()
