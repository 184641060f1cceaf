"""Code that others could change is not run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keyless_sidecar import own_code
from keyless_sidecar.own_code import ChangeableCode, own_places, require_fixed

SANDBOX = 61000


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "app" / "package"
    folder.mkdir(parents=True)
    (folder / "module.py").touch(mode=0o644)
    (tmp_path / "app" / "link").symlink_to("package/module.py")
    return tmp_path / "app"


def check(*places: Path, uid: int = SANDBOX, gid: int = SANDBOX) -> None:
    require_fixed(places, uid=uid, gid=gid)


def test_what_only_we_can_change_is_fine(code: Path) -> None:
    check(code, code / "package/module.py", code / "link", code / "missing", code / "no/such")


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("package/module.py", lambda code: (code / "package/module.py").chmod(0o666)),
        ("package/module.py", lambda code: (code / "package").chmod(0o777)),
        ("package/module.py", lambda code: code.chmod(0o777)),
        ("link", lambda code: (code / "package/module.py").chmod(0o646)),
        ("link", lambda code: (code / "package").chmod(0o757)),
        ("missing", lambda code: code.chmod(0o1777)),
        ("no/such", lambda code: code.chmod(0o1777)),
    ],
)
def test_what_everyone_can_change(code: Path, place: str, change: Callable[[Path], object]) -> None:
    change(code)
    with pytest.raises(ChangeableCode, match="could be changed by others") as caught:
        check(code / place)
    assert str(code / place) in str(caught.value)


def test_a_sticky_folder_protects_what_is_in_it(code: Path) -> None:
    code.chmod(0o1777)
    check(code / "package/module.py")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@needs_root
def test_what_the_sandbox_owns(code: Path) -> None:
    os.chown(code / "package", SANDBOX, 0)
    with pytest.raises(ChangeableCode, match="sandbox's user"):
        check(code / "package/module.py")
    # Where sandboxed processes have our own id, owning it tells nothing.
    check(code / "package/module.py", uid=0, gid=0)


@needs_root
def test_groups(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "package").chmod(0o775)
    os.chown(code / "package", 0, SANDBOX)
    with pytest.raises(ChangeableCode, match="sandbox's group"):
        check(code / "package/module.py")
    check(code / "package/module.py", gid=SANDBOX + 1)
    members = ["root", "mallory"]
    monkeypatch.setattr(own_code.grp, "getgrgid", lambda _: type("Group", (), {"gr_mem": members}))
    with pytest.raises(ChangeableCode, match=f"members of group {SANDBOX}"):
        check(code / "package/module.py", gid=SANDBOX + 1)
    members.remove("mallory")
    check(code / "package/module.py", gid=SANDBOX + 1)


def test_this_installation_is_fine_and_looked_at_whole() -> None:
    import keyless_sidecar.server  # noqa: F401 - what the sidecar has loaded

    places = list(own_places())
    names = {str(place) for place in places}
    assert sys.executable in names
    assert any(name.endswith("keyless_sidecar/sanitize/stream.py") for name in names)
    assert any(name.endswith("site-packages/msgspec") for name in names)
    require_fixed(places, uid=SANDBOX, gid=SANDBOX)


def test_only_an_isolated_interpreter_serves() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from keyless_sidecar.own_code import *; require_isolated()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "python -I" in done.stderr
    isolated = [sys.executable, "-I", "-c", "from keyless_sidecar.own_code import *; "
                "require_isolated()"]  # fmt: skip
    assert subprocess.run(isolated, check=False).returncode == 0
