"""What the control API takes and gives: closed types, from which its description is made too.

All times are in seconds, unless a name says minutes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keyless.protocol.messages import (
    MAX_TIMEOUT,
    CredentialInfo,
    Name,
    ToolInfo,
    WrittenFile,
)
from keyless_sidecar.approvals.asking import MOST_MINUTES

Text = Annotated[str, Meta(max_length=4096)]
Argv = Annotated[list[Annotated[str, Meta(max_length=120_000)]], Meta(max_length=4096)]
Fields = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=65_536)]],
    Meta(min_length=1, max_length=32),
]
Names = Annotated[list[Name], Meta(max_length=16)]
Patterns = Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=64)]
Timeout = Annotated[float, Meta(gt=0, le=MAX_TIMEOUT)]
QuestionId = Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
#: An entry's name; two are addresses of the API.
ENTRY_NAME = "^(?!(?:exec|store)$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
EntryName = Annotated[str, Meta(pattern=ENTRY_NAME)]
RecordId = Annotated[str, Meta(pattern="^k[0-9a-f]{6}-[0-9]{6,12}$")]
Via = Literal["host", "terminal", "page"]
CredentialKind = Literal["aws", "token", "basic", "postgres", "file", "generic"]


class _Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown fields are errors."""


# ----------------------------------------------------------------------- asked


class Approve(_Closed, frozen=True):
    """Say yes to a question."""

    id: QuestionId
    #: Allow the same acts for so long too; left out: this once.
    minutes: Annotated[float, Meta(gt=0, le=MOST_MINUTES)] | None = None
    via: Via = "host"


class Deny(_Closed, frozen=True):
    """Say no to a question."""

    id: QuestionId
    #: For the cell.
    reason: Annotated[str, Meta(max_length=500)] = ""
    via: Via = "host"


class Stop(_Closed, frozen=True):
    """End a command that runs."""

    #: The command's first audit record.
    record_id: RecordId
    via: Via = "host"


class Store(_Closed, frozen=True):
    """Register a credential for this kernel; it lives in memory only."""

    name: EntryName
    kind: CredentialKind
    fields: Fields
    tools: Names
    delivery: Literal["", "proxy", "env", "file"] = ""
    hosts: Patterns = []
    paths: Patterns = []
    places: Patterns = []
    file: Annotated[str, Meta(max_length=512)] = ""

    def __repr__(self) -> str:
        return f"Store({self.name!r}, {self.kind!r})"


class _Run(_Closed, frozen=True, kw_only=True):
    credentials: Names | None = None
    timeout: Timeout | None = None
    #: Folder relative to the workspace.
    cwd: Text = ""
    #: Standard input, as text.
    stdin: Annotated[str, Meta(max_length=2 * 1024 * 1024)] | None = None
    isolated: bool = True
    dry_run: bool = False


class VaultExec(_Run, frozen=True, kw_only=True):
    """Run a declared tool with credentials of the vault."""

    tool: Name
    argv: Argv


class PlatformExec(_Run, frozen=True, kw_only=True):
    """Run one line, split into words without a shell; the first word is the tool."""

    command: Annotated[str, Meta(min_length=1, max_length=256 * 1024)]


class CommandSource(_Closed, frozen=True, tag_field="from", tag="command"):
    """A program that prints the credential; it must be one that only the person can change."""

    argv: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(min_length=1)]
    #: Field of the credential → member of the JSON object that is printed.
    fields: Annotated[dict[str, str], Meta(max_length=32)] = {}
    #: Seconds that the program may take.
    timeout: Annotated[float, Meta(gt=0, le=60)] = 30.0


class FieldSource(_Closed, frozen=True, tag_field="from", tag="fields"):
    """The credential itself."""

    fields: Fields

    def __repr__(self) -> str:
        return "FieldSource(…)"


class JitExec(_Closed, frozen=True, kw_only=True):
    """Run a command with a credential that is fetched for it and forgotten after it."""

    #: One line; or else ``tool`` and ``argv``.
    command: Annotated[str, Meta(max_length=256 * 1024)] = ""
    tool: Annotated[str, Meta(max_length=128)] = ""
    argv: Argv = []
    #: A program that prints it, or the credential itself.
    source: CommandSource | FieldSource
    kind: CredentialKind = "aws"
    delivery: Literal["", "proxy", "env", "file"] = ""
    hosts: Patterns = []
    file: Annotated[str, Meta(max_length=512)] = ""
    timeout: Timeout | None = None
    cwd: Text = ""
    stdin: Annotated[str, Meta(max_length=2 * 1024 * 1024)] | None = None
    isolated: bool = True
    dry_run: bool = False


# --------------------------------------------------------------------- answered


class Failure(_Closed, frozen=True):
    """Why it wasn't done."""

    #: A failure of the protocol (``PolicyDenied``, …), or of the request itself.
    error: str
    #: One sentence.
    message: str
    #: The audit record, where there is one.
    record_id: str = ""


class Done(_Closed, frozen=True):
    """It was done."""

    ok: Literal[True] = True


class Stored(_Closed, frozen=True):
    """The name of what is in the vault now."""

    name: str


class Result(_Closed, frozen=True):
    """A command that ran to its end."""

    exit_code: int
    stdout: str
    stderr: str
    duration: float
    record_id: str
    redactions: dict[str, int]
    files: list[WrittenFile]
    notes: list[str]


class FileShown(_Closed, frozen=True):
    """What the command reads."""

    path: str
    size: int
    #: Empty for a folder, and for what is typed later.
    sha256: str


class ActShown(_Closed, frozen=True):
    """One thing that would be done, as it was understood."""

    action: str
    credential: str
    mutating: bool
    rule: str
    facts: dict[str, str]
    parameters: dict[str, str]
    unknown_parameters: list[str]


class PendingQuestion(_Closed, frozen=True):
    """A question that waits for a person."""

    id: str
    tool: str
    #: The arguments, or the words of an operation, as they will be used.
    shown: list[str]
    acts: list[ActShown]
    rule: str
    reason: str
    record_id: str
    execution_count: int
    cell_hash: str
    files: list[FileShown]
    #: Whether it can be allowed for some minutes, or just once.
    grantable: bool
    asked: str
    seconds_left: float


class PendingQuestions(_Closed, frozen=True):
    """All questions, oldest first."""

    pending: list[PendingQuestion]


class Running(_Closed, frozen=True):
    """A command under way."""

    record_id: str
    tool: str
    argv: list[str]
    credentials: list[str]
    origin: str
    #: Of the cell, as the kernel's side says; 0 where it comes from none.
    execution_count: int
    seconds: float


class KernelStatus(_Closed, frozen=True):
    """The kernel, its tools and credentials by name, and what is under way."""

    kernel_id: str
    #: Path of the notebook, as the Jupyter server named it at the start; empty where it didn't.
    notebook: str
    level: str
    guarantees: list[str]
    workspace: str
    tools: list[ToolInfo]
    credentials: list[CredentialInfo]
    commands: int
    audit_records: int
    #: Listeners who may answer questions.
    approvers: int
    pending: int
    running: list[Running]


class AuditRecords(_Closed, frozen=True):
    """The last records of this kernel, oldest first."""

    records: list[dict[str, Any]]
