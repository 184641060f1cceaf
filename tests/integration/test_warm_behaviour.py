"""A warm tool can't be told from one that was started for the command, but by its haste."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.egress import AWS_CLI
from tests.support.sidecar import Result, Sidecar, kept_sidecar
from tests.support.warm import result_record

from keyless.localaws.server import LocalAws
from keyless.protocol.messages import Cancel, Failed, Finished, Terminal

BEHAVING = Path(__file__).parents[1] / "support" / "behaving.py"
SYSTEM_CLI = Path("/usr/bin/aws")
LANDLOCK = os.environ.get("KEYLESS_TEST_LEVEL", "").startswith("landlock")
CLIS = {name: path for name, path in (("aws1", AWS_CLI), ("aws2", SYSTEM_CLI)) if path.exists()}


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws() as running:
        yield running


@pytest.fixture(scope="module")
def sidecar(aws: LocalAws) -> Iterator[Sidecar]:
    tools: dict[str, Any] = {"behaving": {"path": str(BEHAVING), "timeout": 30}}
    clis = [f"{name}-{how}" for name in CLIS for how in ("warm", "cold")]
    for name, path in CLIS.items():
        tools[name] = {"path": str(path), "rules": "aws", "delivery": "proxy"}
    declared = {
        f"{name}-{how}": tool | {"warm": how == "warm"}
        for name, tool in tools.items()
        for how in ("warm", "cold")
    }
    keys = {
        "access_key_id": aws.access_key_id,
        "secret_access_key": aws.secret_access_key,
        "region": aws.region,
    }
    entry = {"name": "cloud", "kind": "aws", "fields": keys, "tools": clis}
    with kept_sidecar(
        config={
            "Tools": {"declared": declared, "aws": False, "psql": False},
            "Egress": {"upstreams": {"*.amazonaws.com": aws.endpoint}},
        },
        credentials=[entry],
    ) as made:
        yield made


def both(sidecar: Sidecar, tool: str, *argv: str, **options: Any) -> Result:
    """Run a command warm and cold; it must be the same."""
    found = []
    for how in ("warm", "cold"):
        result = sidecar.run(*argv, tool=f"{tool}-{how}", **options)
        assert isinstance(result.end, Finished | Failed)
        fields = result_record(sidecar, result)
        assert fields["start"] == ("cold" if LANDLOCK else how)
        assert bool(fields["cold_because"]) == (LANDLOCK and how == "warm")
        found.append((result, facts(result)))
    assert found[0][1] == found[1][1]
    return found[0][0]


def facts(result: Result) -> tuple[object, ...]:
    """All of an answer but for ports, process ids and times."""
    end = result.end
    assert isinstance(end, Finished | Failed)
    code = end.exit_code if isinstance(end, Finished) else end.kind
    files = [(file.path, file.sha256) for file in getattr(end, "files", ())]
    texts = [
        re.sub(r"127.0.0.1:\d+|keyless_\w+|0x[0-9a-f]+|run-\d+", "N", each)
        for each in (result.stdout, result.stderr)
    ]
    return (code, files, *texts)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        *((("exit", value), code) for value, code in (("3", 3), ("null", 0), ("-1", 255))),
        *((("exit", value), 1) for value in ("true", '"a text — ünicode"', "[1, 2]")),
        *((("signal", value), 128 + int(value)) for value in ("15", "9")),
        (("fail",), 1),
        (("finally",), 0),
        (("thread-fails",), 0),
        (("atexit-fails",), 0),
        (("echo",), 0),
        (("input",), 1),
        (("binary",), 0),
        (("unencodable",), 0),
        (("large", "100000"), 0),
        (("closed",), 120),
        (("no-stdout",), 0),
        (("at-once",), 9),
        (("streams",), 0),
        (("writes", "out.txt"), LANDLOCK),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, tuple) else "",
)
def test_a_script(sidecar: Sidecar, argv: tuple[str, ...], code: int) -> None:
    result = both(sidecar, "behaving", *argv, stdin="zwölf\nBoxkämpfer\n".encode())
    assert result.finished.exit_code == code


@pytest.mark.parametrize("argv", [("module", "ä", "", "-c"), ("around",)], ids=["module", "around"])
def test_what_a_script_finds(sidecar: Sidecar, argv: tuple[str, ...]) -> None:
    assert both(sidecar, "behaving", *argv).finished.exit_code == 0


def test_on_a_terminal(sidecar: Sidecar) -> None:
    result = both(sidecar, "behaving", "streams", terminal=Terminal(rows=30, columns=100))
    assert result.stdout.count("True 0") == result.stdout.count("True 1") == 1


def test_a_cancelled_command(sidecar: Sidecar) -> None:
    found = []
    for how in ("warm", "cold"):
        request = sidecar.start("interrupted", tool=f"behaving-{how}")
        begun = sidecar.collect(request, until=lambda result: "waiting" in result.stdout)
        sidecar.send(Cancel(id=request))
        found.append(sidecar.collect(request, into=begun))
    for result in found:
        assert result.failed.kind == "CommandCancelled"
        first, place, *_, last = result.stderr.splitlines()
        assert (first, last) == ("Traceback (most recent call last):", "KeyboardInterrupt")
        assert str(BEHAVING) in place


@pytest.mark.parametrize("cli", CLIS)
def test_the_aws_cli(sidecar: Sidecar, aws: LocalAws, cli: str) -> None:
    file = sidecar.workspace / "in.txt"
    file.write_text("some text\n")
    upload = both(sidecar, cli, *f"s3 cp in.txt s3://{aws.bucket}/there --no-progress".split())
    assert upload.finished.exit_code == 0, upload.stderr
    refused = both(sidecar, cli, "s3", "ls", "s3://no-such-bucket-anywhere")
    assert "AccessDenied" in refused.stderr
