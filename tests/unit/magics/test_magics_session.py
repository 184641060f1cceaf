"""Sessions on the kernel's side: what is sent, what is shown, and what they refuse afterwards."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from keyless import secure_session
from keyless.magics.client import SidecarClient
from keyless.protocol.errors import InvalidRequest, PolicyDenied, SidecarUnavailable
from keyless.protocol.messages import (
    Cancel,
    CloseSession,
    Failed,
    OpenSession,
    SessionClosed,
    SessionOpened,
)

if TYPE_CHECKING:
    from .conftest import FakeSidecar

KEYS = {
    "AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "sEcReT/wJalrXUtnFEMI7MDENGbPxRfiCYEXAMPL",
    "AWS_SESSION_TOKEN": "tOkEn" * 40,
}


@pytest.fixture
def giving(channel: FakeSidecar) -> FakeSidecar:
    """A sidecar that gives a session to whoever asks."""

    def answer(request: OpenSession | CloseSession) -> None:
        if isinstance(request, OpenSession):
            channel.send(opened(request))
        else:
            channel.send(
                SessionClosed(
                    id=request.id,
                    session=request.session,
                    revoked=False,
                    message="The session is closed: AWS takes its keys until 12:00:00 UTC.",
                    record_id="k1-000008",
                )
            )

    channel.on_session = answer
    return channel


def opened(request: OpenSession, minutes: float = 15) -> SessionOpened:
    return SessionOpened(
        id=request.id,
        session="s1",
        access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        session_token=KEYS["AWS_SESSION_TOKEN"],
        expires=(datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds"),
        name="keyless-k1-0123456789ab-1",
        region="eu-central-1",
        actions=["lambda:UpdateFunctionCode"],
        exposure="Exposed: keys of the role <deploy>. To: all code. Until: 12:00:00 UTC.",
        record_id="k1-000007",
    )


def test_a_session_for_a_block(giving: FakeSidecar, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    with secure_session("deploy", operations=["lambda:UpdateFunctionCode"], minutes=20) as session:
        assert dict(session.environment) == {**KEYS, "AWS_DEFAULT_REGION": "eu-central-1"}
        made = session.boto3()
        assert made.get_credentials().get_frozen_credentials().token == KEYS["AWS_SESSION_TOKEN"]
        assert made.region_name == "eu-central-1"
        assert session.boto3(region_name="us-east-1").region_name == "us-east-1"
        assert session.open
        assert dict(os.environ) == before
    (request,) = giving.wait_for(OpenSession)
    assert (request.credential, request.seconds) == ("deploy", 1200)
    assert (request.operations, request.policy) == (["lambda:UpdateFunctionCode"], None)
    assert giving.wait_for(CloseSession)[0].session == "s1"
    assert not session.open
    for use in (lambda: session.environment, session.boto3, session.export, session.__enter__):
        with pytest.raises(InvalidRequest, match="closed"):
            use()
    assert session.close() == session.closed
    assert len(giving.wait_for(CloseSession)) == 1
    assert "To: all code." in capsys.readouterr().out


def test_no_representation_holds_a_key(giving: FakeSidecar) -> None:
    session = secure_session("deploy", policy='{"Statement": []}')
    for text in (repr(session), str(session), *session._repr_mimebundle_().values()):
        assert not any(value in text for value in KEYS.values())
    assert "&lt;deploy&gt;" in session._repr_mimebundle_()["text/html"]
    assert "keyless-k1-0123456789ab-1" in repr(session)
    assert giving.wait_for(OpenSession)[0].policy == '{"Statement":[]}'
    with pytest.raises(TypeError):
        pickle.dumps(session)
    session.close()
    assert "AWS takes its keys until" in repr(session)


def test_exported_keys_leave_the_environment_with_the_session(
    giving: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAKEYLESSABCDEFGHI")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with secure_session("deploy", operations="a:B, a:C").export().export():
        assert os.environ["AWS_SESSION_TOKEN"] == KEYS["AWS_SESSION_TOKEN"]
    assert os.environ["AWS_ACCESS_KEY_ID"] == "AKIAKEYLESSABCDEFGHI"
    assert "AWS_SESSION_TOKEN" not in os.environ
    assert giving.wait_for(OpenSession)[0].operations == ["a:B", "a:C"]


def test_the_blocks_own_error_is_the_one_that_is_seen(giving: FakeSidecar) -> None:
    def fail() -> None:
        with secure_session("deploy", operations="a:B"):
            giving.on_session = lambda request: giving.send(
                Failed(id=request.id, kind="SidecarUnavailable", message="no audit")
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert giving.wait_for(CloseSession)


def test_who_gives_up_says_so(channel: FakeSidecar, client: SidecarClient) -> None:
    with pytest.raises(TimeoutError):
        client.ask(lambda number: OpenSession(id=number, credential="deploy"), timeout=0.05)
    (request,) = channel.wait_for(OpenSession)
    assert channel.wait_for(Cancel)[0].id == request.id


def test_an_expired_session_refuses(channel: FakeSidecar) -> None:
    channel.on_session = lambda request: (
        channel.send(opened(request, minutes=-1)) if isinstance(request, OpenSession) else None
    )
    session = secure_session("deploy", operations="a:B")
    with pytest.raises(InvalidRequest, match="expired"):
        session.boto3()
    assert "expired" in repr(session)


def test_a_refusal_is_an_exception_with_its_record(channel: FakeSidecar) -> None:
    channel.on_session = lambda request: channel.send(
        Failed(id=request.id, kind="PolicyDenied", message="off", record_id="k1-000003")
    )
    with pytest.raises(PolicyDenied, match="off") as caught:
        secure_session("deploy", operations=["a:B"])
    assert caught.value.record_id == "k1-000003"


@pytest.mark.parametrize(
    "asked",
    [
        {"minutes": 14},
        {"minutes": 721},
        {"minutes": float("nan")},
        {"minutes": "15"},
        {"minutes": True},
        {"operations": []},
        {"operations": ["x" * 129]},
        {"operations": [1]},
        {"operations": ["a:B"], "policy": "{}"},
        {"policy": "no json"},
        {"policy": {"Statement": ["x" * 2048]}},
        {"credential": ""},
        {"credential": "x" * 129},
    ],
)
def test_what_cant_be_right_is_recorded_and_not_asked(
    channel: FakeSidecar, asked: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        secure_session(**{"credential": "deploy", **asked})
    assert caught.value.record_id
    assert channel.refusals()[0].tool == "session"
    assert not any(isinstance(each, OpenSession) for each in channel.requests)


def test_without_a_sidecar(no_channel: None) -> None:
    with pytest.raises(SidecarUnavailable):
        secure_session("deploy", operations=["a:B"])


def test_the_magic(giving: FakeSidecar, shell: InteractiveShell) -> None:
    with capture_output() as shown:
        shell.run_cell(
            "%secure_session deploy --minutes 30 --operations a:B,a:C --out one", store_history=True
        )
    (output,) = shown.outputs
    assert "To: all code." in output.data["text/plain"]
    assert "all code" in output.data["text/html"]
    (request,) = giving.wait_for(OpenSession)
    assert (request.seconds, request.operations) == (1800, ["a:B", "a:C"])
    assert request.cell.cell_hash
    assert shell.user_ns["one"].actions == ("lambda:UpdateFunctionCode",)
    shell.user_ns["narrow"] = {"Statement": []}
    shell.run_line_magic("secure_session", "deploy --policy narrow")
    assert giving.wait_for(OpenSession, 2)[1].policy == '{"Statement":[]}'


@pytest.mark.parametrize(
    "line",
    ["", "a b", "deploy --minutes", "deploy --minutes x", "deploy --odd", "deploy --policy gone",
     "deploy --out 1x", "deploy --policy a-b", "deploy 'open"],
)  # fmt: skip
def test_a_line_that_makes_no_sense(
    channel: FakeSidecar, shell: InteractiveShell, line: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shell.run_line_magic("secure_session", line)
    assert caught.value.record_id
    assert not any(isinstance(each, OpenSession) for each in channel.requests)


def test_the_magic_exports_only_when_it_is_told(
    giving: FakeSidecar, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*KEYS, "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    session = shell.run_line_magic("secure_session", "deploy --operations a:B --export")
    assert os.environ["AWS_ACCESS_KEY_ID"] == KEYS["AWS_ACCESS_KEY_ID"]
    session.close()
    assert "AWS_ACCESS_KEY_ID" not in os.environ
