"""Nothing is done, and nobody is told anything, before the records of it are on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.calls import call
from tests.support.policies import OPEN
from tests.support.sidecar import Sidecar

from keyless.localaws.server import LocalAws
from keyless_sidecar.audit.reading import verify_folder

#: How often a sidecar has brought its audit to disk when it is ready.
AT_START = 1
_PROGRAM = Path(__file__).parents[1] / "support" / "failing_disk.py"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as local:
        yield local


@contextmanager
def failing_after(number: int, **options: Any) -> Iterator[Sidecar]:
    """A sidecar whose disk fails, once so many more records, or steps, were brought to it."""
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    program = (str(_PROGRAM), str(AT_START + number))
    sidecar = Sidecar(home, program=program, **options)
    try:
        assert sidecar.status.get("ready"), sidecar.status
        sidecar.hello()
        yield sidecar
    finally:
        sidecar.close()
        shutil.rmtree(home, ignore_errors=True)


def kinds(sidecar: Sidecar) -> list[str]:
    return [record["kind"] for record in sidecar.records()][1:]


def test_a_command_waits_for_its_decision_to_be_on_disk() -> None:
    with failing_after(0) as sidecar:
        result = sidecar.run("write", "made")
        assert result.started is None
        assert result.failed.kind == "SidecarUnavailable"
        assert "audit log" in result.failed.message
        assert not (sidecar.workspace / "made").exists()
        # Both are in the file: what was asked isn't lost where only this process ends.
        assert kinds(sidecar) == ["exec.request", "exec.decision"]


def test_a_refusal_waits_for_its_record_to_be_on_disk() -> None:
    with failing_after(0) as sidecar:
        failed = sidecar.run(tool="unknown").failed
        assert (failed.kind, failed.record_id) == ("SidecarUnavailable", "")


def test_a_result_waits_for_its_record_to_be_on_disk() -> None:
    with failing_after(1) as sidecar:
        result = sidecar.run("rc", "0")
        assert result.started is not None
        assert "its result can't be recorded" in result.failed.message
        assert sidecar.run("rc", "0").failed.kind == "SidecarUnavailable"


@pytest.mark.parametrize(
    ("number", "sent"),
    [pytest.param(0, 0, id="decision"), (1, 0), (2, 1)],
)
def test_a_call_waits_for_each_step_to_be_on_disk(aws: LocalAws, number: int, sent: int) -> None:
    key = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": aws.region,
    }
    before = len(aws.requests)
    with failing_after(
        number,
        config={
            "Tools": {"aws": False, "psql": False},
            "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
        },
        credentials=[{"name": "key", "kind": "aws", "fields": key, "tools": ["sdk"]}],
        policy=OPEN,
    ) as sidecar:
        done = call(sidecar, "sts", "get_caller_identity")
        assert done.failed.kind == "SidecarUnavailable"
        assert done.data == b""
        assert len(aws.requests) - before == sent
        (report,) = verify_folder(sidecar.data / "audit")
        assert not report.reason
