"""The magics' own lines: tool, options, commands."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics.arguments import OPTIONS, Options, parse_cell, parse_line
from keyless.protocol.errors import InvalidRequest


def test_a_line_has_its_options_before_the_tool() -> None:
    plan = parse_line(
        "--timeout 5 --out who --quiet aws --timeout 9 sts get-caller-identity --out x"
    )
    assert plan.tool == "aws"
    assert plan.options == Options(timeout=5.0, out="who", quiet=True)
    assert plan.commands == (("--timeout", "9", "sts", "get-caller-identity", "--out", "x"),)


def test_a_cell_has_its_options_on_the_first_line_and_commands_below() -> None:
    plan = parse_cell(
        "aws --credentials a,b --timeout=2.5 --no-isolated --cwd sub --stdin data --out r "
        "--dry-run --no-raise",
        "\n# list\ns3 ls\naws sts get-caller-identity \\\n   --output json\n",
    )
    assert plan.options == Options(
        credentials=("a", "b"),
        timeout=2.5,
        isolated=False,
        cwd="sub",
        stdin="data",
        out="r",
        dry_run=True,
        raise_error=False,
    )
    assert plan.commands == (("s3", "ls"), ("sts", "get-caller-identity", "--output", "json"))


def test_options_may_stand_before_the_tool_in_a_cell_too() -> None:
    assert parse_cell("--quiet aws --timeout 3", "s3 ls").options == Options(quiet=True, timeout=3)


def test_only_the_tool_itself_is_left_out_at_the_start() -> None:
    assert parse_cell("aws", "aws").commands == ((),)
    assert parse_cell("aws", "aws aws").commands == (("aws",),)
    assert parse_cell("aws", "git log").commands == (("git", "log"),)


def test_interactive_is_an_option_right_behind_the_tool_of_a_line_too() -> None:
    for line in ("--interactive psql -d shop", "psql --interactive -d shop"):
        plan = parse_line(line)
        assert plan.options == Options(interactive=True)
        assert plan.commands == (("-d", "shop"),)
    assert parse_line("aws ecs --interactive").commands == (("ecs", "--interactive"),)
    assert parse_cell("psql --interactive", "").commands == ((),)
    assert parse_cell("python", "--interactive").commands == (("--interactive",),)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126))))
def test_a_tool_gets_the_arguments_that_were_written(words: list[str]) -> None:
    if words[:1] != ["--interactive"]:
        assert parse_line("aws " + shlex.join(words)).commands == (tuple(words),)
    if words and words[0] != "aws":
        assert parse_cell("aws", shlex.join(words)).commands == (tuple(words),)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "name a tool"),
        ("--quiet", "name a tool"),
        ("aws --interactive --quiet", "doesn't go with it"),
        ("aws --nonsense", "no such option"),
        ("aws -x", "no such option"),
        ("aws --timeout", "needs a value"),
        ("aws --timeout soon", "takes seconds"),
        ("aws --quiet=yes", "takes no value"),
        ("aws --out 1x", "name of a variable"),
        ("aws --out class", "name of a variable"),
        ("aws --stdin a.b", "name of a variable"),
        ("aws --credentials ,", "at least one name"),
        ("aws s3 ls", "go into the lines below"),
        ("aws ; id", "no shell here"),
        ("aws 'x", "never closed"),
    ],
)
def test_a_wrong_first_line_gets_one_sentence(line: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        parse_cell(line, "s3 ls")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", ["", "\n", "# only\n\n   # comments"])
def test_a_cell_without_commands_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest, match="no command"):
        parse_cell("aws", body)


def test_an_unknown_option_names_those_that_exist() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_line("--bogus aws")
    assert all(name in str(caught.value) for name in OPTIONS)
