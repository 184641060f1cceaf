"""An object in parts, up and down through a real sidecar; ``make stress`` does it with 5 GiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "stress" / "large_bodies.py"


def test_an_object_goes_up_and_down_unchanged_and_in_little_memory(jupyter_home: Path) -> None:
    folder = jupyter_home / "large"
    folder.mkdir(mode=0o755)
    done = subprocess.run(
        [sys.executable, PROGRAM, "--size", "20", "--cli", "v1", "--folder", folder],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("byte-identical") == 2
