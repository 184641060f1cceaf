"""The real AWS CLI through a real sidecar, against a server that stands in for STS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.web import Handler, serving

from .conftest import StartSidecar

KEY_ID = "AKIAQ7ZK3M9XW2V5TB8N"
SECRET = "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1uI2oP"


class _Sts(Handler):
    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(dict(self.headers.items()))
        body = (
            b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            b"<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/u</Arn>"
            b"<UserId>U</UserId><Account>123456789012</Account></GetCallerIdentityResult>"
            b"</GetCallerIdentityResponse>"
        )
        self.reply(body)


@pytest.fixture
def sts() -> Iterator[tuple[int, list[dict[str, str]]]]:
    seen: list[dict[str, str]] = []
    handler = type("Handler", (_Sts,), {"seen": seen})
    with serving(handler) as port:
        yield port, seen


def test_the_cli_signs_with_a_key_that_never_comes_back(
    start_sidecar: StartSidecar, sts: tuple[int, list[dict[str, str]]]
) -> None:
    port, seen = sts
    sidecar = start_sidecar(
        config={
            "Tools": {},
            "Egress": {"upstreams": {"*.amazonaws.com": f"http://127.0.0.1:{port}"}},
        },
        credentials=[
            {
                "name": "prod",
                "kind": "aws",
                "fields": {
                    "access_key_id": KEY_ID,
                    "secret_access_key": SECRET,
                    "region": "eu-west-1",
                },
                "tools": ["aws"],
            }
        ],
    )
    sidecar.hello()
    result = sidecar.run("sts", "get-caller-identity", tool="aws")
    assert result.finished.exit_code == 0, result.stderr
    assert '"Account": "123456789012"' in result.stdout
    assert f"Credential={KEY_ID}/" in seen[0]["Authorization"]
    debug = sidecar.run("sts", "get-caller-identity", "--debug", tool="aws")
    for text in (result.stdout, result.stderr, debug.stdout, debug.stderr):
        assert KEY_ID not in text
        assert SECRET not in text


def test_elsewhere_is_out_of_reach(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(
        config={"Tools": {}, "Egress": {"upstreams": {"*.amazonaws.com": "http://127.0.0.1:9"}}},
        credentials=[
            {
                "name": "prod",
                "kind": "aws",
                "fields": {"access_key_id": KEY_ID, "secret_access_key": SECRET},
                "tools": ["aws"],
            }
        ],
    )
    sidecar.hello()
    result = sidecar.run(
        *("sts", "get-caller-identity", "--region", "eu-west-1"), tool="aws", timeout=60
    )
    assert result.finished.exit_code != 0
