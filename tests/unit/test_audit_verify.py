"""What ``verify`` tells: any edit, deletion, reordering or cut of the audit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyless_sidecar.audit import AuditLog, read, verify, verify_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def path(folder: Path) -> Path:
    return write(folder)


def write(folder: Path, kernel: str = "kernel-1", count: int = 4) -> Path:
    log = AuditLog.open(folder, kernel, {"level": "namespaces"})
    for number in range(count):
        log.append("exec.request", {"tool": "aws", "argv": ["sts", f"call-{number}"]})
    log.close()
    return log.path


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))


def test_an_untouched_file_is_good(path: Path) -> None:
    report = verify(path)
    assert (report.ok, report.state, report.records, report.line) == (True, "closed", 6, 0)
    assert report.to_json()["ok"] is True


@pytest.mark.parametrize(
    ("line", "reason", "change"),
    [
        (
            3,
            "doesn't match its hash",
            lambda x: [*x[:2], x[2].replace(b"call-1", b"call-9"), *x[3:]],
        ),
        (3, "record 2 should stand here, not 3", lambda x: [*x[:2], *x[3:]]),
        (3, "record 2 should stand here, not 3", lambda x: [*x[:2], x[3], x[2], *x[4:]]),
        (4, "record 3 should stand here, not 2", lambda x: [*x[:3], x[2], *x[3:]]),
        (1, "record 0 should stand here", lambda x: x[1:]),
        (3, "no JSON", lambda x: [*x[:2], b"\n", *x[2:]]),
        (3, "no JSON", lambda x: [*x[:2], x[2][:40] + b"\n", *x[3:]]),
        (7, "after the closing record", lambda x: [*x, x[-1]]),
        (7, "after the closing record", lambda x: [*x, b"half"]),
        (1, "it is empty", lambda x: []),
        (3, "not written as a record is", lambda x: [*x[:2], b" " + x[2], *x[3:]]),
        (3, "not the fields", lambda x: [*x[:2], b'{"a":1}\n', *x[3:]]),
        (3, "not the fields", lambda x: [*x[:2], b"[]\n", *x[3:]]),
        (3, "no JSON", lambda x: [*x[:2], b"[" * 100_000 + b"\n", *x[3:]]),
    ],
)
def test_the_first_bad_line_is_named(
    path: Path, line: int, reason: str, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    edit(path, change)
    report = verify(path)
    assert (report.ok, report.state, report.line) == (False, "broken", line)
    assert report.records == line - 1
    assert reason in report.reason


def test_a_record_with_a_hash_made_anew_breaks_the_next_line(path: Path) -> None:
    def forge(lines: list[bytes]) -> list[bytes]:
        record: dict[str, Any] = json.loads(lines[2])
        record["fields"]["argv"] = ["sts", "harmless"]
        del record["hash"]
        record["hash"] = hashlib.sha256(canonical(record)).hexdigest()
        return [*lines[:2], canonical(record) + b"\n", *lines[3:]]

    edit(path, forge)
    report = verify(path)
    assert (report.state, report.line) == ("broken", 4)
    assert "doesn't follow" in report.reason


def forged(path: Path, **changes: Any) -> None:
    """Change the second record and make all later hashes anew, as the folder's owner could."""
    lines = path.read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    records[1].update(changes)
    previous = records[0]["hash"]
    for record in records[1:]:
        record["prev"] = previous
        del record["hash"]
        record["hash"] = previous = hashlib.sha256(canonical(record)).hexdigest()
    path.write_bytes(b"".join(canonical(record) + b"\n" for record in records))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"record_id": "k000000-000001"}, "its id is another file's"),
        ({"kind": "audit.open"}, "has only one"),
    ],
)
def test_even_with_all_hashes_anew_a_file_must_make_sense(
    path: Path, changes: dict[str, str], reason: str
) -> None:
    forged(path, **changes)
    report = verify(path)
    assert (report.state, report.line) == ("broken", 2)
    assert reason in report.reason


def test_a_forged_file_is_told_by_the_one_after_it(folder: Path) -> None:
    """Hashes made anew fit together, but not with what the next file has on record."""
    first, _ = write(folder), write(folder)
    forged(first, fields={"argv": ["harmless"]})
    assert verify(first).ok
    assert not verify_folder(folder)[0].ok


def canonical(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def test_records_of_another_file_do_not_fit_in(folder: Path, path: Path) -> None:
    other = write(folder, "kernel-2").read_bytes().splitlines(keepends=True)
    edit(path, lambda lines: [*lines[:2], *other[2:]])
    assert verify(path).state == "broken"


def test_half_a_last_line_is_a_torn_tail(path: Path) -> None:
    edit(path, lambda lines: [*lines[:4], lines[4][:30]])
    report = verify(path)
    assert (report.ok, report.state, report.line, report.records) == (False, "torn tail", 5, 4)
    assert len(list(read(path))) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(path: Path, data: st.DataObject) -> None:
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[place]))
    try:
        path.write_bytes(good[:place] + bytes([byte]) + good[place + 1 :])
        assert not verify(path).ok
    finally:
        path.write_bytes(good)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.data())
def test_no_cut_goes_unnoticed(path: Path, data: st.DataObject) -> None:
    good = path.read_bytes()
    begin = data.draw(st.integers(0, len(good) - 1))
    end = data.draw(st.integers(begin + 1, len(good)))
    try:
        path.write_bytes(good[:begin] + good[end:])
        assert verify(path).state != "closed"
    finally:
        path.write_bytes(good)


# ---------------------------------------------------------------------------- from file to file


def test_files_are_chained(folder: Path) -> None:
    paths = [write(folder, f"kernel-{number}") for number in range(3)]
    links = [next(read(path))["fields"]["earlier"] for path in paths]
    assert links[0] is None
    assert [link["file"] for link in links[1:]] == [path.name for path in paths[:2]]
    reports = verify_folder(folder)
    assert [report.state for report in reports] == ["closed"] * 3


def test_a_file_that_is_gone_is_missed(folder: Path) -> None:
    paths = [write(folder) for _ in range(3)]
    paths[1].unlink()
    states = {Path(report.path).name: report for report in verify_folder(folder)}
    assert states[paths[0].name].ok
    assert "is gone" in states[paths[2].name].reason


def test_an_end_that_was_cut_off_at_a_line_is_missed(folder: Path) -> None:
    first, _ = write(folder), write(folder)
    edit(first, lambda lines: lines[:-2])
    assert verify(first).state == "ended by force"
    report = verify_folder(folder)[0]
    assert (report.state, report.line) == ("broken", 5)
    assert "cut off" in report.reason


def test_a_file_that_still_grows_after_its_follower_began_is_good(folder: Path) -> None:
    first = AuditLog.open(folder, "one", {})
    second = AuditLog.open(folder, "two", {})
    first.append("a", {})
    first.close()
    second.close()
    assert [report.state for report in verify_folder(folder)] == ["closed", "closed"]


def test_files_stay_in_order_when_the_clock_goes_back(folder: Path) -> None:
    first = write(folder)
    future = folder / first.name.replace(first.name[:4], "2999", 1)
    first.rename(future)
    second, third = write(folder), write(folder)
    assert sorted([third.name, second.name, future.name]) == [future.name, second.name, third.name]
    assert all(report.ok for report in verify_folder(folder))


def test_a_torn_file_can_be_followed(folder: Path) -> None:
    first = write(folder)
    edit(first, lambda lines: [*lines[:4], lines[4][:30]])
    write(folder)
    assert [report.state for report in verify_folder(folder)] == ["torn tail", "closed"]


def test_a_foreign_file_is_followed_and_reported(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "0000-foreign.jsonl").write_text("not ours\n")
    (folder / "0001-foreign.jsonl").write_text('{"fields": 7}\n[]\n')
    write(folder)
    assert [report.state for report in verify_folder(folder)] == ["broken", "broken", "closed"]


def test_a_link_is_not_read(folder: Path, path: Path) -> None:
    (folder / "zzz.jsonl").symlink_to(path)
    with pytest.raises(OSError, match="symbolic link"):
        verify(folder / "zzz.jsonl")
