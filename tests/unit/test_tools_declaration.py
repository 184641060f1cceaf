"""Declarations of tools: what a person may write, and each mistake with its sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from keyless_sidecar.tools import Tool, ToolConfigError, aws_tool, load_tools, missing_tool


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "leaky"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def declare(program: Path | str, **settings: Any) -> Tool:
    declared = {"leaky": {"path": str(program), **settings}}
    return load_tools({"declared": declared, "aws": False})["leaky"]


def test_a_tool_with_all_its_settings(program: Path) -> None:
    tool = declare(
        program,
        arguments=["--quiet"],
        credentials=["canary"],
        secret_env={"RT_SECRET": "generic:value", "RT_MORE": "aws:session_token?"},
        environment={"LANG": "C.UTF-8"},
        hosts=["*.example.org:443", "localhost:*"],
        timeout=5,
        max_output=1000,
        deny=["^--evil"],
        max_args=3,
        description="a test",
        proc=True,
    )
    assert tool.path == str(program)
    assert tool.arguments == ("--quiet",)
    assert tool.binds == (str(program),)
    assert tool.secret_env["RT_SECRET"] == "generic:value"
    assert tool.rules == "plain"
    assert tool.delivery == "env"
    assert (tool.timeout, tool.max_output, tool.max_args, tool.proc) == (5, 1000, 3, True)
    with pytest.raises(TypeError):
        tool.secret_env["X"] = "y"  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "leaky"}, "absolute path"),
        ({"path": "/nonexistent/leaky"}, "no such file"),
        ({"path": "/usr"}, "not a regular file"),
        ({"path": None}, "needs a path"),
        ({"colour": "red"}, "no setting 'colour'"),
        ({"delivery": "argv"}, "delivery must be one of"),
        ({"rules": "none"}, "rules must be one of"),
        ({"credentials": "canary"}, "list of strings"),
        ({"credentials": [""]}, "non-empty strings"),
        ({"secret_env": {"A": "value"}}, "kind:field"),
        ({"secret_env": {"LD_PRELOAD": "generic:value"}}, "may not set"),
        ({"environment": {"PATH": "/tmp"}}, "may not set"),
        ({"environment": {"https_proxy": "http://x"}}, "may not set"),
        ({"environment": {"A": 1}}, "dictionary of variable to text"),
        ({"environment": ["A"]}, "dictionary of variable to text"),
        ({"hosts": ["example.org"]}, "host:port"),
        ({"timeout": 0}, "positive number"),
        ({"timeout": -1}, "positive number"),
        ({"timeout": True}, "positive number"),
        ({"max_output": "many"}, "positive number"),
        ({"proc": "yes"}, "of type bool"),
        ({"deny": ["("]}, "no regular expression"),
        ({"binds": ["relative"]}, "no existing absolute path"),
        ({"allow_operations": ["everything"]}, "lambda:GetFunction"),
    ],
)
def test_mistakes(program: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolConfigError, match=words):
        load_tools({"declared": {"leaky": {"path": str(program), **settings}}, "aws": False})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"declarde": {}}, "no setting 'declarde'"),
        ({"declared": ["x"]}, "must be a dictionary"),
        ({"declared": {"a b": {}}, "aws": False}, "not usable"),
        ({"declared": {"x": "y"}, "aws": False}, "must be a dictionary"),
        ({"aws": "yes"}, "dictionary, None or False"),
        ({"aws": {"path": "/nonexistent/aws"}}, "no such file"),
        ({"aws": {"path": 7}}, "needs a path"),
    ],
)
def test_mistakes_around_declarations(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolConfigError, match=words):
        load_tools(config)


def test_programs_that_others_could_change(program: Path, tmp_path: Path) -> None:
    program.chmod(0o644)
    with pytest.raises(ToolConfigError, match="not executable"):
        declare(program)
    program.chmod(0o757)
    with pytest.raises(ToolConfigError, match="is writable"):
        declare(program)
    program.chmod(0o755)
    program.parent.chmod(0o777)
    with pytest.raises(ToolConfigError, match="is writable"):
        declare(program)
    program.parent.chmod(0o755)
    assert declare(program)
    link = tmp_path / "link"
    link.symlink_to(program)
    assert declare(link).path == str(program)


def test_nothing_of_a_tool_lies_in_the_workspace(program: Path, tmp_path: Path) -> None:
    config = {"declared": {"leaky": {"path": str(program)}}, "aws": False}
    assert load_tools(config, workspace=str(tmp_path / "elsewhere"))
    with pytest.raises(ToolConfigError, match="lies in the workspace"):
        load_tools(config, workspace=str(program.parent))
    link = tmp_path / "link"
    link.symlink_to(program)
    with pytest.raises(ToolConfigError, match="lies in the workspace"):
        load_tools(
            {"declared": {"leaky": {"path": str(link)}}, "aws": False},
            workspace=str(program.parent),
        )


def fake_cli(prefix: Path, shebang: str) -> Path:
    script = prefix / "bin" / "aws"
    script.parent.mkdir(parents=True)
    script.write_text(f"{shebang}\nprint('aws')\n")
    script.chmod(0o755)
    (prefix / "pyvenv.cfg").write_text("home = /opt/python/bin\nversion = 3.11.7\n")
    (prefix / "bin" / "python3").symlink_to(sys.executable)
    return script


@pytest.mark.parametrize("long", [False, True])
def test_the_aws_cli_runs_isolated(tmp_path: Path, long: bool) -> None:
    prefix = tmp_path / "venv"
    python = prefix / "bin" / "python3"
    shebang = f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''" if long else f"#!{python}"
    script = fake_cli(prefix, shebang)
    data = prefix / "lib/python3.11/site-packages/awscli/botocore/data"
    data.mkdir(parents=True)
    tool = load_tools({"aws": {"path": str(script), "credentials": ["prod"]}})["aws"]
    assert tool.path == str(python)
    assert tool.arguments == ("-I", "-B", str(script))
    assert tool.program == str(script)
    assert str(prefix) in tool.binds
    assert "/opt/python" in tool.binds
    assert not any(other.startswith(f"{prefix}/") for other in tool.binds)
    assert tool.credentials == ("prod",)
    assert tool.rules == "aws"
    assert tool.secret_env["AWS_SESSION_TOKEN"] == "aws:session_token?"
    assert tool.environment["AWS_EC2_METADATA_DISABLED"] == "true"
    assert tool.model_path == str(data)


def test_another_aws_cli_is_kept_from_settings_like_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_tool.sys, "prefix", str(tmp_path / ".venv"))
    fake_cli(tmp_path / ".venv-aws", "#!/bin/sh")
    declared = {"held": {"rules": "aws", "delivery": "env", "environment": {"AWS_PAGER": "less"}}}
    tools = load_tools({"declared": declared})
    assert tools["held"].program == tools["aws"].program
    assert tools["held"].environment == {**tools["aws"].environment, "AWS_PAGER": "less"}
    assert tools["held"].secret_env == tools["aws"].secret_env
    assert (tools["held"].delivery, tools["aws"].delivery) == ("env", "proxy")


def test_the_aws_cli_is_looked_for_in_trusted_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_tool.sys, "prefix", str(tmp_path / ".venv"))
    fake_cli(tmp_path / ".venv-aws", "#!/bin/sh")
    assert load_tools({"aws": None})["aws"].program == str(tmp_path / ".venv-aws/bin/aws")
    assert load_tools({})["aws"]
    assert "aws" not in load_tools({"aws": False})


def test_no_aws_cli(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_tool, "aws_places", lambda: ("/nonexistent/aws",))
    assert "aws" not in load_tools({})
    assert "c.Tools.aws" in missing_tool("aws", {})


def test_missing_tool_names_those_that_exist(program: Path) -> None:
    text = missing_tool("bash", {"leaky": declare(program)})
    assert "bash" in text
    assert "leaky" in text
    assert "\x1b" not in missing_tool("\x1b[31m", {})
