"""``true`` as a declared tool: what isolation, policy and audit cost where the work is nothing."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import starts
from benchmarks.machine import ROOT
from benchmarks.measuring import Measure, in_turn, timed
from benchmarks.outcome import Group, Outcome
from benchmarks.peer_process import PeerProcess
from benchmarks.peers import PeerMissing
from benchmarks.stage import Stage

_TRUE = "/usr/bin/true"
#: Both ways in the same kernel; each tells the seconds of one call.
_CELL = """
    import subprocess, time
    from keyless import secure_exec

    def secured():
        begun = time.perf_counter()
        secure_exec("true")
        return time.perf_counter() - begun

    def bare():
        begun = time.perf_counter()
        subprocess.run(["/usr/bin/true"], check=True)
        return time.perf_counter() - begun
"""
_BWRAP = (
    *("--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--dev", "/dev"),
    *("--proc", "/proc", "--tmpfs", "/tmp", "--clearenv"),  # noqa: S108 - within the sandbox
)


def launch(stage: Stage) -> Outcome:
    """``true``: within a cell, as whole cells, and by other sandboxes."""
    found = Outcome()
    stage.aws  # noqa: B018 - configures the tools
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=stage.folder)))
        keyless, plain = stack.enter_context(stage.keyless()), stack.enter_context(stage.plain())
        keyless.define(_CELL)
        plain.run("import subprocess")
        sides: dict[str, Measure] = {
            "secure_exec in a cell": lambda: keyless.value("secured()"),
            "subprocess.run in the same kernel": lambda: keyless.value("bare()"),
            "cell with %secure_exec": timed(lambda: keyless.run("%secure_exec true")),
            "cell with subprocess.run, plain kernel": timed(
                lambda: plain.run(f"subprocess.run([{_TRUE!r}], check=True); None")
            ),
        }
        for name, make in (
            ("bwrap alone", _bwrap),
            ("sandbox-runtime as a library", _library),
            ("sandbox-runtime as a command", _command),
        ):
            try:
                measure = make(stage, folder, stack)
                measure()
                sides[name] = measure
            except PeerMissing as missing:
                found.missing[name] = str(missing)
        with starts.noted(found):
            took = in_turn(sides, stage.rounds(60), warmup=3)
    found.groups.append(Group("launching true", "s", took))
    ours = took["secure_exec in a cell"]
    title = "secure_exec beyond subprocess.run, in one kernel"
    found.beyond(
        "tool.true", title, "ms", ours, took["subprocess.run in the same kernel"], scale=1000
    )
    found.ratio(
        "tool.cell",
        "whole cells: %secure_exec ÷ subprocess.run",
        took["cell with %secure_exec"],
        took["cell with subprocess.run, plain kernel"],
    )
    for name in ("bwrap alone", "sandbox-runtime as a library", "sandbox-runtime as a command"):
        if name in took:
            key = f"tool.{name.replace(' ', '-')}"
            found.ratio(key, f"secure_exec ÷ {name}", ours, took[name])
    return found


def _run(argv: list[str], environment: dict[str, str] | None, folder: Path) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise PeerMissing(lines[-1] if lines else f"it ended with {done.returncode}")

    return run


def _bwrap(stage: Stage, folder: Path, _: ExitStack) -> Measure:
    return timed(_run([str(stage.peers.bwrap), *_BWRAP, _TRUE], None, folder))


def _library(stage: Stage, folder: Path, stack: ExitStack) -> Measure:
    node, package, environment = stage.peers.sandbox_runtime
    script = ROOT / "benchmarks" / "peers" / "launch.mjs"
    argv = [str(node), str(script), str(package)]
    return stack.enter_context(PeerProcess(argv, environment, folder)).ask


def _command(stage: Stage, folder: Path, _: ExitStack) -> Measure:
    node, package, environment = stage.peers.sandbox_runtime
    settings = folder / "settings.json"
    settings.write_text(
        json.dumps(
            {
                "network": {"allowedDomains": [], "deniedDomains": []},
                "filesystem": {"denyRead": [], "allowWrite": ["."], "denyWrite": []},
            }
        )
    )
    argv = [str(node), str(package / "dist" / "cli.js"), "--settings", str(settings), _TRUE]
    return timed(_run(argv, environment, folder))
