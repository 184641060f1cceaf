"""What a hostile or broken server can do to the vault: nothing but an error without values."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.sidecar import eventually
from tests.support.web import Handler, serving

from keyless_sidecar.vault import (
    Entry,
    MemorySource,
    Surroundings,
    Vault,
    VaultError,
    parse_declaration,
)
from keyless_sidecar.vault.answers import MAX_ANSWER
from keyless_sidecar.vault.deadline import within
from keyless_sidecar.vault.sources import ConfigSource

SECRET = "q7Zr-Kw92_xTnB4vLm8c"
OTHER = "Hk3pWq8s-ZtYv61_NdRj"
KEYS = {"access_key_id": "AKIAQ7ZRKW92XTNB4VLM", "secret_access_key": SECRET + OTHER}


@contextlib.contextmanager
def answering(
    body: bytes, status: int = 200, location: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """A server that answers everything so; gives its port and what it was asked, head and all."""
    asked: list[str] = []

    class Always(Handler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked.append(f"{self.path}\n{self.headers}\n{self.rfile.read(length)!r}")
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        do_POST = do_PUT = do_GET

    with serving(Always) as port:
        yield port, asked


def fetch(entry: dict[str, Any], around: Surroundings, *kept: Entry) -> Entry:
    vault = Vault([MemorySource(kept), ConfigSource([parse_declaration("it", entry)])], around)
    try:
        return vault.fetch("it")
    finally:
        vault.close()


def bao(address: str) -> dict[str, Any]:
    access = {"token": "bao", "path": "app"}
    return {"kind": "token", "source": "openbao", "address": address, **access}


TOKEN = Entry("bao", "token", {"value": OTHER}, ())
SSM = {"kind": "token", "source": "aws-ssm", "parameter": "p", "credential": "keys"}
ACCESS = Entry("keys", "aws", {**KEYS, "region": "us-east-1"}, ())


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (MAX_ANSWER + 1),
        b"",
        SECRET.encode(),
        b"[]",
        b'{"data": 1}',
        b'{"data": {"ttl": "' + SECRET.encode() + b'"}}',
        b'{"data": {"ttl": 0, "data": []}}',
        json.dumps({"errors": [SECRET]}).encode(),
    ],
)
@pytest.mark.parametrize("status", [200, 403])
def test_a_strange_secret_server(body: bytes, status: int) -> None:
    with answering(body, status) as (port, _), pytest.raises(VaultError) as caught:
        fetch(bao(f"http://127.0.0.1:{port}"), Surroundings(), TOKEN)
    assert SECRET not in str(caught.value)
    assert OTHER not in str(caught.value)


def test_redirects_carry_the_token_nowhere() -> None:
    with (
        answering(b"{}") as (thief, stolen),
        answering(b"", 307, f"http://127.0.0.1:{thief}/v1/x") as (port, asked),
        pytest.raises(VaultError),
    ):
        fetch(bao(f"http://127.0.0.1:{port}"), Surroundings(), TOKEN)
    assert asked
    assert stolen == []


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        answering(b"{}") as (thief, stolen),
        answering(b"{}") as (port, asked),
    ):
        for name in ("http_proxy", "HTTP_PROXY", "VAULT_ADDR", "AWS_ENDPOINT_URL"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{thief}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(VaultError):
            fetch(bao(f"http://127.0.0.1:{port}"), Surroundings(), TOKEN)
    assert asked
    assert stolen == []


@pytest.mark.parametrize(
    "address",
    ["http://bao.example.org:8200", "http://10.0.0.5", "ftp://127.0.0.1", "bao", "http://[::1", ""],
)
def test_secrets_go_over_no_network_in_clear(address: str) -> None:
    with pytest.raises(VaultError, match=r"address|length"):
        fetch(bao(address), Surroundings(), TOKEN)


@pytest.mark.parametrize("upstream", ["http://10.0.0.5:80", "http://example.org"])
def test_nor_do_requests_to_aws(upstream: str) -> None:
    around = Surroundings(upstreams={"*.amazonaws.com": upstream})
    with pytest.raises(VaultError, match="must be https"):
        fetch(SSM, around, ACCESS)


def test_a_profile_that_points_elsewhere_in_clear(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "[profile dev]\nregion = us-east-1\nendpoint_url = http://example.org\n"
        f"aws_access_key_id = {KEYS['access_key_id']}\n"
        f"aws_secret_access_key = {KEYS['secret_access_key']}\n"
    )
    with pytest.raises(VaultError, match="must be https"):
        fetch(
            {**SSM, "credential": "", "profile": "dev"}, Surroundings(aws_folder=tmp_path), ACCESS
        )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * (MAX_ANSWER + 1), 200),
        (b"{}", 200),
        (SECRET.encode(), 200),
        (json.dumps({"Parameter": {"Value": ""}}).encode(), 200),
        (json.dumps({"Parameter": SECRET}).encode(), 200),
        (json.dumps({"__type": SECRET + "!", "message": SECRET}).encode(), 400),
        (json.dumps({"__type": "AccessDenied", "message": SECRET}).encode(), 403),
    ],
)
def test_a_strange_aws(body: bytes, status: int) -> None:
    with answering(body, status) as (port, _):
        around = Surroundings(upstreams={"*.amazonaws.com": f"http://127.0.0.1:{port}"})
        with pytest.raises(VaultError) as caught:
            fetch(SSM, around, ACCESS)
    assert SECRET not in str(caught.value)


def test_a_machines_own_credentials_are_no_second_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ours, name in (
        ("access_key_id", "ACCESS_KEY_ID"),
        ("secret_access_key", "SECRET_ACCESS_KEY"),
    ):
        monkeypatch.setenv(f"AWS_{name}", KEYS[ours])
    (tmp_path / "config").write_text("[profile dev]\nregion = us-east-1\n")
    entry = {"kind": "aws", "source": "aws-profile", "profile": "dev"}
    with answering(b"{}") as (port, asked):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{port}/")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{port}/")
        with pytest.raises(VaultError, match="has no credentials"):
            fetch(entry, Surroundings(aws_folder=tmp_path))
    assert asked == []
    with pytest.raises(VaultError, match="no AWS profile other"):
        fetch({**entry, "profile": "other"}, Surroundings(aws_folder=tmp_path))
    (tmp_path / "config").chmod(0o666)
    with pytest.raises(VaultError, match="others can change"):
        fetch(entry, Surroundings(aws_folder=tmp_path))


def test_a_token_of_sso_is_used_from_the_persons_folder(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    (tmp_path / "config").write_text(
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n"
        "region = us-east-1\n[sso-session corp]\nsso_region = us-east-1\n"
        "sso_start_url = https://corp.awsapps.com/start\n"
    )
    cache = tmp_path / "sso" / "cache"
    cache.mkdir(parents=True)
    name = hashlib.sha1(b"corp", usedforsecurity=False).hexdigest()
    ends = (now + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (cache / f"{name}.json").write_text(json.dumps({"accessToken": OTHER, "expiresAt": ends}))
    end = int((now + timedelta(hours=1)).timestamp())
    answer = {
        "roleCredentials": {
            "accessKeyId": KEYS["access_key_id"],
            "secretAccessKey": KEYS["secret_access_key"],
            "sessionToken": SECRET * 5,
            "expiration": end * 1000,
        }
    }
    entry = {"kind": "aws", "source": "aws-profile", "profile": "dev"}
    with answering(json.dumps(answer).encode()) as (port, asked):
        around = Surroundings(
            aws_folder=tmp_path, upstreams={"portal.sso.*": f"http://127.0.0.1:{port}"}
        )
        got = fetch(entry, around)
    assert got.fields["session_token"] == SECRET * 5
    assert got.expires == datetime.fromtimestamp(end, UTC)
    assert f"x-amz-sso_bearer_token: {OTHER}" in asked[0]


def test_work_without_an_end_is_left_alone_and_counted() -> None:
    never = threading.Event()
    try:
        with pytest.raises(VaultError, match=r"it: the source did not answer within 0\.05 seconds"):
            within(0.05, "it", never.wait)
        for _ in range(40):
            with contextlib.suppress(VaultError):
                within(0.01, "it", never.wait)
        with pytest.raises(VaultError, match="too many sources"):
            within(10, "it", lambda: None)
    finally:
        never.set()
    assert eventually(_works)


def _works() -> bool:
    with contextlib.suppress(VaultError):
        return within(10, "it", lambda: True)
    return False
