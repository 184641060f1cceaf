"""One act, one answer: as a command of the AWS CLI, as ``secure_call``, and as a call by boto3.

Forty acts and four policies.  Each act is done in five ways: as a command and as ``secure_call``,
both as a dry run and really (its requests are decided again on their way out), and by boto3 through
the proxy.  What is compared is what was decided and by which rule; the server behind it all refuses
everything.
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
from tests.support.calls import call
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
#: The same for calls: (operation, parameter) → a value.
PASSABLE_VALUES = {("UpdateFunctionCode", "S3Bucket"): "bbb", ("Publish", "Message"): "m"}
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


def decided(records: list[dict[str, Any]], kind: str, dry_run: bool, told: object) -> Answer:
    """What the sidecar decided: by its own check, and by the proxy on the requests.

    Args:
        records: of one command or call.
        kind: of the record with its own check's decision.
        dry_run: whether nothing was sent.
        told: for a failure's message.
    """
    (decision,) = (r["fields"] for r in records if r["kind"] == kind)
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
    assert found, told
    return strictest(found)


class Commands:
    """Acts as commands."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def answer(self, command: str, *, dry_run: bool) -> Answer:
        """What was decided on a command, by its own check and by the proxy on its requests."""
        before = len(self._sidecar.records())
        result = self._sidecar.run(*words(command), tool="aws", dry_run=dry_run)
        records = self._sidecar.records()[before:]
        return decided(records, "exec.decision", dry_run, (command, result.end, result.stderr))


class SecureCalls:
    """Acts as ``secure_call``, through the same sidecar as the commands."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def answer(self, calls: list[Call], *, dry_run: bool) -> Answer:
        """What was decided on some calls, when they were planned and on their requests."""
        return strictest([self._one(*each, dry_run=dry_run) for each in calls])

    def _one(
        self, service: str, operation: str, parameters: dict[str, Any], *, dry_run: bool
    ) -> Answer:
        given = dict(parameters)
        for (name, parameter), value in PASSABLE_VALUES.items():
            if name == operation and (parameter in given or parameter == "Message"):
                given[parameter] = value
        options = {"dry_run": dry_run, "region": given.pop("region", REGION)}
        before = len(self._sidecar.records())
        outcome = call(self._sidecar, service, operation, options=options, **given)
        records = self._sidecar.records()[before:]
        return decided(records, "call.decision", dry_run, (service, operation, outcome.end))


class Calls:
    """Acts as calls."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
        self._session = boto3.session.Session()
        self._clients: dict[tuple[str, str], Any] = {}

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def _client(self, service: str, region: str) -> Any:
        """Made once: reading the models is what takes the time."""
        found = self._clients.get((service, region))
        if found is None:
            found = self._session.client(service, region_name=region, config=self._config)
            self._clients[service, region] = found
        return found

    def answer(self, calls: list[Call]) -> Answer:
        """What was decided on some calls' requests."""
        before = len(self._egress.records)
        for service, operation, parameters in calls:
            given: dict[str, Any] = dict(parameters)
            region = given.pop("region", REGION)
            with contextlib.suppress(ClientError, BotoCoreError):
                getattr(self._client(service, region), xform_name(operation))(**given)
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
    entry = {"name": "course", "kind": "aws", "fields": KEY, "tools": ["aws", "sdk"]}
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
    with (
        Egress(tmp_path, [stored], upstreams, policy) as egress,
        contextlib.ExitStack() as stack,
    ):
        for variable, value in egress.environment("course").items():
            monkeypatch.setenv(variable, value)
        commands, secure, calls = Commands(sidecar), SecureCalls(sidecar), Calls(egress)
        stack.callback(calls.close)
        different = []
        left_to_the_proxy = []
        for number, row in enumerate(ROWS):
            dry = commands.answer(row.command, dry_run=True)
            # A command takes its time: each that is allowed really runs under one of the policies.
            allowing = [n for n, sign in zip(EXAMPLES, row.answers, strict=True) if sign == "a"]
            runs = bool(allowing) and name == allowing[number % len(allowing)]
            real = commands.answer(row.command, dry_run=False) if runs else dry
            called = calls.answer(row.calls)
            secure_dry = secure.answer(row.calls, dry_run=True)
            secure_real = secure.answer(row.calls, dry_run=False)
            if dry.rule == LATER:
                left_to_the_proxy.append(row.command)
                dry = called
                real = real if runs else called
            if secure_dry.rule == LATER:
                secure_dry = called
            expected = SIGNS[row.answers[EXAMPLES.index(name)]]
            answers = {dry, real, called, secure_dry, secure_real}
            if len(answers) > 1 or called.outcome != expected:
                different.append(
                    (row.command, expected, dry, real, called, secure_dry, secure_real)
                )
        assert different == []
        # A dry run has the answer itself, but where a rule needs what only the credential knows.
        assert left_to_the_proxy == [] or name in ("deploy-only", "teaching")


def test_there_are_forty_acts() -> None:
    assert len(ROWS) == 40
