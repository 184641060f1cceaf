"""``SecureSandbox``: one kernel without secrets, and commands that act with secrets it never has.

::

    async with SecureSandbox(workspace="work") as sandbox:
        await sandbox.write_file("hello.txt", "hello")
        await sandbox.run_cell("print(open('hello.txt').read())")
        result = await sandbox.exec_secure("aws sts get-caller-identity")
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Self

from keyless.host.answers import secured, value_of
from keyless.host.authority import Authority, OnApproval, Question
from keyless.host.bare import BareSandbox, asked_of_kernel, question
from keyless.host.errors import NeedsSidecarMachine
from keyless.host.kernel import LocalKernel
from keyless.host.outputs import Output, output_from
from keyless.host.remote import RemoteKernel
from keyless.magics.checks import argument_list
from keyless.magics.results import ExecResult
from keyless.protocol.errors import InvalidRequest

__all__ = ["SecureSandbox"]

#: Tools that a kind of credential is bound to where the caller names none.
_TOOLS = {"aws": ("aws", "sdk"), "postgres": ("psql",)}


class SecureSandbox(BareSandbox):
    """A Keyless kernel, for programs that drive agents.

    An asynchronous context manager; :class:`~keyless.host.SecureSandboxSync` is the same for
    synchronous programs.  All that belongs to it ends with the block, and with this process.

    Args:
        workspace: folder on this machine that cells work in; ``None`` makes a fresh one that goes
            with the sandbox.
        credentials: vault entries of this sandbox only, held in memory (name, kind, fields,
            tools, …), beside those of the person's vault.
        config: settings on top of the person's configuration: section → setting → value.
        passphrase: opens a vault that is locked by one.
        on_approval: called with a :class:`~keyless.host.Question` each time that the policy asks;
            says yes by returning ``True``, itself or by an awaitable.
        server_url: a Jupyter server that starts the kernel instead of this process; workspace,
            credentials, configuration and approvals are that server's then.
        token: of that server.
        kernel_name: kernelspec.
        start_timeout: seconds until the kernel must answer.

    Raises:
        SandboxError: something is given that only works on this machine.
    """

    def __init__(
        self,
        workspace: str | os.PathLike[str] | None = None,
        *,
        credentials: Iterable[Mapping[str, Any]] = (),
        config: Mapping[str, Mapping[str, Any]] | None = None,
        passphrase: str | None = None,
        on_approval: OnApproval | None = None,
        server_url: str = "",
        token: str = "",
        kernel_name: str = "keyless",
        start_timeout: float = 60.0,
    ) -> None:
        self._authority: Authority | None = None
        if server_url:
            if workspace or tuple(credentials) or config or passphrase or on_approval:
                raise NeedsSidecarMachine(
                    "workspace, credentials, config, passphrase and approvals of a remote sandbox "
                    "are those of the server that runs it"
                )
            remote = RemoteKernel(
                server_url, token, kernel_name=kernel_name, start_timeout=start_timeout
            )
            super().__init__(remote)
            return
        local = LocalKernel(
            kernel_name=kernel_name,
            workspace=os.fspath(workspace) if workspace else "",
            credentials=credentials,
            config=config or {},
            passphrase=passphrase,
            start_timeout=start_timeout,
        )
        super().__init__(local)
        self._authority = Authority(lambda: local.control_folder, on_approval)

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            SandboxError: it doesn't start; nothing is left.
        """
        await super().__aenter__()
        if self._authority is not None:
            try:
                await self._authority.start()
            except BaseException:
                await self.close()
                raise
            self._stack.push_async_callback(self._authority.close)
        return self

    async def restart(self) -> None:
        """A new kernel and sidecar in the same workspace: variables are gone; files, settings and
        registered credentials stay."""
        await super().restart()
        if self._authority is not None:
            await self._authority.start()

    # ------------------------------------------------------------------ commands

    async def exec_secure(
        self,
        command: str | Sequence[str],
        *,
        credentials: str | Iterable[str] | None = None,
        timeout: float | None = None,
        isolated: bool = True,
        cwd: str = "",
        stdin: str | bytes | None = None,
    ) -> ExecResult:
        """Run a declared tool with credentials that the kernel never sees.

        On this machine the sidecar is asked directly, so a cell that runs doesn't matter, and the
        result is the sidecar's word.  Elsewhere the kernel asks for it, like a cell.

        Args:
            command: a line, split without a shell, or a list; its first word is the tool.
            credentials: names of vault entries; ``None`` means those that the tool is bound to.
            timeout: seconds until it is ended; ``None`` means the tool's default.
            isolated: whether it gets a sandbox of its own.
            cwd: folder, relative to the workspace.
            stdin: its input; ``None`` means an empty one.

        Returns:
            Its result; a non-zero exit code isn't raised.

        Raises:
            PolicyDenied: a rule, or a person, says no.
            CommandTimeout: it was ended.
            ExecError: another reason why it didn't run, or not to its end.
        """
        names = _names(credentials)
        if self._authority is None:
            asked = asked_of_kernel(command, names, timeout, isolated, cwd, stdin)
            return secured(await self._ask("secure", stream=False, **asked))
        return await self._authority.run(
            command if isinstance(command, str) else argument_list(command),
            credentials=names,
            timeout=timeout,
            isolated=isolated,
            cwd=cwd,
            stdin=stdin,
        )

    async def stream_secure(
        self,
        command: str | Sequence[str],
        *,
        credentials: str | Iterable[str] | None = None,
        timeout: float | None = None,
        isolated: bool = True,
        cwd: str = "",
        stdin: str | bytes | None = None,
    ) -> AsyncIterator[Output | ExecResult]:
        """As :meth:`exec_secure`, with output as it comes; the last item is the result.

        It runs as a cell does, so it waits for its turn, and the kernel passes on what comes.
        """
        asked = asked_of_kernel(command, _names(credentials), timeout, isolated, cwd, stdin)
        code, expressions = question("secure", {"stream": True, **asked})
        async with self._cells.run(code, expressions, store_history=False) as cell:
            while (message := await cell.next()) is not None:
                if (output := output_from(message)) is not None:
                    yield output
        yield secured(value_of(cell.reply, "answer"))

    async def call(self, service: str, operation: str, /, **parameters: Any) -> Any:
        """Call an operation of the AWS API, by the sidecar.

        Args:
            service: as boto3 names it.
            operation: likewise.
            parameters: of the operation, files of the workspace as ``fileb://name``; and the
                options of :func:`keyless.secure_call`, such as ``paginate``, ``query``, ``save``.

        Returns:
            The answer without secrets, or what ``query`` selected, as JSON values.

        Raises:
            ExecError: it was refused, or failed.
        """
        return await self._ask("call", service=service, operation=operation, parameters=parameters)

    # ------------------------------------------------------------------ the person's

    async def register_platform_credentials(
        self,
        name: str,
        fields: Mapping[str, str],
        *,
        kind: str = "",
        tools: Iterable[str] | None = None,
        delivery: str = "",
        hosts: Iterable[str] = (),
        paths: Iterable[str] = (),
        places: Iterable[str] = (),
        file: str = "",
    ) -> None:
        """Give the sidecar a credential, for this sandbox only; it stays in memory.

        Args:
            name: of the vault entry.
            fields: such as ``access_key_id``, ``secret_access_key``, ``region``.
            kind: of credential; the name, where that is a kind (``aws``, ``token``, …).
            tools: that may use it; for ``aws`` and ``postgres`` their own by default.
            delivery: how a tool gets it; empty means the kind's default.
            hosts: that a token may be sent to.
            paths: likewise.
            places: in a request where it may stand.
            file: path below the tool's HOME, for delivery ``file``.

        Raises:
            InvalidRequest: no tool is named, or the entry makes no sense.
            NeedsSidecarMachine: the sandbox is on a server elsewhere.
        """
        kind = kind or name
        bound = _TOOLS.get(kind, ()) if tools is None else tuple(tools)
        if not bound:
            raise InvalidRequest(f"name the tools that may use {name!r}: tools=[...]")
        await self._person("register_platform_credentials").register(
            name,
            kind=kind,
            fields=dict(fields),
            tools=list(bound),
            delivery=delivery,
            hosts=list(hosts),
            paths=list(paths),
            places=list(places),
            file=file,
        )

    async def pending(self) -> list[Question]:
        """Questions that wait for a person, oldest first."""
        return await self._person("pending").pending()

    async def approve(self, question: str, *, minutes: float | None = None) -> None:
        """Say yes to a question.

        Args:
            question: its id.
            minutes: for how long the same acts are allowed too; ``None``: this once.
        """
        await self._person("approve").approve(question, minutes)

    async def deny(self, question: str, *, reason: str = "") -> None:
        """Say no to a question; the cell is told the reason."""
        await self._person("deny").deny(question, reason)

    async def audit(self, *, limit: int = 1000) -> list[dict[str, Any]]:
        """The last records of this sandbox, oldest first, at most 1000."""
        return await self._person("audit").audit(limit)

    def _person(self, what: str) -> Authority:
        if self._authority is None:
            raise NeedsSidecarMachine(
                f"{what} needs the sidecar's control socket, which is on the machine of the server "
                "that runs the kernel"
            )
        return self._authority


def _names(credentials: str | Iterable[str] | None) -> list[str] | None:
    if isinstance(credentials, str):
        return [name.strip() for name in credentials.split(",") if name.strip()]
    return None if credentials is None else list(credentials)
