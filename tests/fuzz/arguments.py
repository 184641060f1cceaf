"""Fuzz target: text of a cell to words, words to an allowed command line.

A value is ``["text", TEXT]`` for the magics' reader, ``["aws", ARGUMENT, ...]`` or ``["plain",
ARGUMENT, ...]`` for the rules.  Each answers or refuses in one sentence; what the rules let through
they let through again, unchanged, and it names nothing outside the workspace.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from keyless.magics.arguments import parse_cell, parse_line
from keyless.magics.words import split_lines
from keyless.protocol.errors import InvalidRequest
from keyless_sidecar.tools import Refused, Tool
from keyless_sidecar.tools import check as check_command
from keyless_sidecar.tools.aws_names import REFUSED_GLOBALS
from keyless_sidecar.workspace import WorkspaceRoot

_TOOLS = {
    "aws": Tool("aws", "/usr/bin/aws", rules="aws"),
    "plain": Tool("plain", "/usr/bin/true", deny=("^--exec",)),
}
_PATHS = """
in.txt sub/in.txt text.json ./in.txt sub/../in.txt ../out /etc/passwd /workspace/in.txt link
linkdir/x fifo twice missing new/out sub sub/ . .. ~ ~/x $HOME /workspace/../etc/passwd
sub//in.txt - /
"""
_WORDS = """
sts get-caller-identity lambda update-function-code invoke s3 s3api cp mv sync ls rm mb put-object
get-object ec2 run-instances describe-instances iam create-access-key configure help wait dynamodb
put-item kms decrypt secretsmanager get-secret-value --zip-file --body --payload --function-name f
--bucket --key --region us-east-1 --endpoint-url --profile --debug --no-sign-request --output json
--query Arn --cli-input-json --generate-cli-skeleton --no-paginate --recursive --acl public-read
--follow-symlinks --environment --user-data --item -- - = --ca-bundle --cli-binary-format
object-exists function-active-v2 --delete --exclude * --exec
"""
_prefix = st.sampled_from(["", "", "file://", "fileb://", "s3://bucket/", "http://h/", "Key=", "@"])
_path = st.builds(lambda prefix, path: prefix + path, _prefix, st.sampled_from(_PATHS.split()))
_word = st.one_of(
    st.sampled_from(_WORDS.split()),
    st.sampled_from(_WORDS.split()),
    _path,
    st.builds(lambda option, path: f"{option}={path}", st.sampled_from(_WORDS.split()), _path),
    st.builds(lambda path: f"A={{B@={path},C=[{path}]}}", _path),
    st.text(max_size=12),
)
_START = [
    "lambda update-function-code --function-name f --zip-file",
    "lambda invoke --function-name f",
    "s3 cp",
    "s3 sync",
    "s3api put-object --bucket bbb --key k --body",
    "s3api get-object --bucket bbb --key k",
    "ec2 run-instances --user-data",
    "dynamodb put-item --table-name t --item",
    "sts get-caller-identity",
    "cloudformation deploy --template-file",
    "lambda wait function-active-v2 --function-name",
]
_aws = st.builds(
    lambda start, words: ["aws", *shlex.split(start), *words],
    st.sampled_from(["", *_START]),
    st.lists(_word, max_size=5),
)
_shell = st.lists(
    st.sampled_from(list("ab \t\n\\'\"|;&<>$`()*?[#=~-%{}\r\0\u2028\u202e\ud800")), max_size=40
).map("".join)
STRATEGY = st.one_of(
    _aws,
    _aws,
    st.lists(_word, max_size=6).map(lambda words: ["plain", *words]),
    st.one_of(_shell, st.text(max_size=60)).map(lambda text: ["text", text]),
)


@cache
def workspace() -> WorkspaceRoot:
    """A small workspace with every kind of trap; it stays until the process ends."""
    top = Path(tempfile.mkdtemp(prefix="keyless-fuzz-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    root = top / "ws"
    (root / "sub").mkdir(parents=True)
    for name in ("in.txt", "sub/in.txt", "twice"):
        (root / name).write_text("x")
    (root / "text.json").write_text('{"FunctionName": "f"}')
    (top / "out").write_text("outside")
    (root / "link").symlink_to(top / "out")
    (root / "linkdir").symlink_to(top)
    (root / "again").hardlink_to(root / "twice")
    os.mkfifo(root / "fifo")
    return WorkspaceRoot(root)


def check(value: list[str]) -> None:
    """All that must hold for one text or one command."""
    kind, *words = value
    if kind == "text":
        _check_text(words[0])
    else:
        _check_command(_TOOLS[kind], words)


def _check_text(text: str) -> None:
    try:
        lines = list(split_lines(text))
    except InvalidRequest as error:
        assert "\n" not in str(error), "more than one sentence"
        assert _encodes(str(error)), "a message that can't be sent"
    else:
        for line in lines:
            assert line.words, "a command without a word"
            assert all(_encodes(word) for word in line.words)
            # What was read is what a shell would read from the same words, quoted.
            (again,) = split_lines(shlex.join(line.words))
            assert again.words == line.words, "reading is not settled"
    for parse in (lambda: parse_line(text), lambda: parse_cell("tool", text)):
        try:
            parse()
        except InvalidRequest as error:
            assert "\n" not in str(error)


def _check_command(tool: Tool, argv: list[str]) -> None:
    try:
        checked = check_command(tool, argv, workspace(), "")
    except Refused as refused:
        assert refused.message, "refused without a reason"
        assert "\n" not in refused.message, "more than one sentence"
        assert refused.rule
        return
    assert all(_encodes(argument) for argument in checked.argv)
    for file in checked.files:
        first = file.path.partition("/")[0]
        assert ".." not in file.path.split("/"), "a file outside"
        assert first not in ("link", "linkdir", "fifo", "twice", "again"), "a trap"
    if tool.rules == "aws":
        _check_aws(checked.argv, checked.operation)
        again = check_command(tool, checked.argv, workspace(), "")
        assert again == checked, "the line that is run would be read in another way"


def _check_aws(argv: tuple[str, ...], operation: str) -> None:
    refused = {f"--{name}" for name in REFUSED_GLOBALS}
    for argument in argv:
        assert argument.partition("=")[0] not in refused, f"{argument} got through"
    assert re.fullmatch(r"(\+?aws:[\w.-]+(:\w+)?)+", operation), operation
    for argument in argv:
        # Elsewhere in an argument it is text, but in shorthand, which the line's own check covers.
        found = re.match(r"(?:--[\w-]+=)?(fileb?://)(.*)", argument, re.DOTALL)
        assert found is None or found[2].startswith("/workspace/"), argument


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
