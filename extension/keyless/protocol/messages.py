"""What the two sides say to each other: the wire types, and nothing else.

The kernel side (``keyless.magics``) sends *requests*, the sidecar sends *replies*.  Every type is
closed: unknown fields, unknown tags and values out of range are errors, and the receiver closes
the connection.  Both sides import this file; it imports neither of them.

All times are in seconds, all sizes in bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from keyless.protocol.calls import Call, CallFinished, Describe, Description, Piece, Progress
from keyless.protocol.parts import CellInfo as CellInfo
from keyless.protocol.parts import Message as _Message
from keyless.protocol.parts import Name as Name
from keyless.protocol.parts import RequestId as RequestId
from keyless.protocol.parts import WrittenFile as WrittenFile

PROTOCOL_VERSION = 1

#: Largest argument vector (sum of all arguments) that a request may carry.
MAX_ARGV_BYTES = 256 * 1024
#: Largest standard input that a request may carry, over all its chunks.
MAX_STDIN_BYTES = 8 * 1024 * 1024
#: Largest piece of standard input in one message.
MAX_STDIN_CHUNK = 256 * 1024
#: Most that is typed in one message.
MAX_KEYS = 64 * 1024
#: Output that the sidecar sends before it waits for credit.
OUTPUT_WINDOW = 256 * 1024
#: Longest timeout that a request may name.
MAX_TIMEOUT = 24 * 3600.0
#: How long temporary keys may be valid: what STS itself takes.
MIN_SESSION, MAX_SESSION = 900, 12 * 3600
#: Longest session policy that STS takes, in characters.
MAX_SESSION_POLICY = 2048

Cells = Annotated[int, Meta(ge=1, le=500)]


# --------------------------------------------------------------------------- kernel → sidecar


class Hello(_Message, frozen=True, tag="hello"):
    """First message on a connection, sent once."""

    version: int


class Terminal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The terminal that a command is to have; its size in characters."""

    rows: Cells = 24
    columns: Cells = 80


class Exec(_Message, frozen=True, tag="exec"):
    """Run one command with a declared tool.

    ``id`` must be larger than that of every earlier request on the connection, so that a recorded
    request can't be played back.
    """

    id: RequestId
    tool: Name
    argv: Annotated[list[str], Meta(max_length=16384)]
    #: Names of vault entries; ``None`` means those that the tool is bound to.
    credentials: Annotated[list[Name], Meta(max_length=16)] | None = None
    #: Seconds; ``None`` means the tool's default.
    timeout: float | None = None
    isolated: bool = True
    #: Folder relative to the workspace.
    cwd: Annotated[str, Meta(max_length=4096)] = ""
    #: Bytes of standard input that follow in ``Stdin`` messages; ``None`` means an empty one.
    stdin_size: Annotated[int, Meta(ge=0, le=MAX_STDIN_BYTES)] | None = None
    dry_run: bool = False
    #: The command gets a terminal, whose keys come in ``Keys`` messages; then there is no
    #: ``stdin_size``, and all output is ``stdout``.
    terminal: Terminal | None = None
    #: Why the kernel side itself refuses the request (text that can't be split, an argument too
    #: long to send): such a request is recorded and answered with ``Failed``, and never runs.
    refused: Annotated[str, Meta(max_length=1024)] = ""
    cell: CellInfo = CellInfo()


class Stdin(_Message, frozen=True, tag="stdin"):
    """A piece of the standard input that an ``Exec`` announced."""

    id: RequestId
    data: Annotated[bytes, Meta(max_length=MAX_STDIN_CHUNK)]


class Keys(_Message, frozen=True, tag="keys"):
    """What is typed on the terminal of an ``Exec`` that asked for one."""

    id: RequestId
    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_KEYS)]


class Resize(_Message, frozen=True, tag="resize"):
    """The terminal of an ``Exec`` that asked for one has another size now."""

    id: RequestId
    rows: Cells
    columns: Cells


class Cancel(_Message, frozen=True, tag="cancel"):
    """End a running request; it still gets its ``Finished`` or ``Failed``."""

    id: RequestId


class Credit(_Message, frozen=True, tag="credit"):
    """Allow ``size`` more bytes of output for a request."""

    id: RequestId
    size: Annotated[int, Meta(ge=1, le=2**31)]


class StatusQuery(_Message, frozen=True, tag="status?"):
    """Ask for what ``%keyless`` shows."""

    id: RequestId


class OpenSession(_Message, frozen=True, tag="open_session"):
    """Ask for temporary keys of a credential, which the kernel itself will hold.

    What they may do is said by ``policy`` or by ``operations``; where neither is given, by what
    this kernel's commands did with the credential lately.
    """

    id: RequestId
    #: Name of the vault entry.
    credential: Name
    #: How long the keys are valid.
    seconds: Annotated[int, Meta(ge=MIN_SESSION, le=MAX_SESSION)] = MIN_SESSION
    #: An IAM policy as JSON.
    policy: Annotated[str, Meta(max_length=MAX_SESSION_POLICY)] | None = None
    #: ``service:Operation``, as the API calls them.
    operations: Annotated[list[Name], Meta(min_length=1, max_length=64)] | None = None
    cell: CellInfo = CellInfo()


class CloseSession(_Message, frozen=True, tag="close_session"):
    """End a session before its time."""

    id: RequestId
    session: Name


Request = (
    Hello
    | Exec
    | Stdin
    | Keys
    | Resize
    | Cancel
    | Credit
    | StatusQuery
    | Call
    | Describe
    | OpenSession
    | CloseSession
)

# --------------------------------------------------------------------------- sidecar → kernel

#: What went wrong, as the exceptions of :mod:`keyless.protocol.errors` name it.
FailureKind = Literal[
    "PolicyDenied",
    "ApprovalTimeout",
    "CommandTimeout",
    "CommandCancelled",
    "ToolNotFound",
    "InvalidRequest",
    "OutputLimitExceeded",
    "LimitExceeded",
    "SidecarUnavailable",
]


class Welcome(_Message, frozen=True, tag="welcome"):
    """Answer to ``Hello``."""

    version: int
    kernel_id: str
    level: str


class Started(_Message, frozen=True, tag="started"):
    """The command was allowed, is on record, and its child has been started."""

    id: RequestId
    record_id: str


class Output(_Message, frozen=True, tag="output"):
    """Sanitized UTF-8 text from the command; never splits a character."""

    id: RequestId
    stream: Literal["stdout", "stderr"]
    data: str


class Waiting(_Message, frozen=True, tag="waiting"):
    """The command on the terminal has fallen silent; it may be waiting for keys.

    A guess, from time and from the state of its process.  It comes again when ``echo`` changes.
    """

    id: RequestId
    #: Whether what is typed will be shown; not while a password is asked for.
    echo: bool


class Finished(_Message, frozen=True, tag="finished"):
    """The command ended by itself."""

    id: RequestId
    exit_code: int
    #: Wall time from the child's start to its end.
    duration: float
    record_id: str
    #: How many values were replaced, by name of the credential or detector.
    redactions: dict[str, int] = {}
    files: list[WrittenFile] = []
    #: One sentence each: what the user should know (a file withheld, output not UTF-8, …).
    notes: list[str] = []


class Failed(_Message, frozen=True, tag="failed"):
    """The request was refused, or the command was ended."""

    id: RequestId
    kind: FailureKind
    #: One sentence that says what is wrong and what to do instead.
    message: str
    record_id: str = ""
    duration: float = 0.0
    redactions: dict[str, int] = {}


class ToolInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declared tool, as ``%keyless tools`` shows it and completion uses it."""

    name: str
    path: str
    delivery: str
    credentials: list[str]
    description: str
    #: In plain words: who holds the credential, and for how long.
    exposure: str
    #: Words that complete the first argument.
    subcommands: list[str] = []


class CredentialInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vault entry by name.  Never a value."""

    name: str
    kind: str
    delivery: str
    source: str


class Status(_Message, frozen=True, tag="status"):
    """Answer to ``StatusQuery``."""

    id: RequestId
    kernel_id: str
    level: str
    #: One sentence for each guarantee, or each that this level lacks.
    guarantees: list[str]
    workspace: str
    tools: list[ToolInfo]
    credentials: list[CredentialInfo]
    commands: int
    audit_records: int


class SessionOpened(_Message, frozen=True, tag="session_opened"):
    """Temporary keys: the only message that carries a real credential to the kernel side.

    It is sent only where a person has switched that on for the credential.
    """

    id: RequestId
    #: Names the session in ``CloseSession`` and in the audit.
    session: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    #: When AWS stops to accept them (UTC, ISO format).
    expires: str
    #: Role session name and source identity: what CloudTrail shows.
    name: str
    #: The entry's region, empty where it names none.
    region: str
    #: What they may do at most, as IAM's actions.
    actions: list[str]
    #: In plain words: what is exposed, to whom, for how long.
    exposure: str
    record_id: str


class SessionClosed(_Message, frozen=True, tag="session_closed"):
    """The sidecar has forgotten a session."""

    id: RequestId
    session: str
    #: Whether AWS refuses the keys from now on; otherwise they end when they expire.
    revoked: bool
    #: One sentence for the person.
    message: str
    record_id: str


Reply = (
    Welcome
    | Started
    | Output
    | Waiting
    | Finished
    | Failed
    | Status
    | Piece
    | Progress
    | CallFinished
    | Description
    | SessionOpened
    | SessionClosed
)
