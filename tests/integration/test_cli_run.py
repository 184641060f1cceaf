"""``jupyter keyless run``: a notebook in a real Keyless kernel, as a pipeline runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

PROGRAM = [sys.executable, "-c", "import sys; from keyless.cli.app import main; sys.exit(main())"]


def write(path: Path, *cells: str) -> Path:
    notebook: NotebookNode = nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],  # type: ignore[no-untyped-call]
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "run", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_runs_in_a_keyless_kernel_whatever_the_notebook_names(jupyter_home: Path) -> None:
    source = write(jupyter_home / "a.ipynb", "import os", "%keyless\nprint(6 * 7, os.getcwd())")
    done = run(source, "--output", jupyter_home / "b.ipynb")
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(jupyter_home / "b.ipynb", 4)  # type: ignore[no-untyped-call]
    text = "".join(output.get("text", "") for output in executed.cells[1].outputs)
    assert "42 " in text
    assert nbformat.read(source, 4).cells[1].outputs == []  # type: ignore[no-untyped-call]
    assert "✓ cell 2: %keyless" in done.stderr


def test_a_cell_that_fails_fails_the_run(jupyter_home: Path) -> None:
    source = write(jupyter_home / "a.ipynb", "1 / 0", "print('after' + 'wards')")
    done = run(source)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "afterwards" not in source.read_text()
    kept = run(source, "--keep-going")
    assert kept.returncode == 1
    assert "1 cell failed" in kept.stderr
    assert "afterwards" in source.read_text()


def test_what_is_no_notebook_is_told(jupyter_home: Path) -> None:
    assert run(jupyter_home / "none.ipynb").returncode == 2
    (jupyter_home / "a.ipynb").write_text("{")
    done = run(jupyter_home / "a.ipynb")
    assert done.returncode == 1
    assert "no notebook" in done.stderr
    assert "Traceback" not in done.stderr
