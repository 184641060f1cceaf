"""What ``%keyless`` shows: the answer to ``StatusQuery``, made of declarations and names only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyless.protocol.calls import SDK
from keyless.protocol.messages import CredentialInfo, Status, ToolInfo
from keyless_kernel.confine import Confiner
from keyless_sidecar.audit import AuditLog
from keyless_sidecar.execution.delivery import EXPOSURE, bound, exposure_of
from keyless_sidecar.execution.runner import Runner
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.kernel_network import bound_to_kernel
from keyless_sidecar.sessions.service import Sessions
from keyless_sidecar.tools import Tool, subcommands
from keyless_sidecar.vault import EntryInfo, VaultError


class StatusReporter:
    """Answers status queries.  One for each sidecar.

    Args:
        kernel_id: which kernel it serves.
        confiner: the isolation in force.
        workspace: where kernel and tools see the workspace.
        limits: by what means limits are in force.
        tools: declared tools by name.
        keeper: for the names of credentials.
        audit: for the number of records.
        runner: for the number of commands.
        sessions: for which credentials cells may have temporary keys.
    """

    def __init__(
        self,
        *,
        kernel_id: str,
        confiner: Confiner,
        workspace: str,
        limits: str,
        tools: Mapping[str, Tool],
        keeper: Keeper,
        audit: AuditLog,
        runner: Runner,
        sessions: Sessions,
    ) -> None:
        self._kernel_id = kernel_id
        self._confiner = confiner
        self._workspace = workspace
        self._limits = limits
        self._tools = tools
        self._keeper = keeper
        self._audit = audit
        self._runner = runner
        self._sessions = sessions

    async def answer(self, request_id: int) -> Status:
        """The state right now."""
        guarantees = [*self._confiner.guarantees, self._limits]
        if self._sessions.to_kernel:
            names = [n for n, each in self._sessions.options.items() if "kernel" in each.to]
            guarantees.append(
                f"cells may hold temporary keys of {', '.join(sorted(names))}, where the policy "
                "allows a session"
            )
        try:
            infos = await self._keeper.infos()
            own = [info.name for info in bound_to_kernel(self._confiner, infos)]
            if own:
                guarantees.append(
                    f"cells may use {', '.join(own)} themselves: by placeholders, through the "
                    "sidecar's proxy, each request under the policy"
                )
        except VaultError:
            infos = []
            guarantees.append("the vault can't be read at the moment: no command runs")
        return Status(
            id=request_id,
            kernel_id=self._kernel_id,
            level=self._confiner.level,
            guarantees=guarantees,
            workspace=self._workspace,
            tools=[
                *(self._tool(tool, infos) for _, tool in sorted(self._tools.items())),
                *_calls(infos),
            ],
            credentials=[
                CredentialInfo(
                    name=info.name, kind=info.kind, delivery=info.delivery, source=info.source
                )
                for info in infos
            ],
            commands=self._runner.started,
            audit_records=self._audit.records,
        )

    def _tool(self, tool: Tool, infos: Sequence[EntryInfo]) -> ToolInfo:
        entries = [] if tool.delivery == "none" else bound(tool, infos)
        exposure = exposure_of(tool, entries)
        options = [self._sessions.options.get(info.name) for info in entries]
        if exposure == EXPOSURE["env"] and options and all(o and "tools" in o.to for o in options):
            exposure = EXPOSURE["session"]
        return ToolInfo(
            name=tool.name,
            path=tool.program or tool.path,
            delivery=tool.delivery,
            credentials=[info.name for info in entries],
            description=tool.description,
            exposure=exposure,
            subcommands=subcommands(tool),
        )


def _calls(infos: Sequence[EntryInfo]) -> list[ToolInfo]:
    """The calls that the sidecar makes itself, where a credential is bound to them."""
    names = [info.name for info in infos if info.kind == "aws" and info.allows(SDK)]
    if not names:
        return []
    what = "the sidecar makes the call; cells get the answer"
    return [
        ToolInfo(
            name=SDK,
            path="",
            delivery="broker",
            credentials=names,
            description="AWS operations by secure_call",
            exposure=what,
        )
    ]
