"""``jupyter keyless demo`` as a user runs it, and what it says when it can't run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from keyless.localaws import demo, rehearsal

CLEAN = {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def run(*argv: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keyless.localaws.demo", *argv],
        cwd=cwd,
        env=CLEAN | environment,
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_the_demo_holds_and_leaves_its_story(tmp_path: Path) -> None:
    own = tmp_path / "own-config"
    own.mkdir()
    # the person's own configuration must not matter
    (own / "jupyter_keyless_config.py").write_text("raise SystemExit('not yours to read')\n")
    done = run("--output", "out", cwd=tmp_path, JUPYTER_CONFIG_DIR=str(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout

    output = tmp_path / "out"
    page = (output / "index.html").read_text()
    assert "Every check holds" in page
    package = zipfile.ZipFile(output / "workspace" / "function.zip")
    with package:
        assert package.namelist() == ["handler.py"]
    cells = nbformat.read(output / rehearsal.NOTEBOOK, 4).cells
    assert not [o for c in cells for o in c.get("outputs", []) if o.output_type == "error"]
    # a second run replaces the first
    assert {path.name for path in output.iterdir()} == {
        "index.html",
        "workspace",
        rehearsal.NOTEBOOK,
    }


def test_a_workspace_that_is_a_link_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "workspace").symlink_to(tmp_path / "elsewhere")
    assert demo.main(["--output", str(tmp_path)]) == 1
    assert "symbolic link" in capsys.readouterr().err
    assert (tmp_path / "elsewhere").is_dir()


def test_a_notebook_that_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert demo.main(["--notebook", "06-more", "--output", str(tmp_path)]) == 1
    assert "there is no notebook 06-more; there are 00-tour, 01-" in capsys.readouterr().err


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--nonsense"]) == 2
    assert demo.main(["--lab", "--notebook", "00-tour"]) == 2
    assert demo.main(["--help"]) == 0
    assert "--output" in capsys.readouterr().out
