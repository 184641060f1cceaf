"""A person's approval for a command, between its plan and its start.

What was approved is what runs: the arguments are those of the plan, and whatever the command reads
is shown with its digest, which :func:`keyless_sidecar.execution.inputs.fix` asks for again when it
takes the files.  Used by :mod:`keyless_sidecar.execution.runner`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import Awaitable, Callable

from keyless.protocol.messages import Output, Reply
from keyless_sidecar.approvals import Approvals, QuestionFile, Scope
from keyless_sidecar.execution.inputs import MOST_APPROVED, sha256_of
from keyless_sidecar.execution.planning import Ended, Plan
from keyless_sidecar.execution.stdin import standard_input
from keyless_sidecar.flow import Flow
from keyless_sidecar.tools import CheckedFile, shown
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

__all__ = ["approved", "scope_of"]

WAITING = "keyless: waiting for approval …\n"


def scope_of(
    flow: Flow,
    tool: str,
    record_id: str,
    approvals: Approvals,
    send: Callable[[Reply], Awaitable[None]],
) -> Scope:
    """What the approvals of one command cover."""
    request = flow.request

    async def tell() -> None:
        await flow.credit.take(len(WAITING.encode()))
        await send(Output(id=request.id, stream="stderr", data=WAITING))

    return Scope(
        approvals,
        tool=tool,
        record=record_id,
        cell={
            "cell_hash": request.cell.cell_hash,
            "execution_count": request.cell.execution_count,
        },
        cancelled=flow.cancelled,
        tell=tell,
    )


async def approved(plan: Plan, flow: Flow, scope: Scope, workspace: WorkspaceRoot) -> Plan:
    """The plan, once a person has approved it, with what it reads held to what was shown.

    A dry run asks nobody.

    Raises:
        Ended: denied, not answered in time, cancelled, or an input can't be had.
        AuditUnavailable: question or answer can't be recorded.
    """
    if refusal := scope.refusal(plan.checked.argv, plan.asks):
        raise Ended("PolicyDenied", refusal, plan.rule)
    if flow.request.dry_run:
        return plan
    files = [await _standard_input(flow)] if flow.stdin is not None else []
    if flow.keyboard is not None:
        files.append(QuestionFile("(what is typed)", 0, ""))
    checked: list[CheckedFile] = []
    for file in plan.checked.files:
        one = await asyncio.to_thread(_digested, file, workspace)
        checked.append(one)
        if file.use != "write":
            files.append(QuestionFile(one.path or ".", one.size, one.sha256))
    answer = await scope.command(plan.checked.argv, plan.asks, files)
    if not answer.approved:
        raise Ended(answer.kind, answer.reason, answer.rule)
    return dataclasses.replace(
        plan,
        approval=answer.approval,
        checked=dataclasses.replace(plan.checked, files=tuple(checked)),
    )


async def _standard_input(flow: Flow) -> QuestionFile:
    """All of it must be there: nobody can approve what is still to come."""
    descriptor = await standard_input(flow)
    if descriptor is None:
        return QuestionFile("(standard input)", 0, hashlib.sha256(b"").hexdigest())
    try:
        digest = await asyncio.to_thread(sha256_of, descriptor)
        return QuestionFile("(standard input)", os.fstat(descriptor).st_size, digest)
    finally:
        os.close(descriptor)


def _digested(file: CheckedFile, workspace: WorkspaceRoot) -> CheckedFile:
    """A file with its content's digest; folders are named only."""
    if file.use != "read":
        return file
    try:
        descriptor = workspace.open_read(file.path, max_size=MOST_APPROVED)
    except WorkspaceError as error:
        raise Ended(
            "InvalidRequest", f"The file {shown(file.path)} {error.message}.", "files.approval"
        ) from None
    try:
        size = os.fstat(descriptor).st_size
        return dataclasses.replace(file, size=size, sha256=sha256_of(descriptor))
    finally:
        os.close(descriptor)
