"""The AWS CLI in a cell, with its key in the sidecar, beside the bare CLI that holds the key."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import starts
from benchmarks.cells import Cells
from benchmarks.machine import AWS_V2
from benchmarks.measuring import Measure, in_turn, timed
from benchmarks.outcome import Group, Outcome
from benchmarks.peers import PeerMissing
from benchmarks.stage import Stage

MIB = 1 << 20


def _bare(stage: Stage, folder: Path, version: int, *words: str) -> Callable[[], None]:
    """A bare command as a subprocess, as typed in a terminal."""
    argv, environment = stage.bare_aws(version, *words), stage.aws_environment

    def run() -> None:
        done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"bare aws v{version}: {done.stderr.strip()[-200:]}")

    return run


def _secured(cells: Cells, tool: str, words: Sequence[str]) -> Measure:
    """A whole cell, from its request to its last message."""
    return timed(lambda: cells.run(f"%secure_exec {tool} {' '.join(words)}"))


def sts(stage: Stage) -> Outcome:
    """``sts get-caller-identity`` by both versions, secured and bare."""
    words, found = ("sts", "get-caller-identity"), Outcome()
    try:
        stage.peers.debian({"awscli": AWS_V2})
    except PeerMissing as missing:
        found.missing["aws v2"] = str(missing)
    second = AWS_V2.exists()
    with (
        stage.second_aws(second),
        stage.workspace() as folder,
        stage.keyless(keyless_workspace=str(folder)) as cells,
    ):
        sides = {
            "bare v1": timed(_bare(stage, folder, 1, *words)),
            "secured v1": _secured(cells, "aws", words),
        }
        if second:
            sides["bare v2"] = timed(_bare(stage, folder, 2, *words))
            sides["secured v2"] = _secured(cells, "aws2", words)
        with starts.noted(found):
            took = in_turn(sides, stage.rounds(25), warmup=2)
    found.groups.append(Group("aws sts get-caller-identity", "s", took))
    found.ratio("aws.sts.v1", "secured v1 ÷ bare v1", took["secured v1"], took["bare v1"])
    if "bare v2" in took:
        found.ratio("aws.sts.v1_v2", "secured v1 ÷ bare v2", took["secured v1"], took["bare v2"])
        found.ratio("aws.sts.v2", "secured v2 ÷ bare v2", took["secured v2"], took["bare v2"])
    return found


def update_lambda(stage: Stage) -> Outcome:
    """A function's code of 3 MB, deployed anew."""
    found = Outcome()
    with stage.workspace() as folder, stage.keyless(keyless_workspace=str(folder)) as cells:
        with zipfile.ZipFile(folder / "three.zip", "w") as package:
            package.writestr("handler.py", "def handler(event, context): return event\n")
            package.writestr("data", os.urandom(3 * MIB))
        (folder / "three.zip").chmod(0o644)
        create = ("lambda", "create-function", "--function-name", "three", "--runtime")
        create += ("python3.11", "--handler", "handler.handler", "--role", stage.aws.role_arn)
        _bare(stage, folder, 1, *create, "--zip-file", "fileb://three.zip")()
        words = ("lambda", "update-function-code", "--function-name", "three")
        words += ("--zip-file", "fileb://three.zip")
        sides = {
            "bare v1": timed(_bare(stage, folder, 1, *words)),
            "secured v1": _secured(cells, "aws", words),
        }
        with starts.noted(found):
            took = in_turn(sides, stage.rounds(15), warmup=2)
    found.groups.append(Group("aws lambda update-function-code, 3 MB", "s", took))
    found.ratio("aws.lambda", "secured v1 ÷ bare v1", took["secured v1"], took["bare v1"])
    return found


def copy_to_s3(stage: Stage) -> Outcome:
    """64 MB of random bytes into a bucket."""
    found = Outcome()
    with stage.workspace() as folder, stage.keyless(keyless_workspace=str(folder)) as cells:
        with (folder / "large.bin").open("wb") as file:
            for _ in range(64):
                file.write(os.urandom(MIB))
        (folder / "large.bin").chmod(0o644)
        words = ("s3", "cp", "--no-progress", "large.bin", f"s3://{stage.aws.bucket}/large.bin")
        sides = {
            "bare v1": timed(_bare(stage, folder, 1, *words)),
            "secured v1": _secured(cells, "aws", words),
        }
        with starts.noted(found):
            took = in_turn(sides, stage.rounds(9))
    found.groups.append(Group("aws s3 cp, 64 MB", "s", took))
    found.ratio("aws.s3", "secured v1 ÷ bare v1", took["secured v1"], took["bare v1"])
    return found
