"""``python large_bodies.py [--size MIB] [--cli v1|v2]``: one object up and down through the proxy.

A real sidecar runs the AWS CLI, which holds placeholders only, against a server that is as strict
as S3 about signatures.  Both ways must be byte-identical, and the sidecar's memory must stay below
120 MB all the time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from common import ROOT
from tests.support.canaries import canary
from tests.support.s3_store import Store, storing
from tests.support.sidecar import Sidecar

__all__ = ["measure"]

MIB = 1024 * 1024
LIMIT = 120 * 1000 * 1000
CLIS = {"v1": "", "v2": "/usr/bin/aws"}


class Peak:
    """The largest resident size of a process while it is watched; a context manager."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0
        self.samples = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            self.bytes = max(self.bytes, self._sidecar.memory())
            self.samples += 1


def measure(home: Path, size: int, cli: str) -> list[str]:
    """Copy a file of ``size`` bytes up and down with a CLI (``v1``, ``v2``).

    Returns:
        what was wrong, a sentence each; none where all is well.  Figures are printed.
    """
    key, secret = canary("AKIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), canary("", 40)
    parts = home / "parts"
    parts.mkdir()
    with storing(parts, key, secret) as (store, port):
        sidecar = _sidecar(home, key, secret, port, CLIS[cli])
        try:
            sidecar.hello()
            wanted = _random(sidecar.workspace / "up", size)
            return _both_ways(sidecar, store, size, wanted, cli)
        finally:
            sidecar.close()


def _sidecar(home: Path, key: str, secret: str, port: int, path: str) -> Sidecar:
    fields = {"access_key_id": key, "secret_access_key": secret, "region": "us-east-1"}
    return Sidecar(
        home,
        config={
            "Tools": {
                "aws": {"timeout": 7200, **({"path": path} if path else {})},
                "psql": False,
                "max_written": 64 * 1024**3,
            },
            "Egress": {"upstreams": {"*.amazonaws.com": f"http://127.0.0.1:{port}"}},
        },
        credentials=[{"name": "prod", "kind": "aws", "fields": fields, "tools": ["aws"]}],
    )


def _both_ways(sidecar: Sidecar, store: Store, size: int, wanted: str, cli: str) -> list[str]:
    wrong = []
    sidecar.channel.settimeout(7200)
    for way, words in (
        ("up", ("up", "s3://bucket/large")),
        ("down", ("s3://bucket/large", "down")),
    ):
        began = time.monotonic()
        with Peak(sidecar) as peak:
            done = sidecar.run("s3", "cp", "--no-progress", *words, tool="aws", timeout=7200)
        took, moved = time.monotonic() - began, store.took()
        if done.finished.exit_code or done.finished.notes:
            said = f"{done.stdout}{done.stderr} {done.finished.notes} {store.refused}"
            return [f"{cli} {way}: {said}"]
        if way == "up":
            same = (store.size("/bucket/large"), store.digest("/bucket/large")) == (size, wanted)
            (sidecar.workspace / "up").unlink()
        else:
            same = _digest(sidecar.workspace / "down") == wanted
        speed = size / 1e6 / max(moved, 0.001)
        print(
            f"{cli} {way}: {size / 1e6:.0f} MB at {speed:.0f} MB/s, command {took:.1f} s; "
            f"sidecar's RSS at most {peak.bytes / 1e6:.1f} MB of {peak.samples} samples; "
            f"{'byte-identical' if same else 'DIFFERENT'}",
            flush=True,
        )
        if not same:
            wrong.append(f"{cli} {way}: what arrived is not what was sent")
        if peak.bytes > LIMIT:
            wrong.append(f"{cli} {way}: the sidecar took {peak.bytes / 1e6:.0f} MB")
    if store.refused:
        wrong.append(f"{cli}: the server refused {store.refused[:3]}")
    if not store.checked:
        wrong.append(f"{cli}: no body had a checksum to compare")
    return wrong


def _random(path: Path, size: int) -> str:
    """A file of random bytes; their SHA-256."""
    made = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            data = os.urandom(min(MIB, size - start))
            made.update(data)
            file.write(data)
    path.chmod(0o644)
    return made.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for each CLI; the exit status is 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=5120, help="MiB")
    parser.add_argument("--cli", action="append", choices=sorted(CLIS))
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="four sizes of room")
    options = parser.parse_args(arguments)
    wrong = []
    for cli in options.cli or [name for name, path in CLIS.items() if not path or _there(path)]:
        options.folder.mkdir(exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="large-", dir=options.folder))
        home.chmod(0o755)
        try:
            wrong += measure(home, options.size * MIB, cli)
        finally:
            shutil.rmtree(home, ignore_errors=True)
    for sentence in wrong:
        print(sentence)
    return 1 if wrong else 0


def _there(path: str) -> bool:
    return Path(path).exists()


if __name__ == "__main__":
    sys.exit(main())
