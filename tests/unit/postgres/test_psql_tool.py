"""The built-in psql: which arguments pass, and where it is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyless_sidecar.tools import Refused, Tool, check
from keyless_sidecar.tools.psql_tool import psql_declaration, psql_places
from keyless_sidecar.workspace import WorkspaceRoot


@pytest.fixture
def root(tmp_path: Path) -> Iterator[WorkspaceRoot]:
    (tmp_path / "query.sql").write_text("select 1")
    (tmp_path / "link.sql").symlink_to("/etc/passwd")
    with WorkspaceRoot(tmp_path) as opened:
        yield opened


@pytest.fixture
def tool() -> Tool:
    declaration = psql_declaration({"path": "/bin/true"})
    assert declaration is not None
    return Tool("psql", "/bin/true", deny=tuple(declaration["deny"]))


@pytest.mark.parametrize(
    "argv",
    [
        ("-c", "select 1"),
        ("-Atc", "select * from users where host = 'x' and port=1"),
        ("-At", "-F,", "-f", "query.sql"),
        ("--file=query.sql", "-v", "user=bob", "--set=x=1"),
        ("shop",),
        ("-d", "shop", "--csv", "-o", "out.csv"),
        ("--dbname=shop", "-l"),
        ("--help",),
        ("--html", "--no-password", "--pset=footer"),
        ("-c", "\\copy t from 'data.csv'"),
        ("-x", "-1", "-q", "-P", "pager=off"),
    ],
)
def test_what_is_no_matter_of_connecting_passes(
    tool: Tool, root: WorkspaceRoot, argv: tuple[str, ...]
) -> None:
    assert check(tool, argv, root, "").argv == argv


@pytest.mark.parametrize(
    "argument",
    [
        "-h",
        "-hevil.example",
        "-Ath",
        "-qXhevil",
        "--host",
        "--host=evil.example",
        "--ho",
        "--hos=x",
        "-p",
        "-p5433",
        "--port=1",
        "--po",
        "-U",
        "-Upostgres",
        "--username=postgres",
        "--user",
        "--u=postgres",
        "postgresql://evil.example/db",
        "postgres://user:pw@evil.example",
        "host=evil.example",
        " host = evil.example dbname=x",
        "hostaddr=10.0.0.1",
        "service=other",
        "dbname=x host=evil.example",
        "sslmode=disable",
        "passfile=/workspace/p",
        "-dhost=evil.example",
        "-dpostgresql://evil.example",
        "-Atdhost=evil",
        "--dbname=host=evil.example",
        "--db=postgres://evil.example",
    ],
)
def test_what_would_lead_elsewhere_is_refused(
    tool: Tool, root: WorkspaceRoot, argument: str
) -> None:
    with pytest.raises(Refused) as caught:
        check(tool, ("-c", "select 1", argument), root, "")
    assert caught.value.rule == "plain.deny"


def test_a_file_that_isnt_one_of_the_workspace_is_refused(tool: Tool, root: WorkspaceRoot) -> None:
    with pytest.raises(Refused):
        check(tool, ("-f", "link.sql"), root, "")


def test_the_declaration(tmp_path: Path) -> None:
    mine = {"path": "/bin/true", "environment": {"PAGER": "less"}, "deny": ["^-1$"], "timeout": 9}
    declaration = psql_declaration(mine)
    assert declaration is not None
    assert declaration["delivery"] == "proxy"
    assert declaration["timeout"] == 9
    assert declaration["environment"]["PAGER"] == "less"
    assert declaration["environment"]["PSQLRC"] == "/nonexistent"
    assert "^-1$" in declaration["deny"]
    assert len(declaration["deny"]) > 4
    # A person's settings don't stay in the defaults.
    other = psql_declaration({"path": "/bin/true"})
    assert other is not None
    assert other["environment"]["PAGER"] == "cat"
    assert "^-1$" not in other["deny"]


def test_the_real_program_comes_before_debians_script() -> None:
    places = psql_places()
    assert places[-1] == "/usr/bin/psql"
    assert all(place.startswith("/usr/") for place in places)
