"""All notebooks in JupyterLab, with the classroom running: ``jupyter keyless demo --lab``.

Called by ``demo``.  The server has Jupyter folders of its own and offers Keyless kernels only.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from keyless.localaws import rehearsal
from keyless.localaws.classroom import classroom
from keyless.localaws.private_jupyter import CommandRefused, private_jupyter
from keyless.localaws.rehearsal import DemoError
from keyless.localaws.server import LocalAwsError
from keyless.localaws.stories import STORIES, configure_all

__all__ = ["open_lab", "place_notebooks"]

_SETTINGS = {
    "KernelSpecManager.allowed_kernelspecs": ["keyless"],
    "KernelSpecManager.ensure_native_kernel": False,
    "ServerApp.terminals_enabled": False,
    "ServerApp.answer_yes": True,
    "ServerApp.allow_root": True,  # containers; the kernels' user is another one in any case
}


def open_lab(output: Path, options: Sequence[str] = ()) -> None:
    """Serve the notebooks until the person ends it by Ctrl-C, or the system by SIGTERM.

    Call it on the main thread.

    Args:
        output: folder for copies of the notebooks.  The files of their cells go with each kernel.
        options: for JupyterLab, such as ``--no-browser``.

    Raises:
        DemoError: JupyterLab isn't installed, or something doesn't start.
    """
    if find_spec("jupyterlab") is None:
        raise DemoError("JupyterLab is missing: pip install jupyterlab.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output.mkdir(parents=True, exist_ok=True)
    place_notebooks(output)
    try:
        with classroom() as room, private_jupyter() as jupyter:
            configure_all(jupyter, room)
            jupyter.configure_server(_SETTINGS)
            _serve(output, options)
    except (LocalAwsError, CommandRefused) as error:
        raise DemoError(str(error)) from None


def place_notebooks(folder: Path) -> None:
    """Copy the notebooks into a folder; a copy that is there already stays as it is.

    Raises:
        DemoError: one isn't shipped.
    """
    for name in (rehearsal.NOTEBOOK, *(story.notebook for story in STORIES.values())):
        if not (folder / name).exists():
            shutil.copyfile(rehearsal.shipped(name), folder / name)


def _serve(folder: Path, options: Sequence[str]) -> None:
    argv = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    argv += ["--LabApp.default_url=/lab/tree/00-tour.ipynb", *options]
    server = subprocess.Popen(argv)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        # From a terminal the server has heard it too; it ends its kernels, then itself.
        server.terminate()
        code = 0
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            server.wait(15)
        if server.poll() is None:
            server.kill()
            server.wait()
    if code:
        raise DemoError(f"JupyterLab ended with exit code {code}.")
