"""What is done with a notebook that holds secrets, by setting.  The scrubber is the real one."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
from tornado import web
from traitlets.config import Config

from keyless.server.hygiene import Cleaner
from keyless.server.saves import Saves
from keyless.server.settings import Hygiene

SECRET = "ghp_" + "aB3d" * 9


def model(source: str) -> dict[str, Any]:
    cell = {"cell_type": "markdown", "metadata": {}, "source": source, "id": "a"}
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return {"type": "notebook", "content": content}


def cleaner(on_save: str, folder: Path, saves: Saves) -> Cleaner:
    config = Config({"Vault": {"folder": str(folder)}})
    return Cleaner(Hygiene(on_save=on_save), config, saves, logging.getLogger("test"))


@pytest.mark.parametrize(
    ("on_save", "done"), [("redact", "redacted"), ("warn", "saved"), ("refuse", "refused")]
)
def test_settings(on_save: str, done: str, tmp_path: Path, jupyter_home: Path) -> None:
    saves, given = Saves(), model(f"one\nkey {SECRET}")
    kept = copy.deepcopy(given)
    looks = cleaner(on_save, tmp_path, saves)
    if on_save == "refuse":
        with pytest.raises(
            web.HTTPError, match=r"github-token \(cell 1, source, line 2\)"
        ) as error:
            looks.clean(given, "a.ipynb")
        assert error.value.status_code == 400
        assert SECRET not in str(error.value)
    else:
        saved = str(looks.clean(given, "a.ipynb"))
        assert (SECRET in saved) == (on_save == "warn")
    assert given == kept
    assert saves.of("a.ipynb")["done"] == done
    assert saves.of("/a.ipynb")["found"][0]["name"] == "github-token"


@pytest.mark.parametrize(("on_save", "saved"), [("redact", False), ("warn", True)])
def test_a_vault_that_cannot_be_read(
    on_save: str, saved: bool, tmp_path: Path, jupyter_home: Path
) -> None:
    (tmp_path / "vault.json").write_text("no vault")
    saves, given = Saves(), model("1 + 1")
    looks = cleaner(on_save, tmp_path, saves)
    if saved:
        assert looks.clean(given, "a.ipynb") is given
    else:
        with pytest.raises(web.HTTPError, match="Nobody can say whether it holds a secret"):
            looks.clean(given, "a.ipynb")
    assert saves.of("a.ipynb")["done"] == "unknown"


@pytest.mark.parametrize(
    ("given", "path", "wanted"),
    [
        ({"type": "notebook", "content": {}}, "a.ipynb", True),
        ({"type": "notebook"}, "a.ipynb", False),
        ({"type": "file", "format": "text", "content": "{}"}, "a.IPYNB", True),
        ({"type": "file", "format": "text", "content": "{}", "chunk": 1}, "a.ipynb", False),
        ({"type": "file", "format": "text", "content": "{}"}, "a.py", False),
        ({"type": "directory", "content": []}, "a.ipynb", False),
    ],
)
def test_what_is_looked_through(
    given: dict[str, Any], path: str, wanted: bool, tmp_path: Path
) -> None:
    assert cleaner("redact", tmp_path, Saves()).wanted(given, path) is wanted
    assert not cleaner("off", tmp_path, Saves()).wanted(given, path)


def test_only_so_many_saves_are_remembered() -> None:
    saves = Saves()
    for number in range(300):
        saves.keep(f"{number}.ipynb", [], "clean")
    assert saves.of("0.ipynb")["done"] == ""
    assert saves.of("299.ipynb")["done"] == "clean"
