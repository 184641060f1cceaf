"""Landlock's rules, each in a process of its own, since they can't be taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from keyless_kernel.confine import (
    Bind,
    Confinement,
    ConfinementUnavailable,
    Sandbox,
    WorkspaceMount,
    landlock,
    levels,
    probe,
)
from keyless_kernel.confine.bubblewrap import BubblewrapConfiner
from keyless_kernel.confine.landlock_confiner import LandlockConfiner
from keyless_kernel.places import Unusable, prepare

# The package exports a function of the same name.
probe_module = sys.modules["keyless_kernel.confine.probe"]


def run(code: str, **names: Any) -> Any:
    """Run code in a fresh process; what it prints, from JSON."""
    preamble = "import json, os, socket\nfrom keyless_kernel.confine import landlock\n"
    preamble += "".join(f"{name} = {value!r}\n" for name, value in names.items())
    preamble += textwrap.dedent(
        """
        def attempt(call):
            try:
                call()
                return 0
            except OSError as error:
                return error.errno
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", preamble + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_this_machine_has_what_the_levels_need() -> None:
    assert landlock.abi() >= landlock.ABI_NEEDED


@pytest.mark.parametrize(("version", "bits"), [(1, 13), (2, 14), (3, 15), (5, 16), (9, 16)])
def test_a_version_handles_what_it_knows(version: int, bits: int) -> None:
    assert landlock.handled_files(version) == (1 << bits) - 1


def test_files_are_denied_until_allowed(tmp_path: Path) -> None:
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    codes = run(
        """
        rules = landlock.Ruleset(network=True)
        rules.allow(TOP + "/read", landlock.READ)
        rules.allow(TOP + "/write", landlock.READ | landlock.WRITE)
        rules.restrict()
        rules.close()
        print(json.dumps([
            attempt(lambda: open(TOP + "/read/file").read()),
            attempt(lambda: os.listdir(TOP + "/read")),
            attempt(lambda: open(TOP + "/read/file", "a")),
            attempt(lambda: os.truncate(TOP + "/read/file", 0)),
            attempt(lambda: open(TOP + "/write/new", "w")),
            attempt(lambda: os.mkfifo(TOP + "/write/fifo")),
            attempt(lambda: os.rename(TOP + "/write/file", TOP + "/write/moved")),
            attempt(lambda: os.rename(TOP + "/write/moved", TOP + "/other/moved")),
            attempt(lambda: os.link(TOP + "/read/file", TOP + "/write/linked")),
            attempt(lambda: os.mknod(TOP + "/write/device", 0o20600, os.makedev(1, 3))),
            attempt(lambda: open(TOP + "/other/file")),
            attempt(lambda: os.listdir("/")),
        ]))
        """,
        TOP=str(tmp_path),
    )
    assert codes[:2] == [0, 0]
    assert codes[2:4] == [13, 13]
    assert codes[4:7] == [0, 0, 0]
    assert all(code in (1, 13, 18) for code in codes[7:]), codes


def test_network_and_signals_are_denied() -> None:
    codes = run(
        """
        server = socket.create_server(("127.0.0.1", 0))
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\\0keyless-test-" + str(os.getpid()))
        abstract.listen()
        parent = os.getpid()
        rules = landlock.Ruleset(network=True)
        read, write = os.pipe()
        if os.fork() == 0:
            rules.restrict()
            tcp = lambda: socket.create_connection(server.getsockname())
            named = lambda: socket.socket(socket.AF_UNIX).connect(abstract.getsockname())
            bind = lambda: socket.create_server(("127.0.0.1", 0))
            kill = lambda: os.kill(parent, 0)
            own = lambda: os.kill(os.getpid(), 0)
            codes = [attempt(call) for call in (tcp, named, bind, kill, own)]
            os.write(write, json.dumps(codes).encode())
            os._exit(0)
        print(os.read(read, 1000).decode())
        """
    )
    assert codes == [13, 1, 13, 1, 0]


def test_the_second_wall_leaves_its_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    codes = run(
        """
        assert landlock.stack([TOP + "/mine", TOP + "/missing"])
        print(json.dumps([
            attempt(lambda: open(TOP + "/mine/new", "w")),
            attempt(lambda: open(TOP + "/new", "w")),
            attempt(lambda: open("/dev/null", "w")),
            attempt(lambda: open("/etc/os-release").read()),
            attempt(os.openpty),
        ]))
        """,
        TOP=str(tmp_path),
    )
    assert codes == [0, 13, 0, 0, 0]


def test_without_landlock_there_is_no_second_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert not landlock.stack(["/tmp"])
    with pytest.raises(OSError, match="no Landlock"):
        landlock.Ruleset(network=False)


# ------------------------------------------------------------------ which level is chosen


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        return "no namespaces here"

    original = probe_module._try

    def attempt(confiner: Any, *arguments: Any, **options: Any) -> str:
        if isinstance(confiner, BubblewrapConfiner):
            return fails()
        return str(original(confiner, *arguments, **options))

    monkeypatch.setattr(probe_module, "_try", attempt)


@pytest.mark.usefixtures("no_namespaces")
def test_a_minimum_refuses_the_weaker_levels() -> None:
    with pytest.raises(ConfinementUnavailable, match="starts only where"):
        probe(Confinement())


@pytest.mark.usefixtures("no_namespaces")
@pytest.mark.parametrize(("version", "said"), [(0, "has none"), (5, "version 5")])
def test_an_old_landlock_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: int, said: str
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: version)
    with pytest.raises(ConfinementUnavailable, match=said) as caught:
        probe(Confinement(minimum="landlock"))
    assert "no namespaces here" in str(caught.value)
    assert "Linux 6.12" in str(caught.value)


@pytest.mark.usefixtures("no_namespaces")
def test_a_sandbox_that_refuses_too_little_is_no_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe looks for holes from inside; here the program in it finds one."""
    program = "/usr/bin/python3"
    monkeypatch.setattr(sys, "executable", program)
    everything = [("/", landlock.READ | landlock.EXECUTE)]
    monkeypatch.setattr(LandlockConfiner, "rules", lambda *_: everything)
    with pytest.raises(ConfinementUnavailable, match="listdir was not refused"):
        probe(Confinement(minimum="landlock"))


def test_the_namespace_levels_say_whether_landlock_is_stacked() -> None:
    assert levels.STACKED in probe(Confinement()).guarantees


def test_rules_follow_the_description(tmp_path: Path) -> None:
    confiner = LandlockConfiner(level=levels.LANDLOCK, uid=1000, gid=1000)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "env" / "etc" / "jupyter").mkdir(parents=True)
    (tmp_path / "env" / "lib").mkdir()

    def rules(**options: Any) -> dict[str, int]:
        return dict(confiner.rules(Sandbox(argv=("/usr/bin/true",), env={}, **options)))

    workspace = rules(workspace=WorkspaceMount(str(tmp_path / "link"), "ro"))
    assert workspace[str(tmp_path)] == landlock.READ
    environment = str(tmp_path / "env")
    bound = rules(binds=(Bind(environment, environment),))
    assert f"{environment}/lib" in bound
    assert environment not in bound
    assert f"{environment}/etc" not in bound
    assert "/" not in bound
    assert "/etc" not in bound
    assert "/usr/local/etc" not in bound
    assert not [path for path in bound if path in ("/tmp", "/proc", "/dev", "/home", "/root")]
    with pytest.raises(ConfinementUnavailable, match="another place"):
        rules(binds=(Bind("/a", "/b"),))
    with pytest.raises(ConfinementUnavailable, match="overlay"):
        rules(workspace=WorkspaceMount(str(tmp_path), "overlay"))
    with pytest.raises(ConfinementUnavailable, match="made up"):
        rules(files=(("/x", b""),))


def test_a_workspace_out_of_reach_is_named_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At landlock-root the kernels' user must be able to enter every folder above."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "closed" / "workspace").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "closed" / "workspace").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(os, "chown", lambda *_: None)
    confiner = LandlockConfiner(level=levels.LANDLOCK_ROOT, uid=61000, gid=61000)
    with pytest.raises(Unusable, match="chmod o\\+x"):
        prepare(
            confiner,
            tmp_path / "runtime",
            str(tmp_path / "closed" / "workspace"),
            ephemeral=False,
        )
    assert list((tmp_path / "temporary").iterdir()) == []
