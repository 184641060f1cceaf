"""``jupyter keyless mcp`` as a model's program uses it: the official client, over stdio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, ImageContent, TextContent
from tests.support.host_api import KEYLESS, World, world
from tests.support.leftovers import adopt_orphans, descendants, files_below, wait_until_gone

PICTURE = """
import base64
from IPython.display import Image, display
data = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
print("a picture")
display(Image(data=base64.b64decode(data)))
"""


@pytest.fixture
def here() -> Iterator[World]:
    with world() as made:
        yield made


@asynccontextmanager
async def client(*arguments: str) -> AsyncIterator[ClientSession]:
    parameters = StdioServerParameters(
        command=str(KEYLESS),
        args=["mcp", *arguments],
        env=dict(os.environ),
    )
    async with (
        stdio_client(parameters) as (reading, writing),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        yield session


def said(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_a_model_s_program_works_with_it(here: World) -> None:
    adopt_orphans()
    before, files = descendants(), files_below(here.home / "runtime")
    here.store_key()
    async with client() as session:

        async def call(name: str, **arguments: Any) -> CallToolResult:
            result = await session.call_tool(name, arguments)
            assert isinstance(result, CallToolResult)
            return result

        tools = {tool.name for tool in (await session.list_tools()).tools}
        assert tools == {"run_cell", "secure_exec", "secure_call", "write_file", "read_file"}

        assert said(await call("run_cell", code="x = 6 * 7\nx")) == "42\n"
        shown = await call("run_cell", code=PICTURE)
        assert "a picture" in said(shown)
        (image,) = (block for block in shown.content if isinstance(block, ImageContent))
        assert image.mime_type == "image/png"
        failed = await call("run_cell", code="1 / 0")
        assert failed.is_error
        assert "ZeroDivisionError: division by zero" in said(failed)

        await call("write_file", path="deep/a.txt", text="hello")
        assert said(await call("read_file", path="deep/a.txt")) == "hello"
        assert "hello" in said(await call("run_cell", code="print(open('deep/a.txt').read())"))
        outside = await call("read_file", path="../a.txt")
        assert outside.is_error
        assert "outside the workspace" in said(outside)

        who = await call("secure_exec", command="aws sts get-caller-identity")
        assert not who.is_error
        assert here.aws.user_arn in said(who)
        called = await call("secure_call", service="sts", operation="get_caller_identity")
        assert here.aws.user_arn in said(called)
        refused = await call("secure_exec", command="aws iam create-access-key")
        assert refused.is_error
        assert "PolicyDenied: " in said(refused)
        assert "[record " in said(refused)

        died = await call("run_cell", code="import os; os._exit(1)")
        assert died.is_error
        assert "A new one runs now" in said(died)
        assert "NameError" in said(await call("run_cell", code="x"))
        assert said(await call("read_file", path="deep/a.txt")) == "hello"
    assert wait_until_gone(before) == {}
    assert files_below(here.home / "runtime") == files
