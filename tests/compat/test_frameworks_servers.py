"""Frameworks that use a server's kernels: smolagents, jupyter-kernel-client, jupyter-mcp-server.

Real servers too: jupyter_kernel_gateway, and a Jupyter server.  All unmodified.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import TextContent
from tests.support.frameworks import (
    BIN,
    FUNCTION,
    MAGIC,
    TOKEN,
    free_port,
    run,
    serving,
    variables,
)
from tests.support.host_api import World, world
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from keyless.host import NeedsSidecarMachine, SecureSandbox


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        made.store_key()
        yield made


@pytest.fixture(scope="module")
def gateway(here: World) -> Iterator[str]:
    port = free_port()
    arguments = (
        "--KernelGatewayApp.ip=127.0.0.1",
        f"--KernelGatewayApp.port={port}",
        f"--KernelGatewayApp.auth_token={TOKEN}",
        "--KernelGatewayApp.default_kernel_name=keyless",
    )
    with serving(here, "jupyter-kernelgateway", *arguments, port=port) as url:
        yield url


@pytest.fixture(scope="module")
def server(here: World) -> Iterator[str]:
    port = free_port()
    arguments = [
        f"--ServerApp.port={port}",
        f"--IdentityProvider.token={TOKEN}",
        "--MultiKernelManager.default_kernel_name=keyless",
        "--no-browser",
    ]
    with ExitStack() as stack:
        if os.geteuid() == 0:
            arguments.append("--allow-root")
        yield stack.enter_context(serving(here, "jupyter-server", *arguments, port=port))


SMOLAGENTS = """
from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import DockerExecutor, RemotePythonExecutor, _create_kernel_http

class GatewayExecutor(DockerExecutor):
    # smolagents' own, but for the container: the gateway runs already.
    def __init__(self, url, token):
        RemotePythonExecutor.__init__(self, [], AgentLogger(level=LogLevel.OFF))
        self.kernel_id = _create_kernel_http(f"{url}/api/kernels?token={token}", self.logger)
        ws = url.replace("http", "ws", 1)
        self.ws_url = f"{ws}/api/kernels/{self.kernel_id}/channels?token={token}"

executor = GatewayExecutor(url, token)
executor.send_variables({"operation": "get-caller-identity"})
said = [executor(code).logs for code in codes]
said.append(executor("secure_exec('aws', ['sts', operation]).json()['Arn']").output)
try:
    executor("%secure_exec aws iam create-access-key")
except Exception as error:
    said.append(str(error))
print(json.dumps(said))
"""


def test_smolagents_on_a_kernel_gateway(here: World, gateway: str) -> None:
    values = {"url": gateway, "token": TOKEN, "codes": [MAGIC, FUNCTION]}
    *said, refused = run(here, SMOLAGENTS, values)
    assert len(said) == 3
    for output in said:
        assert here.aws.user_arn in output
    assert "PolicyDenied" in refused
    assert not here.holds_key(str(said))


CLIENT = """
from jupyter_kernel_client import JupyterKernelClient

client = JupyterKernelClient(server_url=url, token=token)
client.start(name="keyless")
try:
    outputs = [client.execute(code)["outputs"] for code in codes]
    print(json.dumps(["".join(str(o.get("text", "")) for o in each) for each in outputs]))
finally:
    client.stop()
"""


def test_jupyter_kernel_client(here: World, server: str) -> None:
    values = {"url": server, "token": TOKEN, "codes": [MAGIC, FUNCTION]}
    for output in run(here, CLIENT, values):
        assert here.aws.user_arn in output
        assert not here.holds_key(output)


async def test_jupyter_mcp_server(here: World, server: str) -> None:
    # It asks for kernels by the name python3, so it is given a kernel that runs.
    headers = {"Authorization": f"token {TOKEN}"}
    made = await AsyncHTTPClient().fetch(
        HTTPRequest(f"{server}/api/kernels", "POST", headers, body='{"name": "keyless"}')
    )
    parameters = StdioServerParameters(
        command=str(BIN / "jupyter-mcp-server"),
        args=["start", "--transport", "stdio", "--code-sandbox-id", json.loads(made.body)["id"]],
        env=variables()
        | {"CODE_SANDBOX_URL": server, "DOCUMENT_URL": server}
        | {"CODE_SANDBOX_TOKEN": TOKEN, "DOCUMENT_TOKEN": TOKEN},
    )
    async with (
        stdio_client(parameters) as (reading, writing),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        for code in (MAGIC, FUNCTION):
            result = await session.call_tool("execute_code", {"code": code})
            said = "".join(b.text for b in result.content if isinstance(b, TextContent))
            assert here.aws.user_arn in said.replace("\n", "")
            assert not here.holds_key(said)


async def test_the_host_api_on_a_server_elsewhere(here: World, server: str, tmp_path: Path) -> None:
    async with SecureSandbox(server_url=server, token=TOKEN) as sandbox:
        assert (await sandbox.run_cell("6 * 7")).text == "42\n"
        await sandbox.write_file("a/b.txt", b"x" * 3_000_000)
        assert await sandbox.read_file("a/b.txt") == b"x" * 3_000_000
        assert await sandbox.fetch_file("a/b.txt", tmp_path / "back") == 3_000_000
        assert (tmp_path / "back").read_bytes() == b"x" * 3_000_000
        assert [f.name for f in await sandbox.list_files("a")] == ["b.txt"]
        done = await sandbox.exec_secure("aws sts get-caller-identity")
        assert done.json()["Arn"] == here.aws.user_arn
        with pytest.raises(NeedsSidecarMachine, match="machine of the server"):
            await sandbox.register_platform_credentials("aws", here.fields())
        await sandbox.restart()
        assert (await sandbox.exec("wc -c < a/b.txt")).stdout == "3000000\n"
