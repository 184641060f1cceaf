"""Something around the sidecar breaks while it runs: it refuses in one sentence and stays."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
from pathlib import Path

from tests.support.sidecar import SECRET, Sidecar, leaky

from keyless.protocol.messages import Status, StatusQuery
from keyless_kernel.confine.bubblewrap import find_bwrap
from keyless_sidecar.vault import Entry, FileSource

from .conftest import StartSidecar

LATER = "Xb4nV8qT2yK6wM1zR9cL3hP7dS5fG0jE"


def test_audit_file_gone(sidecar: Sidecar) -> None:
    assert sidecar.run("rc", "0").finished.exit_code == 0
    (path,) = (sidecar.data / "audit").glob("*.jsonl")
    path.unlink()
    failed = sidecar.run("file", "made", "none").failed
    assert failed.kind == "SidecarUnavailable"
    assert "audit log" in failed.message
    assert str(sidecar.home) not in failed.message
    assert not list(sidecar.workspace.iterdir())
    assert SECRET not in sidecar.log()


def test_audit_file_gone_while_a_command_runs(sidecar: Sidecar) -> None:
    request = sidecar.start("sleep", "1")
    sidecar.collect(request, until=lambda result: result.started is not None)
    (path,) = (sidecar.data / "audit").glob("*.jsonl")
    path.unlink()
    failed = sidecar.collect(request).failed
    assert failed.kind == "SidecarUnavailable"
    assert "its result can't be recorded" in failed.message


def test_vault_damaged(sidecar: Sidecar) -> None:
    vault = sidecar.data / "vault.json"
    vault.write_text("{")
    vault.chmod(0o600)
    failed = sidecar.run("rc", "0").failed
    assert failed.kind == "SidecarUnavailable"
    assert "vault" in failed.message
    assert str(sidecar.home) not in failed.message
    sidecar.send(StatusQuery(id=sidecar.next_id()))
    status = sidecar.receive()
    assert isinstance(status, Status)
    assert status.credentials == []
    assert "vault can't be read" in status.guarantees[-1]
    vault.unlink()
    assert sidecar.run("rc", "0").finished.exit_code == 0


def test_a_credential_added_later_is_known_at_once(sidecar: Sidecar) -> None:
    assert sidecar.run("stdin", stdin=LATER.encode()).stdout == LATER
    source = FileSource.open(sidecar.data)
    source.add(Entry("later", "token", {"value": LATER}, ()))
    assert sidecar.run("stdin", stdin=LATER.encode()).stdout == "[redacted:later]"


def test_workspace_gone(sidecar: Sidecar) -> None:
    shutil.rmtree(sidecar.workspace)
    failed = sidecar.run("rc", "0").failed
    assert failed.kind == "SidecarUnavailable"
    assert "sandbox" in failed.message
    assert str(sidecar.home) not in failed.message
    assert sidecar.records()[-1]["fields"]["outcome"] == "SidecarUnavailable"


def test_program_gone(start_sidecar: StartSidecar, jupyter_home: Path) -> None:
    program = jupyter_home / "tool"
    program.write_text("#!/nonexistent/interpreter\n")
    program.chmod(0o755)
    tools = {"declared": {"leaky": leaky(path=str(program))}, "aws": False}
    sidecar = start_sidecar(config={"Tools": tools})
    sidecar.hello()
    failed = sidecar.run("rc", "0").failed
    assert failed.kind == "SidecarUnavailable"
    assert "could not be started: No such file or directory" in failed.message


def test_scratch_folder_gone(sidecar: Sidecar) -> None:
    sidecar.scratch.rmdir()
    failed = sidecar.run("rc", "0").failed
    assert failed.kind == "SidecarUnavailable"
    assert str(sidecar.home) not in failed.message


def test_entry_that_does_not_fit_the_tool(start_sidecar: StartSidecar) -> None:
    fields = {"value": SECRET}
    sidecar = start_sidecar(
        credentials=[{"name": "token", "kind": "token", "fields": fields, "tools": ["leaky"]}]
    )
    sidecar.hello()
    failed = sidecar.run("rc", "0").failed
    assert (failed.kind, "no credential of kind token" in failed.message) == ("PolicyDenied", True)


def test_without_overlays_the_workspace_is_read_only(
    start_sidecar: StartSidecar, tmp_path: Path
) -> None:
    old = tmp_path / "bwrap"
    old.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "bubblewrap 0.8.0"; exit; }\n'
        f'exec {find_bwrap()} "$@"\n'
    )
    old.chmod(0o755)
    sidecar = start_sidecar(config={"Confinement": {"bwrap": str(old)}})
    sidecar.hello()
    (sidecar.workspace / "in").write_text("x")
    result = sidecar.run("file", "out", "none")
    assert result.finished.exit_code != 0
    assert "Read-only file system" in result.stderr
    assert "read-only for the tool" in result.finished.notes[0]
    assert [path.name for path in sidecar.workspace.iterdir()] == ["in"]


def test_nothing_in_the_log_or_the_audit_holds_a_secret(sidecar: Sidecar) -> None:
    for mode in ("plain", "env", "nonsense", "file"):
        sidecar.run(mode, "out") if mode == "file" else sidecar.run(mode)
    assert SECRET not in sidecar.log()
    assert SECRET not in json.dumps(sidecar.records())
    for path in sidecar.home.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a sandbox is being tidied away
            if stat.S_ISREG(path.lstat().st_mode):
                assert SECRET.encode() not in path.read_bytes(), path
