"""What the teaching notebooks run against: a local AWS, a weather station, a flag to be stolen.

Used by ``stories``, ``lesson`` and ``lab``.  The flag is the secret key of the local AWS's user.
Its SHA-256 lies in the bucket, so that a notebook can tell whether it has found the flag.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keyless.localaws import station
from keyless.localaws.owner import owner
from keyless.localaws.policy import Document
from keyless.localaws.server import LocalAws
from keyless.localaws.setup import default_policy
from keyless.localaws.three_patterns import LAMBDA, ROLE, USER

__all__ = ["BUCKET", "ENVELOPE", "Classroom", "classroom"]

BUCKET = "pictures"
#: Object with the flag's SHA-256.
ENVELOPE = "flag.sha256"


@dataclass(frozen=True)
class Classroom:
    """The servers, running, and the station's tool."""

    aws: LocalAws
    station: station.Station
    tool: Path


@contextlib.contextmanager
def classroom() -> Iterator[Classroom]:
    """Start all of it, and end it with the block.

    Raises:
        LocalAwsError: the local AWS can't start.
    """
    may: Document = {
        "Version": "2012-10-17",
        "Statement": [*default_policy(BUCKET)["Statement"], *USER["Statement"]],
    }
    with (
        LocalAws(bucket=BUCKET, user_policy=may, roles={ROLE: LAMBDA}) as aws,
        station.serving() as weather,
        tempfile.TemporaryDirectory(prefix="keyless-tools-") as folder,
    ):
        Path(folder).chmod(0o755)  # the sandbox's user runs what lies in it
        _seal(aws)
        yield Classroom(aws, weather, station.install_tool(Path(folder)))


def _seal(aws: LocalAws) -> None:
    digest = hashlib.sha256(aws.secret_access_key.encode()).hexdigest()
    with owner(aws, "s3", s3={"addressing_style": "path"}) as client:
        client.put_object(Bucket=BUCKET, Key=ENVELOPE, Body=digest.encode())
