"""Text to words: what a shell would do with quotes, and nothing else of a shell."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.magics.words import split_lines, split_words
from keyless.protocol.errors import InvalidRequest

#: Any text that an argument may hold.
argument = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"],
        exclude_characters="\u2028\u2029"
        + "".join(map(chr, [*range(0x202A, 0x202F)]))
        + "".join(map(chr, range(0x2066, 0x206A))),
        include_characters="\n\t",
    )
)


@given(st.lists(argument))
def test_what_shlex_joins_comes_back(words: list[str]) -> None:
    assert split_words(shlex.join(words)) == tuple(words)


@given(st.lists(st.lists(argument, min_size=1), max_size=4))
def test_each_line_is_one_command(commands: list[list[str]]) -> None:
    text = "\n".join(shlex.join(words) for words in commands)
    assert [line.words for line in split_lines(text)] == [tuple(words) for words in commands]


@given(st.text(st.sampled_from("ab \t\"'\\=")))
def test_quotes_work_as_in_shlex(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        return
    assert split_words(text) == tuple(expected)


@given(st.text())
def test_any_text_gives_words_or_one_sentence(text: str) -> None:
    said = ""
    try:
        assert all(line.words for line in split_lines(text))
    except InvalidRequest as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("   ", ()),
        ("# nothing but a comment | with > shell", ()),
        ("s3 ls s3://bucket/a//b", ("s3", "ls", "s3://bucket/a//b")),
        ("x --payload file://in.json --zip-file fileb://f.zip", None),
        ("x a=b {} {a,b} k:v @-%^+,.!", None),
        ("--query 'Functions[].{N: Name}'", ("--query", "Functions[].{N: Name}")),
        (
            '--query "Functions[?Runtime==`python3.9`]"',
            ("--query", "Functions[?Runtime==`python3.9`]"),
        ),
        ("x '$HOME' \"$(id)\" '*' \\* \\| a\\ b", ("x", "$HOME", "$(id)", "*", "*", "|", "a b")),
        ("x ''", ("x", "")),
        ("a'b'\"c\"d", ("abcd",)),
        ('"a\\"b\\\\c\\$d\\n"', ('a"b\\c$d\\n',)),
        ("""'{"a": [1, 2], "b": "~"}'""", ('{"a": [1, 2], "b": "~"}',)),
        ("'{\n  \"a\": 1\n}'", ('{\n  "a": 1\n}',)),
        ("a \\\n  b", ("a", "b")),
        ("a \\\r\n  b\r\n", ("a", "b")),
        ("a\\\nb", ("ab",)),
        ("a \\", ("a",)),
        ("a#b a~b", ("a#b", "a~b")),
        ("x 'émoji 🙂' ü", ("x", "émoji 🙂", "ü")),
        ("x a\u00a0b", ("x", "a\u00a0b")),
    ],
)
def test_words(text: str, words: tuple[str, ...] | None) -> None:
    assert split_words(text) == (tuple(text.split()) if words is None else words)


@pytest.mark.parametrize(
    ("text", "helps"),
    [
        ("s3 ls | head", "--out"),
        ("s3 ls || true", "quote it"),
        ("s3 ls && s3 ls", "one command a line"),
        ("s3 ls & ", "one command a line"),
        ("s3 ls; s3 ls", "one command a line"),
        ("s3 ls > f", "--out"),
        ("s3 ls 2>&1", "--out"),
        ("x < f", "--stdin"),
        ("x <(id)", "--stdin"),
        ("x $HOME", "secure_exec(tool"),
        ("x ${HOME}", "secure_exec(tool"),
        ("x $(id)", "secure_exec(tool"),
        ("x $'\\n'", "secure_exec(tool"),
        ("x `id`", "--out"),
        ("(x)", "quote it"),
        ("x *.py", "glob"),
        ("x a?b", "glob"),
        ("x Functions[].Name", "quote it"),
        ("x ~/f", "workspace"),
        ("x # why", "line of its own"),
    ],
)
def test_shell_syntax_is_refused_with_what_to_do(text: str, helps: str) -> None:
    with pytest.raises(InvalidRequest, match="there is no shell here") as caught:
        split_words(text)
    assert helps in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a\n\nb 'c", 'a\n\n"c\nd\n', "a\n\n'"])
def test_an_open_quote_names_its_line(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"line 4: the quote .* is never closed"):
        list(split_lines(text, 2))


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x1b", "\r", "\x7f", "\x85", "\u2028", "\u202e", "\ud800"]
)
@pytest.mark.parametrize("text", ["a 'x{}y'", "a x{}y", 'a "{}"'])
def test_control_characters_are_refused(text: str, character: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"line 1: .*U\+{ord(character):04X}"):
        split_words(text.format(character))


def test_lines_are_numbered_blank_ones_and_comments_left_out() -> None:
    text = "# first\n\na b\n  # more 'open\nc \\\n d\n'e\nf' g\nh"
    assert [(line.number, line.words) for line in split_lines(text, 2)] == [
        (4, ("a", "b")),
        (6, ("c", "d")),
        (8, ("e\nf", "g")),
        (10, ("h",)),
    ]


def test_several_commands_where_one_is_expected() -> None:
    with pytest.raises(InvalidRequest, match="one command at a time"):
        split_words("a\nb")


def test_a_huge_text_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequest, match="--stdin"):
        split_words("x " + "A" * 10_000_000)


def test_a_long_argument_is_read_fast() -> None:
    for text in ("x" * 1_000_000, "'" + "x" * 999_000 + "'", '"' + "\\\\" * 499_000 + '"'):
        assert len(split_words(text)) == 1
    with pytest.raises(InvalidRequest, match="never closed"):
        split_words('"' + "\\\\" * 499_000)
