"""The table of what the kernel side may say, and when."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless.protocol.messages import (
    Cancel,
    Credit,
    Exec,
    Hello,
    Keys,
    Request,
    Resize,
    StatusQuery,
    Stdin,
)
from keyless_sidecar.channel import Channel
from keyless_sidecar.dispatch import TABLE, Gatekeeper, State, Violation


def opened() -> Gatekeeper:
    gatekeeper = Gatekeeper()
    gatekeeper.admit(Hello(version=1))
    return gatekeeper


def test_every_request_type_is_in_the_table_and_has_a_handler() -> None:
    assert set(TABLE) == set(typing.get_args(Request))
    for permit in TABLE.values():
        assert callable(getattr(Channel, f"_{permit.handler}"))


@pytest.mark.parametrize(
    "message",
    [
        Exec(id=1, tool="t", argv=[]),
        StatusQuery(id=1),
        Stdin(id=1, data=b""),
        Keys(id=1, data=b"x"),
        Resize(id=1, rows=1, columns=1),
        Cancel(id=1),
        Credit(id=1, size=1),
    ],
)
def test_nothing_before_hello_and_nothing_after_the_end(message: Request) -> None:
    with pytest.raises(Violation, match="before hello"):
        Gatekeeper().admit(message)
    gatekeeper = opened()
    gatekeeper.close()
    with pytest.raises(Violation, match="closed"):
        gatekeeper.admit(message)


def test_hello_comes_once_and_in_our_version() -> None:
    with pytest.raises(Violation):
        opened().admit(Hello(version=1))
    with pytest.raises(Violation, match="version 2"):
        Gatekeeper().admit(Hello(version=2))


def test_ids_only_grow() -> None:
    gatekeeper = opened()
    gatekeeper.admit(Exec(id=3, tool="t", argv=[]))
    gatekeeper.admit(StatusQuery(id=10))
    for message in (Exec(id=10, tool="t", argv=[]), StatusQuery(id=4)):
        with pytest.raises(Violation, match="request id"):
            gatekeeper.admit(message)


def test_messages_for_requests_that_never_came() -> None:
    gatekeeper = opened()
    gatekeeper.admit(Exec(id=3, tool="t", argv=[]))
    gatekeeper.admit(Cancel(id=3))
    for message in (Cancel(id=4), Credit(id=4, size=1), Stdin(id=4, data=b"x")):
        with pytest.raises(Violation, match="never came"):
            gatekeeper.admit(message)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(Violation, match="nobody may send"):
        opened().admit(typing.cast("Request", object()))


_IDS = st.integers(1, 5)
_MESSAGES = st.one_of(
    st.builds(Hello, version=st.integers(0, 2)),
    st.builds(Exec, id=_IDS, tool=st.just("t"), argv=st.just([])),
    st.builds(StatusQuery, id=_IDS),
    st.builds(Cancel, id=_IDS),
    st.builds(Credit, id=_IDS, size=st.just(1)),
    st.builds(Stdin, id=_IDS, data=st.just(b"")),
)


@given(st.lists(_MESSAGES, max_size=20))
def test_whatever_is_admitted_follows_the_rules(messages: list[Request]) -> None:
    gatekeeper = Gatekeeper()
    fresh: list[int] = []
    for message in messages:
        try:
            gatekeeper.admit(message)
        except Violation:
            return
        if isinstance(message, Hello):
            assert gatekeeper.state is State.OPEN
            assert not fresh
        elif isinstance(message, Exec | StatusQuery):
            assert not fresh or message.id > max(fresh)
            fresh.append(message.id)
        else:
            assert message.id <= max(fresh)
