"""Calls of an SDK that the sidecar makes for a cell: their messages, and how values are coded.

Parameters and answers are MessagePack values: texts, numbers, flags, bytes, points in time, lists,
and mappings with text keys.  A parameter that is to be read from a workspace file is an extension
value (:func:`file_reference`); a text is always just that text.

All times are in seconds, all sizes in bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keyless.protocol.parts import CellInfo, Message, Name, RequestId, WrittenFile

#: Largest encoded parameters that a call may carry; larger content comes from workspace files.
MAX_PARAMETERS = 512 * 1024
#: How deep parameters may be nested.
MAX_NESTING = 32
#: Largest encoded answer, over all its pieces.
MAX_ANSWER = 16 * 1024 * 1024
#: Largest piece of an answer in one message.
MAX_PIECE = 64 * 1024
#: The tool's name of such calls in policy, audit and bindings.
SDK = "sdk"

#: Codes of extension values: the file's content as text, or as bytes.
_TEXT, _BYTES = 1, 2


class Call(Message, frozen=True, tag="call"):
    """Call one operation of a service.

    ``id`` grows as that of an ``Exec`` does.  Its answer comes in ``Piece`` messages before
    ``CallFinished``; they use up credit as output does.
    """

    id: RequestId
    service: Name
    operation: Name
    parameters: dict[str, Any] = {}
    #: Names of vault entries; ``None`` means the one that is bound to ``sdk``.
    credentials: Annotated[list[Name], Meta(max_length=16)] | None = None
    #: Empty: that of the credential.
    region: Annotated[str, Meta(max_length=64)] = ""
    timeout: float | None = None
    #: Follow the pages of the answer to their end, and put them together.
    paginate: bool = False
    #: A waiter of the service, polled after the call; empty: none.
    wait: Annotated[str, Meta(max_length=128)] = ""
    #: Member of the answer → workspace file that its content goes to.
    save: Annotated[
        dict[Name, Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(max_length=16)
    ] = {}
    #: Folder, relative to the workspace, that file names are relative to.
    cwd: Annotated[str, Meta(max_length=4096)] = ""
    dry_run: bool = False
    #: Why the kernel side itself refuses the call; it is recorded and never made.
    refused: Annotated[str, Meta(max_length=1024)] = ""
    cell: CellInfo = CellInfo()


class Describe(Message, frozen=True, tag="describe"):
    """Ask for names and documentation: of all services, of one, or of one operation."""

    id: RequestId
    service: Annotated[str, Meta(max_length=128)] = ""
    operation: Annotated[str, Meta(max_length=128)] = ""


# --------------------------------------------------------------------------- sidecar → kernel


class Piece(Message, frozen=True, tag="piece"):
    """The next bytes of a call's answer, which is one MessagePack value as a whole."""

    id: RequestId
    data: bytes


class Progress(Message, frozen=True, tag="progress"):
    """How far something that takes its time has come."""

    id: RequestId
    what: str
    done: int
    #: ``None`` where nobody knows.
    total: int | None = None
    unit: Literal["bytes", "attempts"] = "bytes"


class ServiceError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the service answered instead; ``status`` is 0 where it didn't come to an answer."""

    code: str
    message: str
    status: int = 0
    request_id: str = ""


class CallFinished(Message, frozen=True, tag="called"):
    """The call was made; all pieces of its answer went before."""

    id: RequestId
    #: As the API names them.
    service: str
    operation: str
    duration: float
    record_id: str
    #: Bytes of the answer; 0 where there is none (a dry run).
    size: int = 0
    error: ServiceError | None = None
    redactions: dict[str, int] = {}
    files: list[WrittenFile] = []
    notes: list[str] = []


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One parameter of an operation."""

    name: str
    kind: str
    required: bool
    text: str


class Description(Message, frozen=True, tag="description"):
    """Answer to ``Describe``; empty where there is no such service or operation."""

    id: RequestId
    #: Services, or operations of a service.
    names: list[str] = []
    waiters: list[str] = []
    #: As the API names them.
    service: str = ""
    operation: str = ""
    text: str = ""
    parameters: list[Parameter] = []
    #: Members of the answer that are content, which can be saved into files.
    content: list[str] = []
    paginates: bool = False


def file_reference(path: str, *, text: bool) -> msgspec.msgpack.Ext:
    """A parameter that is read from a workspace file.

    Args:
        path: absolute in the sandbox, or relative to the call's ``cwd``.
        text: whether its content is text (or JSON, where the parameter has structure).
    """
    return msgspec.msgpack.Ext(_TEXT if text else _BYTES, path.encode())


def read_reference(value: object) -> tuple[str, bool] | None:
    """The path and ``text`` of a file reference; None where ``value`` is none.

    Raises:
        UnicodeDecodeError: the path isn't UTF-8.
    """
    if not isinstance(value, msgspec.msgpack.Ext) or value.code not in (_TEXT, _BYTES):
        return None
    return bytes(value.data).decode(), value.code == _TEXT
