"""Writing the audit: on disk before ``append`` returns, private, and never silently lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyless_sidecar.audit import AuditLog, AuditUnavailable, read, verify, verify_folder
from keyless_sidecar.audit import log as writing

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "share" / "keyless" / "audit"


def start(folder: Path, kernel: str = "kernel-1") -> AuditLog:
    return AuditLog.open(folder, kernel, {"level": "namespaces"})


def test_records_come_back_in_order(folder: Path) -> None:
    log = start(folder)
    ids = [log.append("exec.request", {"argv": ["sts", str(number)]}) for number in range(3)]
    log.close()
    found = list(read(log.path))
    assert [record["kind"] for record in found] == [
        "audit.open",
        *["exec.request"] * 3,
        "audit.close",
    ]
    assert [record["record_id"] for record in found[1:4]] == ids
    assert [record["seq"] for record in found] == [0, 1, 2, 3, 4]
    assert found[0]["fields"]["kernel_id"] == "kernel-1"
    assert found[0]["fields"]["facts"] == {"level": "namespaces"}
    assert found[1]["time"].endswith("+00:00")
    assert log.records == 5
    assert log.head == found[-1]["hash"]
    report = verify(log.path)
    assert (report.state, report.records, report.head) == ("closed", 5, log.head)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(fields=st.dictionaries(st.text(), json_values, max_size=5))
def test_any_json_fields_are_kept_and_verify(folder: Path, fields: dict[str, Any]) -> None:
    log = start(folder)
    log.append("k", fields)
    log.close()
    assert list(read(log.path))[1]["fields"] == json.loads(json.dumps(fields))
    assert verify(log.path).ok


def test_a_record_is_on_disk_before_append_returns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = start(folder)
    synced: list[int] = []
    real = os.fdatasync

    def sync(fd: int) -> None:
        real(fd)
        synced.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fdatasync", sync)
    record_id = log.append("exec.request", {"tool": "aws"})
    assert synced == [log.path.stat().st_size]
    assert record_id in log.path.read_text().splitlines()[-1]
    log.close()


def test_file_and_folder_are_private(folder: Path) -> None:
    log = start(folder)
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    log.close()


def test_ids_differ_between_two_launches_of_one_kernel(folder: Path) -> None:
    first, second = start(folder), start(folder)
    assert first.append("a", {}) != second.append("a", {})
    for log in (first, second):
        log.close()


def test_a_kernel_id_stays_inside_the_folder(folder: Path) -> None:
    log = start(folder, "../../evil/\n" + "x" * 500)
    assert log.path.parent == folder
    assert log.path.exists()
    assert [file.name for file in folder.parent.iterdir()] == ["audit"]
    log.close()


def test_controls_and_bidirectional_signs_are_written_as_escapes(folder: Path) -> None:
    log = start(folder)
    text = "\x1b[2J\n\u202eevil\u2066 \udcff é"
    log.append("exec.request", {"argv": [text]})
    log.close()
    assert log.path.read_bytes().isascii()
    assert len(log.path.read_bytes().splitlines()) == 3
    assert list(read(log.path))[1]["fields"]["argv"] == [text]


def test_a_huge_request_leaves_a_small_record(folder: Path) -> None:
    log = start(folder)
    log.append(
        "exec.request", {"argv": ["\x00" * 200_000, *["a"] * 16_000], "m": {"k": "b" * 9000}}
    )
    log.close()
    record = list(read(log.path))[1]
    assert log.path.stat().st_size < 100_000
    assert "195904 more, sha256" in record["fields"]["argv"][0]
    assert "15489 more, sha256" in record["fields"]["argv"][-1]
    assert "sha256" in record["fields"]["m"]["k"]


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes", {1, 2}])
def test_what_cannot_be_recorded_is_refused_and_the_log_goes_on(folder: Path, value: Any) -> None:
    log = start(folder)
    with pytest.raises(AuditUnavailable, match="can't be written"):
        log.append("a", {"x": value})
    log.append("b", {})
    log.close()
    assert verify(log.path).ok


def test_many_threads_make_one_chain(folder: Path) -> None:
    log = start(folder)
    threads = [
        threading.Thread(target=lambda: [log.append("a", {"n": n}) for n in range(20)])
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    report = verify(log.path)
    assert (report.state, report.records) == ("closed", 122)


def test_closing_twice_and_appending_afterwards(folder: Path) -> None:
    log = start(folder)
    log.close()
    log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        log.append("a", {})
    assert verify(log.path).records == 2


# ---------------------------------------------------------------------------- when it can't be kept


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "audit", Path("/proc/nothing/audit")):
        with pytest.raises(AuditUnavailable):
            start(bad)


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(AuditUnavailable, match="Other users can write"):
        start(folder)


def test_a_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path)
    with pytest.raises(AuditUnavailable, match="no link"):
        start(folder)


def test_a_removed_or_changed_file_stops_the_log(folder: Path) -> None:
    log = start(folder)
    with log.path.open("a") as file:
        file.write("forged\n")
    with pytest.raises(AuditUnavailable, match="someone else"):
        log.append("a", {})
    gone = start(folder)
    gone.path.unlink()
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match="someone else"):
            gone.append("a", {})
    gone.close()
    log.close()


def test_a_failed_sync_is_never_forgiven(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = start(folder)

    def fail(fd: int) -> None:
        raise OSError(5, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(AuditUnavailable, match="brought to disk"):
            log.append("a", {})
    with pytest.raises(AuditUnavailable, match="failed"):
        log.append("a", {})
    log.close()


def fill(log: AuditLog) -> None:
    for _ in range(1000):
        log.append("exec.request", {"argv": ["x" * 4000] * 10})


def test_a_full_disk_refuses_requests_but_keeps_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = 5 * writing.RESERVE
    monkeypatch.setattr(writing, "_reserve", lambda fd, size: errno.ENOSPC if size > disk else 0)
    log = start(folder)
    with pytest.raises(AuditUnavailable, match="no space"):
        fill(log)
    used = log.records
    assert log.path.stat().st_size + writing.RESERVE <= disk
    log.append("exec.result", {"exit_code": 0}, from_reserve=True)
    log.close()
    report = verify(log.path)
    assert (report.state, report.records) == ("closed", used + 2)


def test_space_is_reserved_on_disk_and_given_back(folder: Path) -> None:
    log = start(folder)
    if log.path.stat().st_blocks * 512 < writing.RESERVE:
        pytest.skip("this file system can't reserve space")
    log.close()
    assert log.path.stat().st_blocks * 512 < writing.RESERVE


def test_a_half_written_record_is_taken_back(folder: Path) -> None:
    log = start(folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(AuditUnavailable, match="couldn't be written"):
            log.append("exec.result", {}, from_reserve=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.append("exec.result", {"n": 2})
    log.close()
    report = verify(log.path)
    assert (report.state, report.records) == ("closed", 3)


def test_a_loop_of_requests_cannot_fill_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_FILE", writing.RESERVE + 100_000)
    log = start(folder)
    with pytest.raises(AuditUnavailable, match="restart the kernel"):
        fill(log)
    log.append("exec.result", {}, from_reserve=True)
    log.close()
    assert log.path.stat().st_size <= 100_000
    assert verify(log.path).state == "closed"


def test_where_space_cannot_be_reserved_the_log_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_reserve", lambda fd, size: errno.EOPNOTSUPP)
    log = start(folder)
    log.append("a", {})
    log.close()
    assert verify(log.path).ok


def test_a_start_that_fails_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_reserve", lambda fd, size: errno.ENOSPC)
    with pytest.raises(AuditUnavailable, match="no space"):
        start(folder)
    assert [file.name for file in folder.iterdir()] == [".lock"]


# ---------------------------------------------------------------------------- a sidecar that dies

CHILD = """
import sys, time
from pathlib import Path
from keyless_sidecar.audit import AuditLog
log = AuditLog.open(Path(sys.argv[1]), "dying", {})
log.append("exec.request", {"tool": "aws"})
print(log.path, flush=True)
time.sleep(60)
"""


def test_a_killed_sidecar_is_seen_to_have_ended_by_force(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        path = Path(child.stdout.readline().strip())
        running = verify(path)
        child.send_signal(signal.SIGKILL)
    ended = verify(path)
    assert (running.state, running.records) == ("running", 2)
    assert (ended.state, ended.records, ended.ok) == ("ended by force", 2, True)
    follower = start(folder)
    follower.close()
    assert all(report.ok for report in verify_folder(folder))
