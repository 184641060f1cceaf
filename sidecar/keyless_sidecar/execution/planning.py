"""Whether a request may run, and how: from an ``Exec`` to a :class:`Plan` or an :class:`Ended`.

No value of a credential is fetched here, nothing is started, nothing is recorded; that is
:mod:`keyless_sidecar.execution.runner`'s part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from keyless.protocol.messages import MAX_ARGV_BYTES, Exec, FailureKind
from keyless_sidecar.execution.deciding import decide
from keyless_sidecar.execution.delivery import select
from keyless_sidecar.execution.time_limits import time_limit
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.policy.engine import CedarPolicy
from keyless_sidecar.tools import Checked, CheckedFile, Refused, Tool, check, missing_tool
from keyless_sidecar.vault import EntryInfo
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot


class Ended(Exception):
    """The request is over before its command ran.

    Args:
        kind: as in the protocol's ``Failed``.
        message: one sentence for the cell.
        rule: what decided, for the audit.
    """

    def __init__(self, kind: FailureKind, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.rule = rule


@dataclasses.dataclass(frozen=True)
class Plan:
    """An allowed request.

    Args:
        tool: what runs.
        checked: its arguments as they were understood.
        cwd: folder relative to the workspace.
        timeout: seconds.
        credentials: entries that it gets, without values.
        rule: of the policy, that allows it.
        asks: what a person must approve before it runs, with the decision on each.
        approval: id of that approval, once there is one.
    """

    tool: Tool
    checked: Checked
    cwd: str
    timeout: float
    credentials: tuple[EntryInfo, ...]
    rule: str
    asks: tuple[tuple[Decision, Act], ...] = ()
    approval: str = ""

    def files(self) -> tuple[CheckedFile, ...]:
        """What it reads and writes in the workspace, its working folder first."""
        return (CheckedFile(self.cwd, "folder"), *self.checked.files)


class Planner:
    """Decides on requests.  May be called in any thread; it looks at the workspace and blocks.

    Args:
        tools: declared tools by name.
        workspace: for what arguments name.
        policy: says what may be done.
        allow_not_isolated: whether ``isolated=False`` may run.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        workspace: WorkspaceRoot,
        policy: CedarPolicy,
        *,
        allow_not_isolated: bool,
    ) -> None:
        self._tools = tools
        self._workspace = workspace
        self._policy = policy
        self._allow_not_isolated = allow_not_isolated

    def plan(self, request: Exec, infos: Sequence[EntryInfo]) -> Plan:
        """Decide.

        Args:
            request: as it came.
            infos: what the vault holds.

        Raises:
            Ended: it may not run.
        """
        if request.refused:  # the magics could make no request of it; it is on record all the same
            raise Ended("InvalidRequest", request.refused, "request.malformed")
        tool = self._tools.get(request.tool)
        if tool is None:
            raise Ended("ToolNotFound", missing_tool(request.tool, self._tools), "tools.missing")
        try:
            timeout = time_limit(request.timeout, tool.timeout)
        except Refused as refused:
            raise Ended(refused.kind, refused.message, refused.rule) from None
        if sum(len(argument.encode()) for argument in request.argv) > MAX_ARGV_BYTES:
            raise Ended(
                "InvalidRequest",
                f"The arguments are longer than {MAX_ARGV_BYTES} bytes: put the value into a file "
                "and pass file://NAME.",
                "request.argv",
            )
        if request.terminal is not None and request.stdin_size is not None:
            raise Ended(
                "InvalidRequest",
                "A command has a terminal or a standard input that is given beforehand, not both.",
                "request.terminal",
            )
        if not request.isolated and not self._allow_not_isolated:
            raise Ended(
                "PolicyDenied",
                "isolated=False is off; a person switches it on by "
                "c.Tools.allow_not_isolated = True.",
                "request.isolated",
            )
        cwd = self._folder(request.cwd)
        try:
            checked = check(tool, request.argv, self._workspace, cwd)
            credentials = select(tool, request.credentials, infos)
            decided = decide(self._policy, checked, tool, credentials, request)
        except Refused as refused:
            raise Ended(refused.kind, refused.message, refused.rule) from None
        return Plan(tool, checked, cwd, timeout, credentials, decided.rule, decided.asks)

    def _folder(self, cwd: str) -> str:
        if not cwd:
            return ""
        try:
            rel = self._workspace.relative(cwd)
            os.close(self._workspace.folder(rel))
        except WorkspaceError as error:
            raise Ended(
                "InvalidRequest", f"The working folder {error.message}.", "request.cwd"
            ) from None
        return rel


def dry_run_notes(plan: Plan) -> list[str]:
    """What would happen, one sentence each."""
    names = ", ".join(info.name for info in plan.credentials) or "no credential"
    verdict = f"would be allowed by the rule {plan.rule}"
    if plan.asks:
        verdict = f"would wait for a person's approval, as the rule {plan.rule} wants"
    return [
        f"Dry run: {plan.checked.operation} {verdict}.",
        f"It would run {plan.tool.name} with {names} for at most {plan.timeout:g} s.",
    ]
