"""Fuzz target: what the kernel side sends, through frames, decoder, gatekeeper and flow.

A value is a list of byte strings: the pieces in which a connection's bytes arrive.  Whatever they
are, the sidecar's end answers with messages or ends the connection by a known exception, holds at
most one frame, and sees the same messages however the bytes are cut.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import strategies as st

from keyless.protocol.calls import Call, Describe
from keyless.protocol.frames import MAX_FRAME, ProtocolError, encode, request_reader
from keyless.protocol.messages import (
    MAX_STDIN_BYTES,
    Cancel,
    CellInfo,
    CloseSession,
    Credit,
    Exec,
    Hello,
    Keys,
    OpenSession,
    Request,
    Resize,
    StatusQuery,
    Stdin,
    Terminal,
)
from keyless_sidecar.dispatch import Gatekeeper, Violation
from keyless_sidecar.flow import Flow, FlowError

_ids = st.one_of(st.integers(1, 9), st.integers(1, 2**53))
_text = st.text(max_size=12)
_names = st.text(min_size=1, max_size=12)
_messages: st.SearchStrategy[Request] = st.one_of(
    st.builds(Hello, version=st.sampled_from([1, 1, 1, 0, 2**40])),
    st.builds(
        Exec,
        id=_ids,
        tool=_names,
        argv=st.lists(_text, max_size=4),
        credentials=st.none() | st.lists(_names, max_size=3),
        timeout=st.none() | st.floats(),
        isolated=st.booleans(),
        cwd=_text,
        stdin_size=st.none() | st.integers(0, 40) | st.just(MAX_STDIN_BYTES),
        dry_run=st.booleans(),
        terminal=st.none() | st.builds(Terminal),
        refused=_text,
        cell=st.builds(CellInfo, execution_count=st.integers(0, 5), cell_hash=_text),
    ),
    st.builds(Stdin, id=_ids, data=st.binary(max_size=50)),
    st.builds(Keys, id=_ids, data=st.binary(min_size=1, max_size=50)),
    st.builds(Resize, id=_ids, rows=st.integers(1, 500), columns=st.integers(1, 500)),
    st.builds(Cancel, id=_ids),
    st.builds(Credit, id=_ids, size=st.integers(1, 2**31)),
    st.builds(StatusQuery, id=_ids),
    st.builds(Describe, id=_ids, service=_text, operation=_text),
    st.builds(
        Call,
        id=_ids,
        service=_names,
        operation=_names,
        parameters=st.dictionaries(
            _text, _text | st.binary(max_size=9) | st.lists(st.integers(0, 9), max_size=3)
        ),
        timeout=st.none() | st.floats(),
        save=st.dictionaries(_names, _names, max_size=2),
        wait=_text,
    ),
    st.builds(
        OpenSession,
        id=_ids,
        credential=_names,
        seconds=st.sampled_from([900, 43200, 899, 43201]),
        policy=st.none() | _text,
        operations=st.none() | st.lists(_names, max_size=3),
        cell=st.builds(CellInfo, execution_count=st.integers(0, 5), cell_hash=_text),
    ),
    st.builds(CloseSession, id=_ids, session=_names),
)


def _frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _packed(value: object) -> bytes:
    return _frame(msgspec.msgpack.encode(value))


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), _text, st.binary()
)
_trees = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "id", "tool", "argv", "version", "data", "size", "x"]), inner
        )
    ),
    max_leaves=12,
)
_almost = st.builds(
    lambda tag, rest: {**rest, "type": tag},
    st.sampled_from(
        ["hello", "exec", "stdin", "keys", "resize", "cancel", "credit", "status?", "finished", ""]
    ),
    st.dictionaries(st.sampled_from(["id", "tool", "argv", "version", "size", "data"]), _scalars),
)
#: Whole frames, right, nearly right, or of nonsense; and bytes that are none.
_frames = st.one_of(
    _messages.map(encode),
    _almost.map(_packed),
    _trees.map(_packed),
    st.binary(max_size=40).map(_frame),
    st.binary(max_size=20),
    st.builds(lambda n: struct.pack(">I", n), st.sampled_from([0, 1, MAX_FRAME, MAX_FRAME + 1])),
)


def _cut(whole: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, *(place % (len(whole) + 1) for place in places), len(whole)})
    return [whole[a:b] for a, b in pairwise(marks)]


@st.composite
def _streams(draw: st.DrawFn) -> list[bytes]:
    frames = draw(st.lists(_frames, max_size=8))
    if draw(st.integers(0, 3)):
        frames.insert(0, encode(Hello(version=1)))
    whole = bytearray(b"".join(frames))
    for _ in range(draw(st.integers(0, 2)) if whole else 0):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return _cut(bytes(whole), draw(st.lists(st.integers(0, 4000), max_size=6)))


STRATEGY = _streams()


def connection(pieces: Sequence[bytes]) -> tuple[list[Request], str]:
    """The admitted messages of one connection, and why it ended (empty: it has not)."""
    reader, keeper, flows = request_reader(), Gatekeeper(), dict[int, Flow]()
    admitted: list[Request] = []
    try:
        for piece in pieces:
            for message in reader.feed(piece):
                keeper.admit(message)
                admitted.append(message)
                if isinstance(message, Exec):
                    flows[message.id] = Flow(message)
                elif isinstance(message, Stdin) and (flow := flows.get(message.id)):
                    flow.feed_stdin(message.data)
                elif isinstance(message, Keys) and (flow := flows.get(message.id)):
                    flow.typing().press(message.data)
                elif isinstance(message, Resize) and (flow := flows.get(message.id)):
                    flow.typing().resize(message.rows, message.columns)
                elif isinstance(message, Credit) and (flow := flows.get(message.id)):
                    flow.credit.add(message.size)
            assert reader.pending < 4 + MAX_FRAME, "more than a frame is held"
    except (ProtocolError, Violation, FlowError) as error:
        assert len(str(error)) < 2000, "a reason without end"
        return admitted, type(error).__name__
    finally:
        for flow in flows.values():
            flow.close()
    return admitted, ""


def check(pieces: list[bytes]) -> None:
    """All that must hold for one connection's bytes."""
    admitted, end = connection(pieces)
    whole = b"".join(pieces)
    assert connection([whole]) == (admitted, end) or _holds_nan(admitted), "cutting matters"
    for message in admitted:
        again = list(request_reader().feed(encode(message)))
        assert again == [message] or _holds_nan([message]), "a message that is not what it says"
    if admitted:
        assert isinstance(admitted[0], Hello), "something came before hello"
        assert sum(isinstance(message, Hello) for message in admitted) == 1
    fresh = Exec | StatusQuery | Call | Describe | OpenSession | CloseSession
    asked = [m.id for m in admitted if isinstance(m, fresh)]
    assert asked == sorted(set(asked)), "a request id came twice"


def _holds_nan(messages: list[Request]) -> bool:
    return any(isinstance(m, Exec | Call) and m.timeout != m.timeout for m in messages)
