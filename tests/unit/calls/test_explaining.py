"""``jupyter keyless policy explain -- sdk …`` says what a call would be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.policies import write_policy

from keyless_sidecar.commands.policy import main

POLICY = """
@id("deploy") permit (principal, action == Action::"aws:lambda:UpdateFunctionCode", resource)
when { context.parameters.FunctionName == "orders" && context.tool == "sdk" };
"""


def explained(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    policy = write_policy(folder / "policy.cedar", POLICY)
    code = main(["--policy", str(policy), "explain", "--json", "--", *words])
    out, err = capsys.readouterr()
    return code, out or err


def test_a_call_is_explained_as_it_is_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = '{"FunctionName": "orders"}'
    code, out = explained(tmp_path, capsys, "sdk", "lambda", "update_function_code", named)
    (told,) = json.loads(out)
    assert (code, told["action"], told["outcome"]) == (0, "aws:lambda:UpdateFunctionCode", "allow")
    assert told["rule"] == "policy.cedar:deploy"
    _, out = explained(tmp_path, capsys, "sdk", "lambda", "UpdateFunctionCode")
    assert json.loads(out)[0]["outcome"] == "deny"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sdk", "lambda"], "SERVICE OPERATION"),
        (["sdk", "lambda", "invoke", "x"], "JSON object"),
        (["sdk", "lambda", "invoke", '{"Nam": 1}'], "no parameter 'Nam'"),
        (["sdk", "lambda", "invok"], "did you mean 'invoke'"),
    ],
)
def test_mistakes_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, out = explained(tmp_path, capsys, *words)
    assert code == 1
    assert said in out
