"""One teaching notebook, run from its beginning to its end: ``jupyter keyless demo --notebook``.

Called by ``demo``.  Starts the ``classroom``, writes the configuration of the notebook's
``stories`` entry, runs it, and judges from outside that no key got into what is left behind.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from keyless.localaws import checks, headless, hosted, rehearsal
from keyless.localaws.classroom import classroom
from keyless.localaws.private_jupyter import CommandRefused, private_jupyter
from keyless.localaws.rehearsal import DemoError
from keyless.localaws.server import LocalAwsError
from keyless.localaws.stories import STORIES

__all__ = ["teach"]

_OUTSIDE = "The program around a kernel"


def teach(name: str, output: Path, timeout: float) -> bool:
    """Run a notebook, with its progress on the terminal.

    Args:
        name: of the notebook, with or without its ending.
        output: folder for the executed notebook, the same as a page, and the workspace.
        timeout: seconds that one cell may take.

    Returns:
        Whether every check holds.

    Raises:
        DemoError: there is no such notebook, or it can't run to its end.
    """
    story = STORIES.get(name.removesuffix(".ipynb"))
    if story is None:
        names = sorted([*STORIES, Path(rehearsal.NOTEBOOK).stem])
        raise DemoError(f"there is no notebook {name}; there are {', '.join(names)}.")
    for package in story.needs:
        if find_spec(package) is None:
            raise DemoError(f"{story.notebook} needs {package}: pip install {package}.")
    source = rehearsal.shipped(story.notebook)
    page, told = output / f"{story.name}.html", output / f"{story.name}.txt"
    workspace = rehearsal.fresh(output, (story.notebook, page.name, told.name))
    progress = headless.Progress()
    began = time.monotonic()
    print(f"{story.notebook}: {story.about}.\n")
    try:
        progress.begin("Start a local AWS")
        with classroom() as room, private_jupyter() as jupyter:
            progress.end("Start a local AWS", "a fresh key")
            story.configure(jupyter, workspace, room)
            notebook = rehearsal.play(source, output / story.notebook, progress, timeout)
            page.write_text(_page(notebook), encoding="utf-8")
            _outside(source, told, progress, timeout)
            judged = [rehearsal.audit(jupyter), checks.no_key(output, room.aws, room.station.token)]
    except (LocalAwsError, CommandRefused) as error:
        raise DemoError(str(error)) from None
    rehearsal.table(progress.steps, judged, time.monotonic() - began)
    print(f"\n  {page}\n  {output / story.notebook}")
    return all(check.ok for check in judged)


def _outside(source: Path, told: Path, progress: headless.Progress, timeout: float) -> None:
    """Run what the notebook shows for a program outside, if it does, and keep what that says."""
    shown: NotebookNode = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    program = hosted.program(shown)
    if not program:
        return
    progress.begin(_OUTSIDE)
    try:
        said = hosted.run(program, timeout)
    except hosted.HostedError as error:
        raise DemoError(f"the program around a kernel failed: {error}") from None
    told.write_text(said, encoding="utf-8")
    progress.end(_OUTSIDE, f"said {len(said.splitlines())} lines: {told.name}")


def _page(notebook: NotebookNode) -> str:
    """The executed notebook for a browser; it loads nothing from elsewhere."""
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        mathjax_url="", require_js_url="", embed_images=True
    )
    body: str = exporter.from_notebook_node(notebook)[0]
    return body
