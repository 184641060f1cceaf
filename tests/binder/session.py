"""Runs the image as Binder runs its own, and says what a person would find in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.binder.dockerfile import CHECKOUT, UID
from tests.binder.podman import Failed, Podman

LEVEL = "landlock"
_HERE = Path(__file__).parent
_SERVER, _TOKEN = "binder-server", "binder-check"
_CONFINED = (
    "--network=none",
    f"--user={UID}",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    f"--security-opt=seccomp={_HERE / 'docker-like.json'}",
)


def check(podman: Podman, image: str, out: Path, notebooks: Sequence[str] = ()) -> bool:
    """Look at surroundings, notebooks and server.

    Args:
        podman: that has the image.
        image: its name.
        out: folder for the executed notebooks.
        notebooks: names of those to run; empty for all.

    Returns:
        Whether all is as it should be; what isn't has been printed.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    os.chown(out, UID, UID)
    names = notebooks or sorted(path.stem for path in (CHECKOUT / "notebooks").glob("*.ipynb"))
    steps = [("surroundings", lambda: _surroundings(podman, image))]
    steps += [(name, lambda name=name: _notebook(podman, image, out, name)) for name in names]
    steps.append(("the server", lambda: _server(podman, image)))
    held = True
    for name, step in steps:
        began = time.monotonic()
        try:
            seen, sign = step(), "✓"
        except Failed as error:
            seen, sign, held = str(error), "✗", False
        print(f"{sign} {name}: {seen} ({time.monotonic() - began:.0f} s)", flush=True)
    return held


def _run(podman: Podman, image: str, *command: str, options: Sequence[str] = ()) -> str:
    return podman.run("run", "--rm", *_CONFINED, *options, image, *command)


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Failed(f"{what}: {found!r} instead of {wanted!r}")


def _surroundings(podman: Podman, image: str) -> str:
    """The container is as narrow as Binder's, and the start script says so."""
    said = _run(podman, image, "python", "-c", (_HERE / "surroundings.py").read_text())
    level, found = said.splitlines()[0], json.loads(said.splitlines()[-1])
    wanted = {
        "uid": UID,
        "capabilities": "0" * 16,
        "no new privileges": "1",
        "filtered": "2",
        "user namespace": "EPERM",
        "keyring": "EPERM",
        "addresses": ["lo"],
    }
    _expect(found, wanted, "the container")
    _expect(level, f"Keyless: isolation level {LEVEL}", "what start says")
    return f"user {UID}, no capabilities, no namespaces; start says {level!r}"


def _notebook(podman: Podman, image: str, out: Path, name: str) -> str:
    """It runs to its end, and says at which level."""
    target = f"/out/{name}.ipynb"
    command = ("jupyter", "keyless", "run", f"notebooks/{name}.ipynb", "--output", target)
    _run(podman, image, *command, options=[f"--volume={out}:/out"])
    shown = json.loads((out / f"{name}.ipynb").read_text())
    cells = [cell for cell in shown["cells"] if cell["cell_type"] == "code"]
    _expect([c for c in cells if c["execution_count"] is None], [], "cells that didn't run")
    took = [line for line in _text(cells).splitlines() if re.search(r"→ [1-9]\d* keys", line)]
    _expect(took, [], "attempts that got a key")
    if any(cell["source"] == ["%keyless"] or cell["source"] == "%keyless" for cell in cells):
        _expect(f"isolation level: {LEVEL}" in _text(cells), True, "the level in its output")
        return f"{len(cells)} cells ran; %keyless says 'isolation level: {LEVEL}'"
    return f"{len(cells)} cells ran"


def _text(cells: Sequence[dict[str, Any]]) -> str:
    parts = []
    for cell in cells:
        for output in cell["outputs"]:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            parts.append("".join(text))
    return "\n".join(parts)


def _server(podman: Podman, image: str) -> str:
    """What Binder runs: a server with the notebooks, and nothing but Keyless kernels."""
    podman.run("rm", "--force", "--ignore", "--time=2", _SERVER)
    command = ["jupyter", "notebook", "--ip=0.0.0.0", "--no-browser"]
    command.append(f"--IdentityProvider.token={_TOKEN}")
    podman.run("run", "--detach", f"--name={_SERVER}", *_CONFINED, image, *command)
    try:
        asked = (_HERE / "visitor.py").read_text()
        said = podman.run("exec", _SERVER, "python3-login", "-c", asked, _TOKEN)
        found = json.loads(said)
    except Failed as error:
        raise Failed(f"{error}\n{podman.run('logs', _SERVER)[-2000:]}") from None
    finally:
        podman.run("stop", "--ignore", "--time=30", _SERVER)
        podman.run("rm", "--force", "--ignore", "--time=2", _SERVER)
    notebooks = sorted(path.name for path in (CHECKOUT / "notebooks").iterdir())
    _expect(sorted(found.pop("files")), notebooks, "the server's folder")
    wanted = {
        "level": LEVEL,
        "extension": True,
        "another kernel": 500,
        "a terminal": 404,
    }
    _expect(found, wanted, "the server")
    return f"a kernel at level {LEVEL!r}, the JupyterLab extension; no terminal, no other kernel"
