"""Other processes can't look into a hardened one.  Run in children: it can't be taken back."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyless_sidecar import hardening
from keyless_sidecar.hardening import HardeningError

CHILD = """
import json, resource
from pathlib import Path
from keyless_sidecar.hardening import harden
{before}
found = harden().facts()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
found["locked_kib"] = int(status["VmLck"].split()[0])
found["no_new_privs"] = status["NoNewPrivs"].strip()
found["core"] = resource.getrlimit(resource.RLIMIT_CORE)
big = bytearray(64 * 1024 * 1024)
found["later_kib"] = int(Path("/proc/self/status").read_text().split("VmLck:")[1].split()[0])
print(json.dumps(found), flush=True)
input()
"""
ORDINARY = """
import os
resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 * 1024, 64 * 1024))
os.setgroups([]); os.setresgid(61234, 61234, 61234); os.setresuid(61234, 61234, 61234)
"""


def start(before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(before=before)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_is_in_force_is_true() -> None:
    with start() as child:
        assert child.stdout is not None
        found = json.loads(child.stdout.readline())
        owner = Path(f"/proc/{child.pid}/mem").stat().st_uid
        child.communicate("\n")
    assert (found["dumpable"], found["core_dumps"], found["core"]) == (False, False, [1, 1])
    assert found["no_new_privs"] == "0"
    assert owner == 0
    assert (found["locked_kib"] > 0) == (found["memory_locked"] != "no")
    if found["memory_locked"] == "all":
        assert found["memory_note"] == ""
        assert found["later_kib"] > found["locked_kib"] + 60 * 1024


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_an_ordinary_user_under_a_small_limit_still_works_and_is_told() -> None:
    with start(ORDINARY) as child:
        assert child.stdout is not None
        found = json.loads(child.stdout.readline())
        attempt = subprocess.run(
            ["/usr/bin/head", "-c1", f"/proc/{child.pid}/mem"],
            user=61234,
            group=61234,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        child.communicate("\n")
    assert found["dumpable"] is False
    assert found["memory_locked"] == "no"
    assert found["memory_note"] == "RLIMIT_MEMLOCK is 64 KiB"
    assert "Permission denied" in attempt.stderr


def test_a_host_that_denies_it_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def prctl(self, *_: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Libc)
    with pytest.raises(HardeningError, match="undumpable"):
        hardening.harden()
