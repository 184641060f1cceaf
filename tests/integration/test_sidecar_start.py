"""A sidecar's start: it is ready, or says in one sentence why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.sidecar import SECRET, leaky

from .conftest import StartSidecar


def test_ready_tells_level_and_user(start_sidecar: StartSidecar, sandbox_user: int) -> None:
    sidecar = start_sidecar()
    assert sidecar.status["ready"] is True
    assert sidecar.status["level"].startswith("namespaces")
    assert sidecar.status["kernel_uid"] == sandbox_user
    welcome = sidecar.hello()
    assert (welcome.kernel_id, welcome.level) == ("test-kernel", sidecar.status["level"])


def refused(sidecar: object) -> str:
    status = sidecar.status  # type: ignore[attr-defined]
    assert set(status) == {"error"}
    assert sidecar.wait() == 1  # type: ignore[attr-defined]
    assert "Traceback" not in sidecar.log()  # type: ignore[attr-defined]
    assert "\n" not in status["error"]
    return str(status["error"])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"Toolz": {}}, "c.Toolz"),
        ({"Tools": {"nosuch": 1}}, "c.Tools.nosuch"),
        ({"Tools": {"max_requests": "many"}}, "max_requests"),
        ({"Tools": {"max_requests": 0}}, "max_requests"),
        ({"Egress": {"upstreams": {"*.x.example": "ftp://y"}}}, "upstreams"),
        ({"Tools": {"declared": {"t": {"path": "relative"}}}}, "absolute"),
        ({"Confinement": {"minimum": "perfect"}}, "minimum"),
        ({"Confinement": {"bwrap": "/nonexistent/bwrap"}}, "bwrap"),
    ],
)
def test_bad_configuration(
    start_sidecar: StartSidecar, config: dict[str, dict[str, object]], expected: str
) -> None:
    assert expected in refused(start_sidecar(config=config))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"kernel_id": 1}', b"\xff"])
def test_bad_settings(start_sidecar: StartSidecar, raw: bytes) -> None:
    assert "settings" in refused(start_sidecar(raw_settings=raw))


def test_tool_in_the_workspace(start_sidecar: StartSidecar, jupyter_home: Path) -> None:
    workspace = jupyter_home / "workspace"
    workspace.mkdir()
    program = workspace / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    config = {"Tools": {"declared": {"t": leaky(path=str(program))}}}
    assert "workspace" in refused(start_sidecar(config=config))


def test_audit_folder_that_can_not_be_used(start_sidecar: StartSidecar, jupyter_home: Path) -> None:
    blocked = jupyter_home / "blocked"
    blocked.write_text("a file where a folder should be")
    error = refused(start_sidecar(config={"Audit": {"folder": str(blocked / "audit")}}))
    assert "audit" in error


def test_locked_vault(start_sidecar: StartSidecar, jupyter_home: Path) -> None:
    from keyless_sidecar.vault import Entry, FileSource

    data = jupyter_home / "keyless"
    data.mkdir(mode=0o700)
    source = FileSource.open(data)
    source.add(Entry("stored", "generic", {"value": SECRET}, ("leaky",)))
    (data / "vault.key").unlink()
    error = refused(start_sidecar())
    assert "vault.key" in error or "locked" in error.lower()


def test_nothing_of_the_surroundings_counts(
    start_sidecar: StartSidecar, jupyter_home: Path
) -> None:
    workspace = jupyter_home / "workspace"
    workspace.mkdir()
    mark = jupyter_home / "mark"
    trap = f"open({str(mark)!r}, 'w')\n"
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "msgspec.py", "asyncio.py"):
        (workspace / name).write_text(trap)
    sidecar = start_sidecar(
        environment={
            "PYTHONPATH": str(workspace),
            "PYTHONSTARTUP": str(workspace / "json.py"),
            "PATH": str(workspace),
            "HOME": str(workspace),
            "AWS_PROFILE": "trap",
        }
    )
    sidecar.hello()
    result = sidecar.run("env")
    assert "AWS_PROFILE" not in result.stdout
    assert str(workspace) not in result.stdout
    assert not mark.exists()
    assert Path(f"/proc/{sidecar.process.pid}/cwd").readlink() == Path("/")
