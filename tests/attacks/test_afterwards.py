"""What is left after attacks: in the notebook, the kernel, its folders, and on the host."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tests.support.attack_cells import load
from tests.support.hunt import Hunter
from tests.support.kept import Kept
from tests.support.kernels import Stage, protected, sidecar_pid
from tests.support.leftovers import descendants

from keyless_kernel.provisioner import KernelStartRefused

#: Everything that a cell can reach: strings of all objects, and the sandbox's own folders.
DUMP = """
import gc, os, tarfile, tempfile
strings = set()
for thing in gc.get_objects():
    kind = type(thing)
    values = thing.values() if kind is dict else thing if kind in (list, tuple, set) else ()
    for value in list(values):
        if type(value) is str:
            strings.add(value.encode("utf-8", "replace"))
        elif type(value) in (bytes, bytearray):
            strings.add(bytes(value))
workspace = os.environ["KEYLESS_WORKSPACE"]
with open(workspace + "/dump.txt", "wb") as file:
    file.write(b"\\n".join(sorted(strings)))
with tarfile.open(workspace + "/dump.tar", "w") as archive:
    for folder in (os.environ["HOME"], tempfile.gettempdir(), "/dev/shm"):
        if not os.access(folder, os.R_OK):  # another one's, where sandboxes share the machine's
            continue
        archive.add(folder, filter=lambda info: info if info.isreg() or info.isdir() else None)
"""


def _notebook() -> nbformat.NotebookNode:
    """The attacks that share a kernel well, as an agent's session."""
    cells = [
        nbformat.v4.new_code_cell(text)
        for text in (
            "import os",
            "dict(os.environ)",
            "%%secure_exec leaky\nplain\nenv\nbase64\nhex\nreverse\nansi",
            "%secure_exec --no-raise leaky trace",
            "%%secure_exec aws --out who\nsts get-caller-identity",
            "who.json()['Arn']",
            "who",
            "%secure_exec leaky trace",
            "%secure_exec aws configure list",
            "%keyless",
            "%keyless tools",
            "_ih, _oh",
            DUMP,
        )
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.attack(
    wall="sanitizer", title="Search the saved notebook, the kernel and its folders."
)
async def test_saved_notebook_and_kernel_hold_nothing(
    world: Stage, hunter: Hunter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace = world.workspace()
    for name, value in world.variables().items():
        monkeypatch.setenv(name, value)
    notebook = _notebook()
    client = NotebookClient(notebook, kernel_name="keyless", allow_errors=True, timeout=60)
    async with client.async_setup_kernel(
        keyless_workspace=str(workspace), keyless_credentials=world.credentials()
    ):
        for number, cell in enumerate(notebook.cells):
            await client.async_execute_cell(cell, number)
    saved = tmp_path / "saved.ipynb"
    nbformat.write(notebook, saved)
    assert "[redacted:loot]" in saved.read_text()
    assert hunter.notebook(saved) == []
    assert (workspace / "dump.txt").stat().st_size > 100_000
    assert hunter.tree(workspace) == []


@pytest.mark.attack(wall="audit without secrets", title="Search the audit and the runtime folder.")
def test_host_keeps_no_secret_on_disk(world: Stage, hunter: Hunter) -> None:
    """What the sidecar writes down: records, scratch, settings."""
    session = protected(world)
    try:
        for attack in load():
            if attack.name in ("workspace_files", "exceptions_and_history"):
                session.run(attack.cell(world))
        session.run(f"tool('leaky', 'argv', {world.canaries.leaky!r})")
        finds = hunter.tree(world.home / "runtime")
        # Where sandboxes have no file system of their own the kernel's private folder is there too:
        # its own history holds the line above, as this test typed it.
        assert [find for find in finds if "/private/" not in find.where] == []
    finally:
        session.stop()
    assert any(world.audit.glob("*.jsonl"))
    assert hunter.tree(world.home / "data") == []


@pytest.mark.attack(wall="values over descriptors", title="Watch the host's process list.")
async def test_process_list_shows_no_secret(world: Stage, hunter: Hunter, keyless: Kept) -> None:
    """Arguments of the sidecar and of each child; environments of all but the tool itself."""
    session = keyless.get()
    running = asyncio.ensure_future(
        asyncio.to_thread(session.run, "from keyless import secure_exec\n"
                          "secure_exec('leaky', ['sleep', '1'])"),
    )  # fmt: skip
    sidecar = sidecar_pid(session)
    shown, seen = b"", set[int]()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for pid in (sidecar, *descendants(sidecar)):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                seen.add(pid)
                shown += line
                if b"tools/leaky" not in line:
                    shown += Path(f"/proc/{pid}/environ").read_bytes()
        await asyncio.sleep(0.05)
    await running
    assert len(seen) > 1, seen
    assert hunter.data(shown, "the process list") == []


@pytest.mark.attack(
    wall="strong values only", title="Register a value that redaction would betray."
)
def test_guessable_value_is_refused(world: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = {"name": "pin", "kind": "token", "fields": {"value": "4821"}, "tools": ["leaky"]}
    monkeypatch.setattr(world, "credentials", lambda: [pin])
    with pytest.raises(KernelStartRefused, match="pin"):
        protected(world)
