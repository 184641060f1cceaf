"""``jupyter keyless scrub``: every place of a notebook, every encoding, and what is left alone."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.commands.scrub import main
from keyless_sidecar.commands.vault import main as vault_main
from keyless_sidecar.sanitize import Patterns
from keyless_sidecar.scrubbing import scrub_notebook

SECRET = "q7Zr-Kw92_xTnB4vLm8cHk3pWq8s"
NAME = "deploy"
PATTERNS = Patterns.build([(NAME, SECRET.encode())])

FORMS = {
    "plain": SECRET,
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "hex": SECRET.encode().hex(),
    "reversed": SECRET[::-1],
    "JSON": SECRET.replace("-", "\\u002d"),
}


def notebook(**cell: Any) -> dict[str, Any]:
    whole = {"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], **cell}
    return {"cells": [whole], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def output(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"output_type": "display_data", "metadata": {}, "data": data}]


PLACES: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "source": (lambda text: notebook(source=f"key = '{text}'"), "source"),
    "lines": (lambda text: notebook(source=["import os\n", f"key = '{text}'\n"]), "source"),
    "cut by lines": (lambda text: notebook(source=[text[:9], text[9:]]), "source"),
    "stream": (
        lambda text: notebook(outputs=[{"output_type": "stream", "name": "stdout", "text": text}]),
        "output 1 (text)",
    ),
    "error": (
        lambda text: notebook(
            outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": [text]}]
        ),
        "output 1 (traceback)",
    ),
    "html": (
        lambda text: notebook(outputs=output({"text/html": f"<b>{text}</b>"})),
        "output 1 (text/html)",
    ),
    "json": (
        lambda text: notebook(outputs=output({"application/json": {"a": [{"b": text}]}})),
        "output 1 (application/json).a.b",
    ),
    "name of a member": (
        lambda text: notebook(outputs=output({"application/json": {text: 1}})),
        "output 1 (application/json)",
    ),
    "cell metadata": (lambda text: notebook(metadata={"tags": [text]}), "metadata.tags"),
    "notebook metadata": (
        lambda text: {**notebook(), "metadata": {"widgets": {"state": text}}},
        "metadata.widgets.state",
    ),
    "attachment": (
        lambda text: notebook(attachments={"a.txt": {"text/plain": text}}),
        "attachment a.txt (text/plain)",
    ),
    "picture": (
        lambda text: notebook(
            outputs=output({"image/png": base64.b64encode(b"\x89PNG" + text.encode()).decode()})
        ),
        "output 1 (image/png)",
    ),
    "packed attachment": (
        lambda text: notebook(
            attachments={
                "a.bin": {
                    "application/octet-stream": base64.b64encode(
                        gzip.compress(b"-" * 999 + text.encode())
                    ).decode()
                }
            }
        ),
        "attachment a.bin (application/octet-stream)",
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_found_and_taken_out(place: str, form: str) -> None:
    make, part = PLACES[place]
    dirty = make(FORMS[form])
    before = copy.deepcopy(dirty)
    clean, found = scrub_notebook(PATTERNS, dirty)
    assert dirty == before
    assert {finding.name for finding in found} == {NAME}
    assert part in {finding.place.part for finding in found}
    assert scrub_notebook(PATTERNS, clean)[1] == []
    assert not any(text in json.dumps(clean) for text in FORMS.values())


def test_the_line_is_told() -> None:
    _, found = scrub_notebook(PATTERNS, notebook(source=f"a\nb\nkey = '{SECRET}'\n"))
    assert [str(finding) for finding in found] == [f"cell 1, source, line 3: {NAME}"]


def test_credentials_that_nobody_registered_are_found() -> None:
    text = "AKIAQ7ZRKW92XTNB4VLM " + "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1uI2oP"
    clean, found = scrub_notebook(Patterns.build([]), notebook(source=text))
    assert found
    assert "Zt8mQ1xV4kW7" not in json.dumps(clean)


_TEXT = st.text(alphabet='abc \n"\\{}<>é0', max_size=30)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(value=_JSON)
def test_what_holds_nothing_is_left_as_it_is(value: Any) -> None:
    whole = notebook(metadata={"x": value}, outputs=output({"application/json": value}))
    clean, found = scrub_notebook(PATTERNS, whole)
    assert found == []
    assert clean == whole


@given(value=_JSON, before=_TEXT, after=_TEXT)
def test_it_is_found_among_anything(value: Any, before: str, after: str) -> None:
    hidden = {"x": [value, {"y": before + SECRET + after}]}
    clean, found = scrub_notebook(PATTERNS, notebook(metadata=hidden))
    assert found
    assert SECRET not in json.dumps(clean)


# ---------------------------------------------------------------------- the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    read, write = os.pipe()
    os.write(write, SECRET.encode())
    os.close(write)
    data = tmp_path / "keyless"
    argv = ["--data-dir", str(data), "add", NAME, "--kind", "token", "--tool", "gh"]
    assert vault_main([*argv, "--host", "api.example.org", "--from-fd", str(read)]) == 0
    os.close(read)
    return data


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "a.ipynb"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_it_says_where_and_changes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, notebook(source=f"a\nkey = '{SECRET}'"))
    before = path.read_bytes()
    assert main(["--data-dir", str(folder), str(path)]) == 1
    assert path.read_bytes() == before
    shown = capsys.readouterr()
    assert f"a.ipynb: cell 1, source, line 2: {NAME}" in shown.out
    assert SECRET not in shown.out + shown.err


def test_redacting_keeps_the_rest_and_the_mode(folder: Path, tmp_path: Path) -> None:
    path = written(tmp_path, notebook(source=f"key = '{SECRET}'; other = 1"))
    path.chmod(0o640)
    assert main(["--data-dir", str(folder), "--redact", str(path)]) == 1
    text = path.read_text()
    assert SECRET not in text
    assert "other = 1" in text
    assert f"[redacted:{NAME}]" in text
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.glob(".*")] == []
    assert main(["--data-dir", str(folder), str(path)]) == 0


def test_a_clean_notebook_passes_and_no_notebook_does_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data-dir", str(folder), str(written(tmp_path, notebook()))]) == 0
    assert main(["--data-dir", str(folder), str(written(tmp_path, "{"))]) == 1
    assert main(["--data-dir", str(folder), str(tmp_path / "none.ipynb")]) == 1
    assert main(["--data-dir", str(folder)]) == 2
    assert "not JSON" in capsys.readouterr().err


def test_a_vault_that_cannot_be_opened_fails(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "vault.key").unlink()
    assert main(["--data-dir", str(folder), str(written(tmp_path, notebook()))]) == 1
    assert capsys.readouterr().err
