"""One act, one answer: as a command of the AWS CLI through the sidecar, and as a call by boto3.

Forty acts and four policies.  Each act is done three ways: as a dry run, as a command that really
runs (its requests are decided again at the proxy), and by boto3 through the same proxy.  What is
compared is what was decided and by which rule; the server behind the proxy refuses everything.
"""

from __future__ import annotations

import contextlib
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.support.egress import Egress
from tests.support.sidecar import Sidecar
from tests.support.web import Handler, serving
from tests.unit.policy.acts_table import REGION, ROWS, Call

from keyless_sidecar.policy.engine import Principal
from keyless_sidecar.policy.loading import EXAMPLES, built_in_text, load_policy
from keyless_sidecar.vault import Entry

from .conftest import StartSidecar

KEY = {
    "access_key_id": "AKIAQ7ZK3M9XW2V5TB8N",
    "secret_access_key": "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1uI2oP",
    "region": REGION,
}
SIGNS = {"a": "allow", "?": "ask", "d": "deny"}
#: The strictest of several decisions is the one on all of them.
ORDER = ("allow", "ask", "deny")
#: What the CLI's own checks would refuse before anything is sent, and what passes them.
PASSABLE = {
    "--s3-bucket b ": "--s3-bucket bbb ",
    "--subject new": "--subject new --message m",
}
#: What a dry run says of what only the proxy can know.
LATER = "proxy.decides"


class Answer(NamedTuple):
    outcome: str
    rule: str


class Refusing(Handler):
    """A server that allows nothing, in a way that nobody tries again.

    It only knows an object by every name, since ``aws s3 mv`` looks before it asks for the rest.
    """

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        body = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _refuse

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.send_header("ETag", '"c4ca4238a0b923820dcc509a6f75849b"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, str]]:
    with serving(Refusing) as port:
        yield {"*.amazonaws.com": f"http://127.0.0.1:{port}"}


def strictest(answers: list[Answer]) -> Answer:
    """The decision on several requests: the first of the strictest."""
    return max(answers, key=lambda answer: ORDER.index(answer.outcome))


def words(command: str) -> list[str]:
    for old, new in PASSABLE.items():
        command = command.replace(old, new)
    # JSON keeps its quotation marks; no row needs those of a shell.
    return command.split() if '"' in command else shlex.split(command)


class Commands:
    """Acts as commands."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def answer(self, command: str, *, dry_run: bool) -> Answer:
        """What was decided on a command, by its own check and by the proxy on its requests."""
        before = len(self._sidecar.records())
        result = self._sidecar.run(*words(command), tool="aws", dry_run=dry_run)
        records = self._sidecar.records()[before:]
        (decision,) = (r["fields"] for r in records if r["kind"] == "exec.decision")
        if not decision["allowed"]:
            assert decision["kind"] == "PolicyDenied", decision
            asked = "Nobody can approve it from here yet" in decision["message"]
            return Answer("ask" if asked else "deny", decision["rule"])
        if dry_run:
            return Answer("allow", decision["rule"])
        found = [
            Answer(r["fields"]["decision"], r["fields"]["rule"])
            for r in records
            if r["kind"] == "egress.request" and r["fields"]["stage"] == "request"
        ]
        assert found, (command, result.end, result.stderr)
        return strictest(found)


class Calls:
    """Acts as calls."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)

    def answer(self, calls: list[Call]) -> Answer:
        """What was decided on some calls' requests."""
        before = len(self._egress.records)
        for service, operation, parameters in calls:
            given: dict[str, Any] = dict(parameters)
            region = given.pop("region", REGION)
            client = boto3.session.Session().client(
                service, region_name=region, config=self._config
            )
            with contextlib.closing(client), contextlib.suppress(ClientError, BotoCoreError):
                getattr(client, xform_name(operation))(**given)
        found = self._egress.records[before:]
        return strictest([Answer(r.decision, r.rule) for r in found if r.stage == "request"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_forty_acts_get_equal_answers(
    name: str,
    start_sidecar: StartSidecar,
    upstreams: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = {"name": "course", "kind": "aws", "fields": KEY, "tools": ["aws"]}
    sidecar = start_sidecar(
        config={"Tools": {}, "Egress": {"upstreams": upstreams}},
        credentials=[entry],
        policy=built_in_text(name),
    )
    sidecar.hello()
    (sidecar.workspace / "a.csv").write_text("1")
    with zipfile.ZipFile(sidecar.workspace / "f.zip", "w") as archive:
        archive.writestr("a.py", "")
    policy = load_policy(
        sidecar.home / "policy" / "policy.cedar",
        Principal("test-kernel", "", str(sidecar.status["level"])),
    )
    stored = Entry("course", "aws", KEY, ("aws",), source="memory")
    with Egress(tmp_path, [stored], upstreams, policy) as egress:
        for variable, value in egress.environment("course").items():
            monkeypatch.setenv(variable, value)
        commands, calls = Commands(sidecar), Calls(egress)
        different = []
        left_to_the_proxy = []
        for row in ROWS:
            dry = commands.answer(row.command, dry_run=True)
            real = commands.answer(row.command, dry_run=False)
            called = calls.answer(row.calls)
            if dry.rule == LATER:
                left_to_the_proxy.append(row.command)
                dry = real
            expected = SIGNS[row.answers[EXAMPLES.index(name)]]
            if not (dry == real == called and called.outcome == expected):
                different.append((row.command, expected, dry, real, called))
        assert different == []
        # A dry run has the answer itself, but where a rule needs what only the credential knows.
        assert left_to_the_proxy == [] or name in ("deploy-only", "teaching")


def test_there_are_forty_acts() -> None:
    assert len(ROWS) == 40
