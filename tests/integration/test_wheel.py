"""What others install: a wheel with the extensions in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_wheel_brings_both_extensions(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=100,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = [name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()]
    assert "etc/jupyter/jupyter_server_config.d/keyless.json" in names
    assert "share/jupyter/labextensions/keyless/package.json" in names
    scripts = [name for name in names if "labextensions/keyless/static/remoteEntry" in name]
    assert len(scripts) == 1
    assert not [name for name in names if "node_modules" in name]
