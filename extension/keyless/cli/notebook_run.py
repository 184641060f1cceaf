"""Executes a notebook with nbclient and says how it goes; called by ``run``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

__all__ = ["execute"]

KERNEL = "keyless"
_WIDTH = 60


def execute(
    source: Path,
    target: Path,
    *,
    workspace: Path | None = None,
    timeout: float = 600,
    keep_going: bool = False,
) -> int:
    """Execute a notebook; what came of it is written in any case.

    Args:
        source: the notebook.
        target: where the executed one goes.
        workspace: folder to work in; None for the configured one.
        timeout: seconds that one cell may take.
        keep_going: whether cells after a failed one run.

    Returns:
        0 every cell ran, 1 one failed.
    """
    try:
        notebook: NotebookNode = nbformat.read(  # type: ignore[no-untyped-call]
            source, as_version=4
        )
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, OSError) as error:
        print(f"{source} is no notebook: {error}", file=sys.stderr)
        return 1
    code = [index for index, cell in enumerate(notebook.cells) if _runs(cell)]
    options = {} if workspace is None else {"keyless_workspace": str(workspace.absolute())}
    failed = ""
    with tqdm(total=len(code), unit="cell", file=sys.stderr, disable=None) as bar:

        def executed(cell: NotebookNode, cell_index: int, execute_reply: Any, **_: Any) -> None:
            status = execute_reply["content"]["status"]
            bar.update()
            if status == "error" or bar.disable:
                mark = "✗" if status == "error" else "✓"
                bar.write(f"{mark} cell {cell_index + 1}: {_first_line(cell)}", file=sys.stderr)

        client = NotebookClient(
            notebook,
            kernel_name=KERNEL,
            timeout=round(timeout),
            allow_errors=keep_going,
            coalesce_streams=True,
            on_cell_executed=executed,
        )
        try:
            client.execute(**options)
        except CellExecutionError as error:
            failed = f"{error.ename}: {error.evalue}"
        except CellTimeoutError:
            failed = f"a cell took longer than {timeout:g} s"
        except (DeadKernelError, RuntimeError, OSError) as error:
            failed = f"the kernel: {error}"
        finally:
            nbformat.write(notebook, target)  # type: ignore[no-untyped-call]
    if keep_going and not failed:
        failed = _errors(notebook)
    if failed:
        print(f"{source}: {_one_line(failed)}", file=sys.stderr)
        return 1
    return 0


def _runs(cell: NotebookNode) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip())


def _errors(notebook: NotebookNode) -> str:
    """What cells raised that had leave to."""
    names = [
        f"{output.ename}: {output.evalue}"
        for cell in notebook.cells
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.output_type == "error"
    ]
    if not names:
        return ""
    return f"{len(names)} cell{'s' if len(names) > 1 else ''} failed, the first with {names[0]}"


def _first_line(cell: NotebookNode) -> str:
    lines = cell.source.strip().splitlines()
    return _one_line(lines[0] if lines else "")[:_WIDTH]


def _one_line(text: str) -> str:
    """Fit for a terminal: cells and their errors may hold control sequences."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
