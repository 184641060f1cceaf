"""Memory that is given back: libraries' unchanged pages only, and the process goes on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CHILD = """
import json, re, ssl
from pathlib import Path
from keyless_sidecar.hardening import harden
from keyless_sidecar.memory import one_heap, trim, unmap_code

def pages():
    found, writable = {"libraries": 0, "own": 0, "own_locked": 0}, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            _, flags, _, _, inode, *_ = line.split()
            writable = "w" in flags
        name, _, value = line.partition(":")
        if name == "Rss":
            found["own" if writable else "libraries"] += int(value.split()[0])
        if name == "Locked" and writable:
            found["own_locked"] += int(value.split()[0])
    return found

one_heap()
facts = harden().facts()
secret = bytearray(b"s" * 4_000_000)
context = ssl.create_default_context()
before = pages()
unmap_code()
trim()
after = pages()
# All of it is still there: code of libraries runs, and what was written stands.
again = ssl.create_default_context()
print(json.dumps({
    "before": before, "after": after, "locked": facts["memory_locked"],
    "works": secret == b"s" * 4_000_000 and len(again.get_ciphers()) == len(context.get_ciphers()),
}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", CHILD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_process_goes_on_without_its_code_in_memory(found: dict[str, object]) -> None:
    before, after = found["before"], found["after"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert found["works"]
    assert after["libraries"] < before["libraries"] / 2


def test_what_was_written_stays_locked(found: dict[str, object]) -> None:
    if found["locked"] != "all":
        pytest.skip("this host doesn't let memory be locked")
    before, after = found["before"], found["after"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["own"] > 4_000
    assert after["own_locked"] >= before["own_locked"] - (before["own"] - after["own"]) - 64
