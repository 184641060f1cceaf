"""From a warm tool's first command to its end: what is made beforehand, and when it is given up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.leftovers import descendants
from tests.support.sidecar import SECRET, Sidecar, eventually, kept_sidecar
from tests.support.warm import result_record, zygotes

SUPPORT = Path(__file__).parents[1] / "support"
SCRIPT = """#!/usr/bin/python3
import json, os, sys
import kept_warm
try:
    import added_later
except ImportError:
    added_later = None
seen = {}
for folder, _, names in os.walk("."):
    for name in names:
        with open(f"{folder}/{name}") as file:
            seen[os.path.relpath(f"{folder}/{name}")] = file.read()
print(json.dumps([kept_warm.VALUE, added_later is not None, seen]))
with open(f"{os.environ['HOME']}/mine", "x"), open("/tmp/mine", "x"):
    pass
"""

pytestmark = pytest.mark.skipif(
    os.environ.get("KEYLESS_TEST_LEVEL", "").startswith("landlock"),
    reason="without namespaces every command starts cold",
)
Start = Callable[..., contextlib.AbstractContextManager[Sidecar]]


@pytest.fixture
def package() -> Iterator[Path]:
    """A folder with a tool's script and its package."""
    made = Path(tempfile.mkdtemp(prefix="kl-"))
    made.chmod(0o755)
    (made / "kept_warm.py").write_text("VALUE = 1\n")
    (made / "script").write_text(SCRIPT)
    (made / "script").chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def running(package: Path) -> Start:
    def start(
        program: str = "", credentials: list[dict[str, Any]] | None = None, **tools: Any
    ) -> contextlib.AbstractContextManager[Sidecar]:
        (package / "alteration").write_text("nothing")
        options: dict[str, Any] = {"program": (str(SUPPORT / program),)} if program else {}
        tool: dict[str, Any] = {"path": str(package / "script"), "binds": [str(package)]}
        tool |= {"warm": True, "secret_env": {"SECRET": "generic:value?"}}
        return kept_sidecar(
            config={"Tools": {"declared": {"life": tool}, "aws": False, "psql": False, **tools}},
            environment={"PATH": "/usr/bin:/bin", "ALTERATION": str(package / "alteration")},
            credentials=credentials or [],
            **options,
        )

    return start


def run(sidecar: Sidecar) -> tuple[Any, str, bool]:
    """What the tool said, how it was started, and whether a sandbox waited for it."""
    result = sidecar.run(tool="life")
    assert result.finished.exit_code == 0, result.stderr
    fields = result_record(sidecar, result)
    return json.loads(result.stdout), fields["start"], fields["prepared"]


def waiting(sidecar: Sidecar, count: int = 1) -> bool:
    """Whether so many sandboxes come to wait for a command."""

    def there() -> bool:
        lines = descendants(sidecar.process.pid)
        return sum(line == "/usr/bin/cat " for line in lines.values()) == count

    found = eventually(there, timeout=40)
    time.sleep(0.3)  # what waits in it is still looked at
    return found and there()


def replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def test_a_sandbox_that_waits_sees_the_workspace_as_it_is(running: Start) -> None:
    with running() as sidecar:
        folder = sidecar.workspace / "folder"
        folder.mkdir()
        for name in ("stays", "changes", "goes", "folder/old"):
            (sidecar.workspace / name).write_text("before")
        before = dict.fromkeys(("stays", "changes", "goes", "folder/old"), "before")
        assert run(sidecar) == ([1, False, before], "warm", False)
        prepared = False
        for _ in range(5):
            assert waiting(sidecar)
            (sidecar.workspace / "changes").write_text("after")
            (sidecar.workspace / "goes").unlink(missing_ok=True)
            (sidecar.workspace / "comes").write_text("after")
            shutil.rmtree(folder)
            other = sidecar.workspace / "other"
            other.mkdir()
            (other / "new").write_text("after")
            other.rename(folder)
            after = {"stays": "before"} | dict.fromkeys(("changes", "comes", "folder/new"), "after")
            said, start, prepared = run(sidecar)
            assert (said, start) == ([1, False, after], "warm")
            if prepared:
                break
        assert prepared


def test_a_changed_package_is_seen(running: Start, package: Path) -> None:
    with running() as sidecar:
        assert run(sidecar)[0] == [1, False, {}]
        assert waiting(sidecar)
        replace(package / "kept_warm.py", "VALUE = 2  # more than before\n")
        assert run(sidecar) == ([2, False, {}], "warm", False)
        (package / "added_later.py").write_text("")
        assert run(sidecar)[:2] == ([2, True, {}], "warm")
        replace(package / "script", SCRIPT.replace("kept_warm.VALUE", "'another script'"))
        (package / "script").chmod(0o755)
        assert run(sidecar)[0] == ["another script", True, {}]


def test_it_can_wait_before_the_first_command(running: Start) -> None:
    entry = {"name": "some", "kind": "generic", "fields": {"value": SECRET}, "tools": ["life"]}
    with running(credentials=[entry], warm_at_start=True) as sidecar:
        assert waiting(sidecar)
        assert zygotes(sidecar.process.pid)
        assert run(sidecar)[1] == "warm"


def test_killed_ones_are_replaced(running: Start) -> None:
    with running() as sidecar:
        for _ in range(2):
            assert run(sidecar)[1] == "warm"
            assert waiting(sidecar)
            (zygote,) = zygotes(sidecar.process.pid)
            os.kill(zygote, signal.SIGKILL)
            assert eventually(lambda gone=zygote: not Path(f"/proc/{gone}").exists())
        assert run(sidecar)[1] == "warm"


def test_what_idles_is_given_up(running: Start) -> None:
    with running("altered_warm.py", warm_idle=1.0) as sidecar:
        run(sidecar)
        assert eventually(lambda: not descendants(sidecar.process.pid))
        assert run(sidecar)[1:] == ("warm", False)


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_nothing_outlives_the_sidecar(running: Start, *, killed: bool) -> None:
    with running() as sidecar:
        run(sidecar)
        assert waiting(sidecar)
        left = [*descendants(sidecar.process.pid)]
        assert len(left) > 3
        if killed:
            sidecar.process.kill()
    assert eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in left))


def test_nothing_is_made_beforehand_where_it_is_off(running: Start) -> None:
    with running(ready_sandboxes=0, warm=False) as sidecar:
        for _ in range(2):
            assert run(sidecar)[1:] == ("cold", False)
            assert eventually(lambda: not descendants(sidecar.process.pid))
    with running(ready_sandboxes=0) as sidecar:
        for _ in range(2):
            assert run(sidecar)[1:] == ("warm", False)
            assert zygotes(sidecar.process.pid)
            assert waiting(sidecar, 0)
