"""How commands grow with their work: output, commands at once, files in the workspace."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from benchmarks import starts, texts
from benchmarks.cells import Cells
from benchmarks.outcome import Curve, Outcome
from benchmarks.stage import SANDBOX_UID, Stage
from benchmarks.watch import Peak

_SIZES = (1 << 10, 1 << 15, 1 << 20, 1 << 25, 1 << 28)
_CELL = """
    import subprocess, threading, time
    from keyless import secure_exec

    def seconds(action):
        begun = time.perf_counter()
        action()
        return time.perf_counter() - begun

    def secured(size):
        def run():
            got = secure_exec("head", ["-c", str(size), "output.txt"])
            # A result keeps the first 32 MiB of what has come.
            assert len(got.stdout) == min(size, 1 << 25), len(got.stdout)
        return seconds(run)

    def bare(size):
        argv = ["/usr/bin/head", "-c", str(size), "output.txt"]
        return seconds(lambda: subprocess.run(argv, check=True, capture_output=True, text=True))

    def at_once(count, *command):
        wrong = []
        def one():
            try:
                secure_exec(*command)
            except Exception as error:
                wrong.append(error)
        def run():
            threads = [threading.Thread(target=one) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        took = seconds(run)
        assert not wrong, wrong[0]
        return took
"""


def output(stage: Stage) -> Outcome:
    """A tool's output through the sanitizer into a variable, and the sidecar's memory."""
    sizes = _SIZES[:-2] if stage.quick else _SIZES
    if stage.full:
        sizes += (1 << 30,)
    stage.aws  # noqa: B018 - configures the tools
    lines: dict[str, list[tuple[float, float]]] = {"secure_exec": [], "subprocess.run": []}
    memory: list[tuple[float, float]] = []
    with stage.workspace() as folder, stage.keyless(keyless_workspace=str(folder)) as cells:
        _write(folder / "output.txt", sizes[-1])
        cells.define(_CELL)
        cells.value("secured(1024)")
        for size in sizes:
            repeats = 5 if size <= 1 << 20 else 1
            with Peak(cells.sidecar) as peak:
                took = [cells.value(f"secured({size})") for _ in range(repeats)]
            lines["secure_exec"].append((size, statistics.median(took)))
            memory.append((size, peak.mb))
            took = [cells.value(f"bare({size})") for _ in range(repeats)]
            lines["subprocess.run"].append((size, statistics.median(took)))
    title = "A tool's output"
    return Outcome(
        curves=[
            Curve("output", title, "bytes", "seconds", lines),
            Curve(
                "output.memory",
                "The sidecar while output goes through",
                "bytes",
                "MB of RSS",
                {"sidecar": memory},
            ),
        ]
    )


def commands(stage: Stage) -> Outcome:
    """Several commands at once, in threads of one cell."""
    counts = (1, 2, 4, 8) if stage.quick else (1, 2, 4, 8, 16, 32)
    lines: dict[str, list[tuple[float, float]]] = {}
    found = Outcome()
    with stage.keyless() as cells, starts.noted(found):
        cells.define(_CELL)
        for name, command in (
            ("true", "'true'"),
            ("aws sts", "'aws', ['sts', 'get-caller-identity']"),
        ):
            cells.value(f"at_once(2, {command})")
            lines[name] = [
                (count, _rested(cells, f"at_once({count}, {command})")) for count in counts
            ]
    title = "Commands at once"
    found.curves.append(Curve("commands", title, "commands", "seconds for all", lines))
    return found


def workspace(stage: Stage) -> Outcome:
    """``true`` in a workspace with ever more files."""
    counts = (10, 1000, 10_000) if stage.quick else (10, 1000, 10_000, 100_000)
    stage.aws  # noqa: B018 - configures the tools
    line: list[tuple[float, float]] = []
    with stage.workspace() as folder, stage.keyless(keyless_workspace=str(folder)) as cells:
        cells.define(_CELL)
        made = 0
        for count in counts:
            _fill(folder, made, count)
            made = count
            cells.value("at_once(1, 'true')")
            took = [cells.value("at_once(1, 'true')") for _ in range(stage.rounds(25))]
            line.append((count, statistics.median(took)))
    title = "true in a workspace with many files"
    return Outcome(curves=[Curve("workspace", title, "files", "seconds", {"secure_exec": line})])


def _rested(cells: Cells, call: str) -> float:
    """The median of three; before each, the sidecar may make ready what it keeps ready."""
    took = []
    for _ in range(3):
        time.sleep(1)
        took.append(cells.value(call))
    return statistics.median(took)


def _write(path: Path, size: int) -> None:
    """A tool's output of a size, as a file."""
    block = texts.text(4 << 20)
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
    path.chmod(0o644)


def _fill(folder: Path, begin: int, end: int) -> None:
    """Small files, a thousand in a folder, as the kernel's user has them."""
    for number in range(begin, end):
        below = folder / f"part-{number // 1000}"
        if number % 1000 == 0 or number == begin:
            below.mkdir(exist_ok=True)
            _give(below)
        path = below / f"{number}.txt"
        path.write_bytes(b"%d\n" % number)
        _give(path)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, SANDBOX_UID, SANDBOX_UID)
