"""Rows of an answer: which answers have some, and the DataFrame that is made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from keyless.magics import tabular
from keyless.magics.call_results import CallFacts, CallResult
from keyless.magics.outs import read_out
from keyless.magics.results import ExecResult
from keyless.magics.tabular import rows_of
from keyless.protocol.errors import ExecError, InvalidRequest

Channel = Any  # the fake sidecar of conftest.py
FUNCTIONS = {
    "Functions": [
        {"FunctionName": "thumb", "MemorySize": 128, "Tracing": {"Mode": "Active"}, "Layers": []},
        {"FunctionName": "orders", "MemorySize": 256, "VpcConfig": {"Ids": ["a"]}},
    ],
    "Marker": "more",
    "ResponseMetadata": {"HTTPStatusCode": 200},
}


@pytest.mark.parametrize(
    ("answer", "member", "rows"),
    [
        ([{"a": 1}, {"a": 2}], "", [{"a": 1}, {"a": 2}]),
        ({"Buckets": [{"Name": "b"}], "Owner": {"ID": "x"}}, "", [{"Name": "b"}]),
        ({"TableNames": ["a", "b"]}, "", [{"TableNames": "a"}, {"TableNames": "b"}]),
        ({"Names": ["x"], "Rules": [{"Id": 1}]}, "", [{"Id": 1}]),
        ({"Names": ["x"], "Rules": [{"Id": 1}]}, "Names", [{"Names": "x"}]),
        (["a", None], "", [{"value": "a"}, {"value": None}]),
        ({"Contents": []}, "", []),
        ([], "", []),
        ([{"State": {"Name": "on", "Why": {"Code": 1}}}], "",
         [{"State.Name": "on", "State.Why": {"Code": 1}}]),
    ],
)  # fmt: skip
def test_rows(answer: Any, member: str, rows: list[dict[str, Any]]) -> None:
    assert rows_of(answer, member) == rows


@pytest.mark.parametrize(
    ("answer", "member", "says"),
    [
        ({"Account": "1", "Arn": "arn"}, "", "an object without a list (it has Account, Arn)"),
        ({"A": [{"x": 1}], "B": [{"y": 1}]}, "", "several lists (A, B): name one, such as"),
        ({"A": [{"x": 1}]}, "B", "has no B; it has A"),
        ({"A": "text"}, "A", "it is a text, not a list"),
        ([[1, 2]], "", "other things than objects"),
        ([{"a": 1}, 2], "", None),
        ("text", "", "a text"),
        (None, "", "null"),
        (3, "", "a number"),
        ({}, "", "it has nothing"),
    ],
)  # fmt: skip
def test_what_has_no_rows_says_what_it_is(answer: Any, member: str, says: str | None) -> None:
    with pytest.raises(InvalidRequest, match="the answer") as caught:
        rows_of(answer, member)
    assert says is None or says in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_any_json_has_rows_or_a_sentence(value: Any) -> None:
    try:
        rows = rows_of(value)
    except InvalidRequest as error:
        said = str(error)
    else:
        said = "rows"
        assert all(isinstance(name, str) for row in rows for name in row)
    assert len(said.splitlines()) == 1


def test_a_frame_of_a_command_and_of_a_call() -> None:
    command = ExecResult("aws", (), 0, stdout=json.dumps(FUNCTIONS))
    call = CallResult(FUNCTIONS, CallFacts("lambda", "ListFunctions"))
    for frame in (command.df(), call.df(), call.df("Functions")):
        assert isinstance(frame, pandas.DataFrame)
        assert list(frame["FunctionName"]) == ["thumb", "orders"]
        assert frame["MemorySize"].sum() == 384
        assert frame["Tracing.Mode"][0] == "Active"
    call.queried, call.selected = True, [{"n": 1}]
    assert list(call.df().columns) == ["n"]


def test_a_frame_of_what_is_no_json_says_what_came() -> None:
    with pytest.raises(ExecError, match="no valid JSON"):
        ExecResult("aws", (), 0, stdout="NAME SIZE\n").df()


def test_without_pandas_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"pip install 'keyless\[pandas\]'"):
        ExecResult("aws", (), 0, stdout="[]").df()


@pytest.mark.parametrize(
    ("value", "read"), [("x", ("x", False)), ("x:df", ("x", True)), ("df", ("df", True))]
)
def test_the_forms_of_out(value: str, read: tuple[str, bool]) -> None:
    assert read_out(value) == read


@pytest.mark.parametrize("value", ["", ":df", "1x:df", "x:json", "x:", "class"])
def test_other_forms_of_out_are_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        read_out(value)


# ---------------------------------------------------------------------------- in a shell


def prints(channel: Channel, text: str) -> Callable[[Any], None]:
    from keyless.protocol.messages import Output

    def on_exec(request: Any) -> None:
        channel.send(Output(id=request.id, stream="stdout", data=text))
        channel.finish(request)

    return on_exec


def test_out_df_binds_a_frame(channel: Channel, shell: InteractiveShell) -> None:
    channel.on_exec = prints(channel, json.dumps(FUNCTIONS))
    for out, name in (("df", "df"), ("rows:df", "rows")):
        assert shell.run_cell(f"%%secure_exec aws --out {out}\nlambda list-functions").success
        assert isinstance(shell.user_ns[name], pandas.DataFrame)
    assert shell.run_cell("%%secure_exec aws --out rows\nlambda list-functions").success
    assert isinstance(shell.user_ns["rows"], ExecResult)


def test_out_df_without_rows_says_that_it_ran(channel: Channel, shell: InteractiveShell) -> None:
    channel.on_exec = prints(channel, '{"Account": "1"}')
    ran = shell.run_cell("%%secure_exec aws --out df\nsts get-caller-identity")
    assert isinstance(ran.error_in_exec, InvalidRequest)
    assert str(ran.error_in_exec).startswith("it ran, and df holds its result; ")
    assert ran.error_in_exec.record_id == "k1-000009"
    assert shell.user_ns["df"].json() == {"Account": "1"}
    assert channel.refusals() == []


def test_out_df_is_refused_before_anything_runs(
    channel: Channel, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = shell.run_cell("%%secure_exec aws --out df\ns3 ls\ns3 ls")
    assert "NAME[0].df()" in str(several.error_in_exec)
    monkeypatch.setattr(tabular, "find_spec", lambda name: None)
    missing = shell.run_cell("%%secure_exec aws --out df\ns3 ls")
    assert "pip install" in str(missing.error_in_exec)
    assert channel.execs() == []


def test_a_failed_command_binds_its_result(channel: Channel, shell: InteractiveShell) -> None:
    channel.on_exec = lambda request: channel.finish(request, exit_code=3)
    assert not shell.run_cell("%%secure_exec aws --out df\ns3 ls").success
    assert shell.user_ns["df"].exit_code == 3
    assert shell.run_cell("%%secure_exec aws --out df --no-raise\ns3 ls").success
    assert shell.user_ns["df"].exit_code == 3
