"""A kernel's debugger: there when somebody debugs, and not said to be where it couldn't work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from tests.integration.test_kernel_life import kernel, run

LOADED = "import sys; print('debugpy' in sys.modules)"
LOOPBACK = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
except OSError:
    print(False)
else:
    print(True)
"""


async def debug(client: AsyncKernelClient, command: str, number: int, **arguments: Any) -> Any:
    request = {"type": "request", "seq": number, "command": command, "arguments": arguments}
    message = client.session.msg("debug_request", request)
    client.control_channel.send(message)
    while True:
        reply = await client.get_control_msg(timeout=30)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return reply["content"]


async def test_the_debugger_is_loaded_when_somebody_debugs(jupyter_home: Path) -> None:
    async with kernel() as (_, client):
        number = client.kernel_info()
        while (reply := await client.get_shell_msg(timeout=30))["parent_header"][
            "msg_id"
        ] != number:
            pass
        works = (await run(client, LOOPBACK))["text"] == "True\n"
        assert ("debugger" in reply["content"]["supported_features"]) is works
        assert (await run(client, LOADED))["text"] == "False\n"
        if not works:
            return
        assert (await debug(client, "debugInfo", 1))["body"]["isStarted"] is False
        started = await debug(client, "initialize", 2, clientID="test", adapterID="")
        assert started["success"], started
        assert (await debug(client, "attach", 3))["success"]
        source = (await debug(client, "dumpCell", 4, code="here = 1"))["body"]["sourcePath"]
        assert source.endswith(".py")
        assert (await run(client, LOADED))["text"] == "True\n"
