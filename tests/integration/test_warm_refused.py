"""A warm tool that isn't confined, or can't be made, is not used: the command starts cold."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.altered_warm import ALTERATIONS
from tests.support.leftovers import descendants
from tests.support.sidecar import Sidecar, eventually, kept_sidecar
from tests.support.warm import result_record

PROGRAM = Path(__file__).parents[1] / "support" / "altered_warm.py"
SCRIPT = """#!/usr/bin/python3
import kept_warm
print("it ran")
"""
#: What a fork does wrong → what the record says.
REASONS = {
    "keeps its rights": "isn't confined: Cap",
    "keeps its bounding set": "isn't confined: CapBnd",
    "lays no filter": "isn't confined: filters are missing",
    "lays one filter": "isn't confined: filters are missing",
    "keeps a file": "isn't confined: 1 open files too many",
    "keeps a thread": "isn't confined: Threads is 2",
    "raises": "ValueError: this is altered",
    "ends at once": "it said nothing",
    "never answers": "TimeoutError",
    "never forks": "TimeoutError",
    **{
        each: f"isn't confined: another {each.split()[-1]} namespace"
        for each in ALTERATIONS
        if each.startswith("stays out")
    },
}
#: What a tool's package does when it is imported → what the record says.
PACKAGES = {
    "fails": ("raise ValueError('not today')", "ValueError: not today"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "ends": ("import os\nos._exit(3)", "can't be kept warm"),
    "hangs": (
        "import sys, time\nif sys.argv[0] == '-c': time.sleep(600)",
        "not be imported in time",
    ),
    "threads": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
        "starts threads when it is imported",
    ),
    "keeps-a-pipe": (
        "import os\nkept = os.pipe()",
        "the tool keeps 2 files open when it is imported",
    ),
    "shares-memory": (
        "import mmap\nkept = mmap.mmap(-1, 4096)",
        "the tool shares memory when it is imported",
    ),
    "hidden-thread": (
        "import _thread, time\n_thread.start_new_thread(time.sleep, (1000,))",
        "starts threads when it is imported",
    ),
}

pytestmark = pytest.mark.skipif(
    os.environ.get("KEYLESS_TEST_LEVEL", "").startswith("landlock"),
    reason="without namespaces every command starts cold",
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="kl-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def sidecar(folder: Path) -> Iterator[Sidecar]:
    declared = {}
    packages = dict.fromkeys(ALTERATIONS, "") | {name: text for name, (text, _) in PACKAGES.items()}
    for number, (name, text) in enumerate(packages.items()):
        place = folder / f"tool{number}"
        place.mkdir(mode=0o755)
        (place / "kept_warm.py").write_text(text)
        (place / "script").write_text(SCRIPT)
        (place / "script").chmod(0o755)
        tool = {"path": str(place / "script"), "binds": [str(place)], "warm": True}
        declared[name.replace(" ", "-")] = tool
    (folder / "alteration").write_text("nothing")
    with kept_sidecar(
        program=(str(PROGRAM),),
        environment={"PATH": "/usr/bin:/bin", "ALTERATION": str(folder / "alteration")},
        config={"Tools": {"declared": declared, "aws": False, "psql": False, "ready_sandboxes": 0}},
        credentials=[],
    ) as made:
        yield made


def test_an_unaltered_one_is_used(sidecar: Sidecar) -> None:
    result = sidecar.run(tool="nothing")
    assert (result.stdout, result.finished.exit_code) == ("it ran\n", 0)
    assert result_record(sidecar, result)["start"] == "warm"


@pytest.mark.attack(
    wall="looked at from outside before it is told anything",
    title="Let a warm tool's origin fork commands that keep rights, or stay out of the sandbox.",
)
@pytest.mark.parametrize("alteration", REASONS)
def test_an_altered_one_is_not(sidecar: Sidecar, folder: Path, alteration: str) -> None:
    before = set(descendants(sidecar.process.pid))
    (folder / "alteration").write_text(alteration)
    result = sidecar.run(tool=alteration.replace(" ", "-"))
    assert (result.stdout, result.finished.exit_code) == ("it ran\n", 0)
    fields = result_record(sidecar, result)
    assert fields["start"] == "cold"
    assert REASONS[alteration] in fields["cold_because"]
    assert eventually(lambda: set(descendants(sidecar.process.pid)) <= before)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_can_t_be_kept_warm(sidecar: Sidecar, folder: Path, package: str) -> None:
    before = set(descendants(sidecar.process.pid))
    (folder / "alteration").write_text("nothing")
    result = sidecar.run(tool=package, timeout=20)
    fields = result_record(sidecar, result)
    assert fields["start"] == "cold"
    assert PACKAGES[package][1] in fields["cold_because"]
    assert ("it ran" in result.stdout) == (package not in ("fails", "exits", "ends"))
    assert eventually(lambda: set(descendants(sidecar.process.pid)) <= before)
