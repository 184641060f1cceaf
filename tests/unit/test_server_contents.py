"""Contents managers of both kinds with Keyless' checks before them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.services.contents.largefilemanager import (
    AsyncLargeFileManager,
    LargeFileManager,
)
from tornado import web
from traitlets.config import Config

from keyless.server.contents import GUARDED, guarded
from keyless.server.files import why_unreachable
from keyless.server.hygiene import Cleaner
from keyless.server.saves import Saves
from keyless.server.settings import Hygiene

SECRET = "ghp_" + "aB3d" * 9


@pytest.fixture(params=[LargeFileManager, AsyncLargeFileManager])
def manager(request: pytest.FixtureRequest, tmp_path: Path, jupyter_home: Path) -> Any:
    config = Config({"Vault": {"folder": str(tmp_path / "vault")}})
    cleaner = Cleaner(Hygiene(), config, Saves(), logging.getLogger("test"))
    for name in ("root", "private", "vault"):
        (tmp_path / name).mkdir()
    private = [tmp_path / "private"]
    kind = guarded(request.param, lambda path, root: why_unreachable(path, root, private), cleaner)
    made = kind(root_dir=str(tmp_path / "root"))
    assert getattr(made, GUARDED)
    return made


def done(given: Any) -> Any:
    """The result of a call of either kind."""

    async def wait() -> Any:
        return await given

    return asyncio.run(wait()) if inspect.isawaitable(given) else given


def test_what_is_saved_is_clean(manager: Any) -> None:
    cell = {"cell_type": "markdown", "metadata": {}, "source": f"key {SECRET}", "id": "a"}
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    done(manager.save({"type": "notebook", "content": content}, "a.ipynb"))
    written = (Path(manager.root_dir) / "a.ipynb").read_text()
    assert "key [redacted:github-token]" in written
    assert SECRET not in written


def test_links_lead_nowhere_and_are_not_listed(manager: Any) -> None:
    root = Path(manager.root_dir)
    (root / "plain.txt").write_text("1")
    (root / "out").symlink_to(root.parent / "private")
    (root / "up").symlink_to(root.parent)
    file = {"type": "file", "format": "text", "content": "import os"}
    for name in ("out", "up"):
        with pytest.raises(web.HTTPError):
            done(manager.save(file, f"{name}/evil.py"))
    assert not list(root.parent.rglob("evil.py"))
    assert [each["name"] for each in done(manager.get(""))["content"]] == ["plain.txt"]


def test_earlier_versions_go_to_no_link(manager: Any) -> None:
    root = Path(manager.root_dir)
    (root / "a.txt").write_text("1")
    (root / ".ipynb_checkpoints").symlink_to(root.parent / "private")
    with pytest.raises(web.HTTPError):
        done(manager.create_checkpoint("a.txt"))
    assert not list((root.parent / "private").iterdir())
