"""Which host paths a sandbox would see, decided without starting one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keyless_kernel.confine import Bind, ConfinementUnavailable, view
from keyless_kernel.confine.view import interpreter_binds


def test_the_interpreter_is_shown_read_only_with_its_base() -> None:
    binds = interpreter_binds(sys.executable)
    assert all(not bind.writable for bind in binds)
    shown = [bind.source for bind in binds] + ["/usr"]
    assert any(sys.prefix.startswith(source) for source in shown)
    assert any(sys.base_prefix.startswith(source) for source in shown)


def test_an_interpreter_near_the_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfinementUnavailable, match="virtual environment"):
        interpreter_binds("/opt/bin/python3")


def test_parents_are_made_from_the_top_and_only_where_needed() -> None:
    made = view.parents(["/a/b/c", "/usr/lib/x", "/home/k"], ["/usr"])
    assert made == ["/a", "/a/b", "/home"]


def test_a_bind_that_would_show_the_vault_is_refused(tmp_path: Path) -> None:
    vault = tmp_path / "env" / "share" / "keyless"
    vault.mkdir(parents=True)
    with pytest.raises(ConfinementUnavailable, match="JUPYTER_DATA_DIR"):
        view.refuse_exposure((Bind(str(tmp_path / "env"), "/env"),), [str(vault)])
    view.refuse_exposure((Bind(str(tmp_path / "other"), "/env"),), [str(vault)])


def test_a_link_into_a_bind_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "env")
    with pytest.raises(ConfinementUnavailable):
        view.refuse_exposure((Bind(str(tmp_path / "env"), "/env"),), [str(tmp_path / "link")])


def test_jupyter_configuration_inside_an_environment_is_masked(tmp_path: Path) -> None:
    (tmp_path / "etc" / "jupyter").mkdir(parents=True)
    assert view.mask_arguments(Bind(str(tmp_path), "/env"))[-1] == "/env/etc"
    assert view.mask_arguments(Bind(str(tmp_path / "etc"), "/env")) == []


def test_the_synthetic_user_list_names_nobody_of_the_host() -> None:
    files = dict(view.etc_files(61000, 61000, "/home/keyless"))
    assert files["/etc/passwd"].count(b"\n") == 3
    assert b"/home/keyless" in files["/etc/passwd"]
