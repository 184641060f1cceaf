"""What a hostile kernel may send to the host API: nothing of it is believed, nothing breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless import CommandCancelled, PolicyDenied
from keyless.host import CellResult, NeedsSidecarMachine, SandboxDied, SandboxError, SecureSandbox
from keyless.host.answers import value_of
from keyless.host.inbox import Inbox
from keyless.host.outputs import output_from

MIME = "application/vnd.keyless.answer+json"
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_names = st.sampled_from(
    ["stream", "display_data", "execute_result", "error", "status", "execute_reply"]
)
_contents = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("text", "name", "data", "ename", "traceback", "execution_state", "evalue"), _json
    ),
)


def reply(found: Any) -> dict[str, Any]:
    return {"content": {"user_expressions": {"answer": found}}}


@given(_names, _contents | _json)
def test_any_message_is_an_output_or_none(name: str, content: Any) -> None:
    output = output_from({"msg_type": name, "content": content})
    if output is not None:
        result = CellResult.of([output, output], 1, truncated=False)
        assert isinstance(result.text, str)
        assert isinstance(result.images, tuple)


@given(_json)
def test_an_answer_of_another_form_is_an_error(value: Any) -> None:
    for message in (None, {"content": value}, reply(value), reply({"data": {MIME: [value]}})):
        with pytest.raises(SandboxError):
            value_of(message, "answer")


def test_errors_come_through_with_their_records() -> None:
    said = {"error": "PolicyDenied", "message": "no", "record_id": "k-1"}
    with pytest.raises(PolicyDenied, match="no") as caught:
        value_of(reply({"data": {MIME: said}}), "answer")
    assert caught.value.record_id == "k-1"
    with pytest.raises(CommandCancelled):
        value_of(reply({"ename": "KeyboardInterrupt"}), "answer")


async def test_messages_go_to_their_request_and_no_other() -> None:
    inbox = Inbox()
    mine, other = inbox.open("mine"), inbox.open("other")
    for parent in ({"msg_id": "mine"}, {"msg_id": "nobody"}, {"msg_id": ["mine"]}, None):
        inbox.deliver({"msg_type": "stream", "parent_header": parent, "content": {}})
    assert (await mine.next() or {})["parent_header"] == {"msg_id": "mine"}
    inbox.fail("the kernel has ended")
    for request in (mine, other):
        with pytest.raises(SandboxDied):
            await request.next()
        assert request.done
    with pytest.raises(SandboxDied):
        inbox.open("later")


def test_a_remote_sandbox_takes_nothing_that_is_the_server_s() -> None:
    url = "http://127.0.0.1:1"
    for options in (
        {"workspace": "/somewhere"},
        {"credentials": [{"name": "a"}]},
        {"passphrase": "a"},
        {"on_approval": lambda _: True},
    ):
        with pytest.raises(NeedsSidecarMachine):
            SecureSandbox(server_url=url, **options)  # type: ignore[arg-type]
    for url in ("file:///etc", "127.0.0.1:8888", "https://"):
        with pytest.raises(SandboxError, match="http"):
            SecureSandbox(server_url=url)
