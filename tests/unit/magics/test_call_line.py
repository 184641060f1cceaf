"""The line of ``%secure_call``, its completion, and how results look."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import jmespath
import pytest

from keyless.magics.call_arguments import OPTIONS, CallOptions, parse_call
from keyless.magics.call_completion import call_candidates
from keyless.magics.call_results import CallFacts, CallResult
from keyless.protocol.calls import Description, Parameter, ServiceError
from keyless.protocol.errors import InvalidRequest
from keyless.protocol.messages import WrittenFile


def test_a_line_with_everything() -> None:
    line = parse_call(
        "lambda update_function_code --region eu-west-1 --credentials prod --timeout=60 --paginate "
        "--wait function_updated --query 'A[].B' --save Body=a.csv --save Log=b --out x --quiet "
        '--dry-run --no-raise {"FunctionName": "a b"}'
    )
    assert (line.service, line.operation) == ("lambda", "update_function_code")
    assert line.options == CallOptions(
        region="eu-west-1",
        credentials=("prod",),
        timeout=60.0,
        paginate=True,
        wait="function_updated",
        query="A[].B",
        save={"Body": "a.csv", "Log": "b"},
        out="x",
        quiet=True,
        dry_run=True,
        raise_error=False,
    )
    assert json.loads(line.parameters) == {"FunctionName": "a b"}


@pytest.mark.parametrize("text", ["lambda invoke ?", "lambda invoke?", "lambda?", "?"])
def test_a_question_mark_asks_for_help(text: str) -> None:
    assert parse_call(text).help


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name a service and an operation"),
        ("lambda", "name a service"),
        ("lambda invoke orders", "not 'lambda' 'invoke' 'orders'"),
        ("lambda invoke --profile x", "no such option '--profile'"),
        ("lambda invoke --timeout soon", "seconds"),
        ("lambda invoke --timeout", "needs a value"),
        ("lambda invoke --paginate=1", "takes no value"),
        ("lambda invoke --save a.csv", "MEMBER=FILE"),
        ("lambda invoke --out 1x", "variable"),
        ("lambda invoke | jq", "--out NAME"),
    ],
)
def test_mistakes_are_said(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse_call(text)


def models(service: str, operation: str) -> Description | None:
    if not service:
        return Description(id=1, names=["lambda", "logs", "s3"])
    if not operation:
        return Description(id=1, names=["invoke", "list_functions"], waiters=["function_active"])
    parameters = [Parameter(name, "str", True, "") for name in ("FunctionName", "Payload")]
    return Description(id=1, operation=operation, parameters=parameters)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("%secure_call ", ["lambda", "logs", "s3"]),
        ("%%secure_call l", ["lambda", "logs"]),
        ("%secure_call --region eu-west-1 lambda in", ["invoke"]),
        ("%secure_call lambda invoke ", []),
        ("%secure_call lambda invoke --pag", ["--paginate"]),
        ("%secure_call lambda invoke --wait ", ["function_active"]),
        ("%secure_call lambda invoke --region ", []),
        ('%secure_call lambda invoke {"F', ["FunctionName"]),
        ('%%secure_call lambda invoke --quiet\n{"', ["FunctionName", "Payload"]),
        ('%%secure_call lambda invoke\n{"FunctionName": "x", P', ['"Payload": ']),
        ('%%secure_call lambda invoke\n{"FunctionName": {"P', []),
        ("x = 1\nr = secure_call('lo", ["logs"]),
        ("secure_call('lambda', \"inv", ["invoke"]),
        ("secure_call('lambda', 'invoke', FunctionName='x', P", ["Payload="]),
        ("secure_call(name, 'inv", []),
        ("print('P", []),
    ],
)
def test_completion(cell: str, found: list[str]) -> None:
    assert call_candidates(cell.split("\n"), models)[1] == found


def test_completion_without_a_sidecar_offers_options_only() -> None:
    assert call_candidates(["%secure_call "], lambda *_: None)[1] == []
    assert call_candidates(["%secure_call --"], lambda *_: None)[1] == list(OPTIONS)


ANSWER = {
    "Name": "<script>alert(1)</script>\x1b[31m",
    "When": datetime(2024, 2, 3, tzinfo=UTC),
    "Raw": b"\xff\x00",
    "Text": b"hello",
    "ResponseMetadata": {"RequestId": "r-1", "HTTPStatusCode": 200},
}


def result(**changes: object) -> CallResult:
    facts = {"service": "lambda", "operation": "Invoke", "record_id": "k-1", "duration": 0.25}
    return CallResult(ANSWER, CallFacts(**{**facts, **changes}))  # type: ignore[arg-type]


def test_a_result_is_a_dictionary_that_shows_itself() -> None:
    found = result(files=(WrittenFile("a.csv", 3, "0" * 64),), redactions={"prod": 2})
    assert found["Text"] == b"hello"
    assert json.dumps({**found}, default=str)
    text, html = found._repr_mimebundle_().values()
    assert text == repr(found)
    assert "lambda.Invoke: done, 0.25 s, 2 redacted (prod ×2), record k-1" in text
    assert "saved a.csv (3 bytes)" in text
    assert '"Text": "hello"' in text
    assert '"Raw": "<2 bytes>"' in text
    assert '"When": "2024-02-03T00:00:00+00:00"' in text
    assert "r-1" not in text
    assert "\x1b" not in text + html
    assert "<script>" not in html


def test_a_query_selects() -> None:
    found = result()
    found.select(jmespath.compile("[Text, ResponseMetadata.RequestId]"))
    assert found.selected == [b"hello", "r-1"]
    assert '"r-1"' in repr(found)
    assert "When" not in repr(found)


def test_an_error_and_a_dry_run_show_as_such() -> None:
    refused = result(error=ServiceError("NoSuchKey", "There is none.", 404, "r-1"))
    assert not refused.ok
    assert "NoSuchKey: There is none." in repr(refused)
    assert "allowed (dry run" in repr(result(dry_run=True))


async def test_a_result_can_be_awaited() -> None:
    found = result()
    assert await found is found
