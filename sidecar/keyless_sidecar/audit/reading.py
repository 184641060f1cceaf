"""The reading end of the audit: what is on record, and whether anyone has touched it.

Called by ``keyless_sidecar audit show`` and ``verify``, and by tests.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from keyless_sidecar.audit import records
from keyless_sidecar.audit.log import SUFFIX

__all__ = ["Report", "files", "read", "verify", "verify_folder"]

State = Literal["closed", "running", "ended by force", "torn tail", "broken"]


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found in one file.

    Attributes:
        state: ``closed`` (it ended normally), ``running``, ``ended by force`` (no closing record:
            killed, or its end was cut off), ``torn tail`` (the last line is half a record), or
            ``broken`` (someone touched it).
        records: how many good records it has from its start.
        head: hash of the last of these.
        line: number of the first bad line, from 1; 0 where there is none.
        reason: what is wrong with it.
    """

    path: str
    state: State
    records: int
    head: str
    line: int = 0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """True where every line is as it was written."""
        return self.state in ("closed", "running", "ended by force")

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "ok": self.ok}


def files(directory: Path) -> list[Path]:
    """The audit files in a folder, oldest first.

    Raises:
        OSError: the folder can't be read.
    """
    return sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIX))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, in order, whether or not they are genuine; half a record is left out.

    Raises:
        OSError: the file can't be read.
    """
    with _open(path) as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def verify(path: Path) -> Report:
    """Check one file's chain from its first record to its last.

    Raises:
        OSError: the file can't be read.
    """
    return _walk(path, {})


def verify_folder(directory: Path) -> list[Report]:
    """Check each file, and that each holds the record which the next one was chained to.

    Raises:
        OSError: the folder or a file can't be read.
    """
    paths = files(directory)
    links = [_earlier(path) for path in paths]
    wanted = {link["file"]: str(link["hash"]) for link in links if link}
    reports = {path.name: _walk(path, wanted) for path in paths}
    for path, link in zip(paths, links, strict=True):
        if link and link["file"] not in reports:
            reason = f"the file before it, {link['file']}, is gone"
            reports[path.name] = _broken(reports[path.name], 1, reason)
    return [reports[path.name] for path in paths]


def _walk(path: Path, wanted: dict[str, str]) -> Report:
    """Verify a file; ``wanted`` has, by file name, a hash that must be among its records."""
    seek = wanted.get(path.name, "")
    good = Report(str(path), "ended by force", 0, "")
    previous, prefix, closed = records.ZERO, "", False
    with _open(path) as file:
        number = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                tail = replace(good, state="torn tail", line=number, reason="half a record")
                return (
                    tail if not closed else _broken(good, number, "text after the closing record")
                )
            try:
                record = records.parse(line[:-1])
                prefix = prefix or str(record["record_id"]).partition("-")[0]
                _check_place(record, good.records, previous, prefix, closed)
            except records.BadLine as error:
                return _broken(good, number, str(error))
            previous = record["hash"]
            closed = record["kind"] == records.CLOSE
            seek = "" if previous == seek else seek
            good = replace(good, records=number, head=previous)
        if number == 0:
            return _broken(good, 1, "it is empty")
        if seek:
            return _broken(
                good, number + 1, "its end was cut off: the next file knows a later record"
            )
        if closed:
            return replace(good, state="closed")
        return replace(good, state="running" if _locked(file.fileno()) else "ended by force")


def _check_place(
    record: dict[str, Any], seq: int, previous: str, prefix: str, closed: bool
) -> None:
    if closed:
        raise records.BadLine("it stands after the closing record")
    if record["seq"] != seq:
        raise records.BadLine(f"record {seq} should stand here, not {record['seq']}")
    if record["prev"] != previous:
        raise records.BadLine("it doesn't follow the record before it")
    if record["record_id"] != f"{prefix}-{seq:06d}":
        raise records.BadLine("its id is another file's")
    if (record["kind"] == records.OPEN) != (seq == 0):
        raise records.BadLine("a file begins with its opening record, and has only one")


def _broken(report: Report, line: int, reason: str) -> Report:
    return replace(report, state="broken", line=line, reason=reason)


def _earlier(path: Path) -> dict[str, Any] | None:
    """The file and hash that a file's first record was chained to."""
    first = next(read(path), {})
    fields = first.get("fields")
    link = fields.get("earlier") if isinstance(fields, dict) else None
    return link if isinstance(link, dict) and isinstance(link.get("file"), str) else None


def _open(path: Path) -> Any:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return open(fd, "rb")


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
