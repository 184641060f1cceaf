"""A session for one command, in the place of the entry's own keys.

:mod:`keyless_sidecar.execution.runner` asks for it where a tool would hold an ``aws`` credential
itself and ``c.Vault.sessions`` says ``to = ["tools"]`` for the entry.  The command was allowed
already; its session is for what it does and nothing else, so no policy is asked again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from keyless.protocol.messages import MIN_SESSION, CellInfo
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.execution.delivery import by_proxy
from keyless_sidecar.execution.planning import Ended
from keyless_sidecar.placeholders import AwsKeys, PlaceholderBook
from keyless_sidecar.policy.acts_from_command import acts_for_command
from keyless_sidecar.policy.aws_parameters import NotInModel
from keyless_sidecar.sessions import sts
from keyless_sidecar.sessions.grants import (
    BadGrant,
    Grant,
    document_of,
    grants_of_acts,
    grants_of_names,
)
from keyless_sidecar.sessions.naming import session_name
from keyless_sidecar.tools import Checked, Refused, Tool
from keyless_sidecar.vault import Entry, VaultError
from keyless_sidecar.vault.session_options import SessionOptions
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["ToolSessions"]

#: What anybody may do anyway: for a command that does nothing in AWS.
_NOTHING = Grant("*", "sts:GetCallerIdentity")


class ToolSessions:
    """Owned by the event loop's thread.

    Args:
        kernel_id: whose command it is.
        options: ``c.Vault.sessions``.
        book: tells the sanitizer what was handed out.
        audit: where records go.
        surroundings: network rules for STS.
    """

    def __init__(
        self,
        *,
        kernel_id: str,
        options: Mapping[str, SessionOptions],
        book: PlaceholderBook,
        audit: AuditLog,
        surroundings: Surroundings,
    ) -> None:
        self._kernel_id = kernel_id
        self._options = {name: each for name, each in options.items() if "tools" in each.to}
        self._book = book
        self._audit = audit
        self._surroundings = surroundings

    async def instead(
        self,
        entries: Sequence[Entry],
        tool: Tool,
        checked: Checked,
        *,
        timeout: float,
        cell: CellInfo,
        record: str,
    ) -> list[Entry]:
        """The entries, with a session's keys where the tool would hold long-lived ones.

        Args:
            entries: selected ones, with values.
            tool: that gets them.
            checked: the command.
            timeout: seconds that it may take.
            cell: that asked.
            record: id of the command's first audit record.

        Raises:
            Refused: it isn't known what the command does in AWS.
            Ended: STS gives no session.
            AuditUnavailable: it can't be recorded.
        """
        found = []
        for entry in entries:
            options = self._options.get(entry.name)
            if options is None or entry.kind != "aws" or by_proxy(tool, entry.info):
                found.append(entry)
                continue
            # In a thread: the first one reads the service models.
            grants = await asyncio.to_thread(_grants, entry, tool, checked, options)
            keys = await self._assume(entry, options, grants, timeout, cell, record)
            fields = {
                "access_key_id": keys.access_key_id,
                "secret_access_key": keys.secret_access_key,
                "session_token": keys.session_token,
            }
            plain = {"region": entry.fields["region"]} if "region" in entry.fields else {}
            found.append(Entry.of(entry.info, {**fields, **plain}, keys.expires))
        return found

    async def _assume(
        self,
        entry: Entry,
        options: SessionOptions,
        grants: frozenset[Grant],
        timeout: float,
        cell: CellInfo,
        record: str,
    ) -> AwsKeys:
        name = session_name(self._kernel_id, cell)
        seconds = min(max(MIN_SESSION, math.ceil(timeout)), options.max_minutes * 60)
        try:
            assumed = await asyncio.to_thread(
                sts.assume,
                entry,
                options,
                self._surroundings,
                name=name,
                seconds=seconds,
                policy=_document(grants),
            )
        except VaultError as error:
            raise Ended("SidecarUnavailable", f"{error}.", "sessions.sts") from None
        self._book.know(entry.name, assumed.keys)
        end = assumed.keys.expires
        await asyncio.to_thread(
            self._audit.append,
            "session.delivered",
            {
                "request": record,
                "credential": entry.name,
                "role": options.role_arn,
                "arn": assumed.arn,
                "name": name,
                "actions": sorted({grant.action for grant in grants}),
                "expires": end.isoformat(timespec="seconds") if end else "",
            },
        )
        return assumed.keys


def _grants(
    entry: Entry, tool: Tool, checked: Checked, options: SessionOptions
) -> frozenset[Grant]:
    """What exactly one command needs.

    Raises:
        Refused: that isn't known.
    """
    if tool.rules != "aws" and not tool.allow_operations:
        raise Refused(
            "PolicyDenied",
            f"{tool.name} would get a session of {entry.name}, and nobody knows for what: a person "
            "names the operations of AWS that it needs in allow_operations of the tool.",
            "sessions.grants",
        )
    try:
        if tool.rules != "aws":
            return grants_of_names(tool.allow_operations)
        acts = acts_for_command(checked, tool, credential=entry.name)
        return grants_of_acts(acts, options.account) or frozenset({_NOTHING})
    except (BadGrant, NotInModel) as error:
        raise Refused("PolicyDenied", str(error), "sessions.grants") from None


def _document(grants: frozenset[Grant]) -> str:
    try:
        return document_of(grants)
    except BadGrant as error:
        raise Refused("PolicyDenied", str(error), "sessions.grants") from None
