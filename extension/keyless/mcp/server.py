"""The MCP server: five tools, none of which approves anything.

What needs a person's consent waits for it where the person is: at the control socket.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult
from pydantic import Field

from keyless.host import CellTimeout, SandboxDied, SandboxError, SecureSandbox
from keyless.mcp import content
from keyless.mcp.holder import Holder
from keyless.protocol.errors import ExecError

__all__ = ["serve"]

_INSTRUCTIONS = (
    "A Python kernel in a sandbox: no network, no credentials. Its folder is the workspace; "
    "read_file and write_file see the same one. Where something needs credentials, use secure_exec "
    "(a declared tool such as aws, without a shell) or secure_call (an AWS operation): they act "
    "with credentials that nobody here can read. What the policy refuses comes back as an error "
    "that says what a person could allow. Some calls wait until a person has agreed."
)

Seconds = Annotated[float, Field(gt=0, le=86_400, description="seconds until it is ended")]
WorkspacePath = Annotated[str, Field(description="relative to the workspace")]


async def serve(make: Callable[[], SecureSandbox], *, cell_timeout: float) -> None:
    """Serve on stdin and stdout until the client goes.

    Args:
        make: gives a sandbox, not started.
        cell_timeout: seconds for a cell whose call names none.
    """
    holder = Holder(make)
    try:
        await _server(holder, cell_timeout).run_stdio_async()
    finally:
        await holder.close()


@contextlib.asynccontextmanager
async def _told(holder: Holder) -> AsyncIterator[SecureSandbox]:
    """The sandbox; what goes wrong becomes an error that a model can read."""
    try:
        yield await holder.get()
    except ExecError as error:
        record = f" [record {error.record_id}]" if error.record_id else ""
        raise ToolError(f"{type(error).__name__}: {error}{record}") from error
    except SandboxDied as error:
        try:
            await holder.renew()
        except SandboxError as problem:
            raise ToolError(f"The kernel has ended, and no new one starts: {problem}") from problem
        raise ToolError(
            "The kernel ended while it ran this. A new one runs now: variables are gone, files in "
            "the workspace are still there."
        ) from error
    except (SandboxError, CellTimeout) as error:
        raise ToolError(str(error)) from error


def _server(holder: Holder, cell_timeout: float) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("keyless", instructions=_INSTRUCTIONS, log_level="WARNING")

    async def run_cell(
        code: Annotated[str, Field(description="Python, with IPython's magics")],
        timeout: Seconds | None = None,
    ) -> CallToolResult:
        """Run a cell in the kernel. Variables stay for later cells."""
        async with _told(holder) as sandbox:
            return content.of_cell(await sandbox.run_cell(code, timeout=timeout or cell_timeout))

    async def secure_exec(
        command: Annotated[
            str,
            Field(
                description="one line, such as `aws lambda list-functions`; its first word is the "
                "tool; quotes work, but there is no shell"
            ),
        ],
        credentials: Annotated[
            list[str] | None, Field(description="names of vault entries; default: the tool's")
        ] = None,
        timeout: Seconds | None = None,
    ) -> CallToolResult:
        """Run a declared tool with credentials that nobody here can read."""
        async with _told(holder) as sandbox:
            return content.of_command(
                await sandbox.exec_secure(command, credentials=credentials, timeout=timeout)
            )

    async def secure_call(
        service: Annotated[str, Field(description="AWS service as boto3 names it: lambda, s3")],
        operation: Annotated[str, Field(description="as boto3 names it: list_functions")],
        parameters: Annotated[
            dict[str, Any] | None,
            Field(description="of the operation; a file of the workspace as fileb://NAME"),
        ] = None,
    ) -> CallToolResult:
        """Call an operation of the AWS API with credentials that nobody here can read."""
        async with _told(holder) as sandbox:
            return content.of_value(await sandbox.call(service, operation, **(parameters or {})))

    async def write_file(
        path: WorkspacePath,
        text: Annotated[str, Field(description="the whole content")],
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> CallToolResult:
        """Put a file into the workspace; one that exists is replaced."""
        try:
            data = text.encode() if encoding == "utf-8" else base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ToolError(f"the text isn't {encoding}: {error}") from error
        async with _told(holder) as sandbox:
            await sandbox.write_file(path, data)
            return content.plain(f"{len(data)} bytes written to {path}")

    async def read_file(path: WorkspacePath) -> CallToolResult:
        """Read a text file of the workspace."""
        async with _told(holder) as sandbox:
            data = await sandbox.read_file(path)
            try:
                return content.plain(data.decode())
            except UnicodeDecodeError:
                raise ToolError(
                    f"{path} holds {len(data)} bytes that are no text; look at it with run_cell"
                ) from None

    tools: tuple[Callable[..., Awaitable[CallToolResult]], ...] = (
        run_cell,
        secure_exec,
        secure_call,
        write_file,
        read_file,
    )
    for tool in tools:
        server.add_tool(tool, structured_output=False)
    return server
