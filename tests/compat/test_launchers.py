"""Programs that start kernels, unmodified: nbclient, papermill, a real Jupyter server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

CELLS = ("import os\nprint('in', os.getcwd())", "%keyless", "6 * 7")


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={
            "kernelspec": {
                "name": "keyless",
                "display_name": "Python 3 (Keyless)",
                "language": "python",
            }
        },
    )


async def test_nbclient(jupyter_home: Path) -> None:
    done = await NotebookClient(notebook(*CELLS)).async_execute()
    assert done.cells[0].outputs[0].text == "in /workspace\n"
    assert "namespaces" in str(done.cells[1].outputs)
    assert done.cells[2].outputs[0].data["text/plain"] == "42"


async def test_nbclient_sees_a_refusal_as_an_error(jupyter_home: Path) -> None:
    with pytest.raises(CellExecutionError, match="ToolNotFound"):
        await NotebookClient(notebook("%secure_exec no-such-tool --version")).async_execute()


def test_papermill(jupyter_home: Path) -> None:
    source = jupyter_home / "in.ipynb"
    made = notebook("answer = 1", "answer * 2")
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, source)
    target = jupyter_home / "out.ipynb"
    arguments = [str(source), str(target), "-p", "answer", "21", "--no-progress-bar"]
    subprocess.run([sys.executable, "-m", "papermill", *arguments], check=True, timeout=100)
    done = nbformat.read(target, as_version=4)
    assert done.cells[-1].outputs[0].data["text/plain"] == "42"


@pytest.fixture
def server(jupyter_home: Path) -> Iterator[dict[str, Any]]:
    arguments = ["--ServerApp.port=0", "--IdentityProvider.token=secret", "--no-browser"]
    if os.geteuid() == 0:
        arguments.append("--allow-root")
    with (jupyter_home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *arguments],
            stdout=log,
            stderr=log,
            cwd=jupyter_home,
        )
    file = jupyter_home / "runtime" / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, (jupyter_home / "server.log").read_text()
        time.sleep(0.05)
    found = json.loads(file.read_text())
    while not listens(found["port"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield found
    process.terminate()
    process.wait(timeout=30)


def listens(port: int) -> bool:
    """The server writes its file a moment before it takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Rest:
    """Just enough of a client for the server's REST API and its kernel websocket."""

    def __init__(self, server: dict[str, Any]) -> None:
        self.url = server["url"]
        self.headers = {"Authorization": f"token {server['token'] or 'secret'}"}

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = await AsyncHTTPClient().fetch(
            HTTPRequest(
                self.url + path,
                method=method,
                headers=self.headers,
                body=None if body is None else json.dumps(body),
                allow_nonstandard_methods=True,
                request_timeout=60,
            )
        )
        return json.loads(answer.body) if answer.body else None

    async def execute(self, kernel_id: str, code: str, printed: asyncio.Event | None = None) -> str:
        """Run code over the websocket; everything that was printed or shown.

        Args:
            printed: set at the first print.
        """
        url = self.url.replace("http", "ws", 1) + f"api/kernels/{kernel_id}/channels"
        channels = await websocket_connect(HTTPRequest(url, headers=self.headers))
        message_id = uuid.uuid4().hex
        await channels.write_message(
            json.dumps(
                {
                    "header": {
                        "msg_id": message_id,
                        "msg_type": "execute_request",
                        "session": "s",
                        "username": "u",
                        "version": "5.3",
                        "date": "",
                    },
                    "parent_header": {},
                    "metadata": {},
                    "channel": "shell",
                    "buffers": [],
                    "content": {
                        "code": code,
                        "silent": False,
                        "store_history": True,
                        "user_expressions": {},
                        "allow_stdin": False,
                    },
                }
            )
        )
        said = ""
        while True:
            text = await asyncio.wait_for(channels.read_message(), 60)
            assert text is not None
            message = json.loads(text)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                said += content["text"]
                if printed is not None:
                    printed.set()
            elif message["msg_type"] in ("execute_result", "display_data"):
                said += content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                said += f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                channels.close()
                return said


async def test_jupyter_server(server: dict[str, Any]) -> None:
    rest = Rest(server)
    specs = await rest("GET", "api/kernelspecs")
    assert specs["kernelspecs"]["keyless"]["spec"]["display_name"] == "Python 3 (Keyless)"
    kernel = await rest("POST", "api/kernels", {"name": "keyless"})
    assert await rest.execute(kernel["id"], "import os; print(os.getcwd())") == "/workspace\n"
    assert "namespaces" in await rest.execute(kernel["id"], "%keyless")
    await rest("POST", f"api/kernels/{kernel['id']}/restart")
    assert await rest.execute(kernel["id"], "1 + 1") == "2"
    await rest("DELETE", f"api/kernels/{kernel['id']}")
    assert await rest("GET", "api/kernels") == []


async def test_jupyter_server_interrupts(server: dict[str, Any]) -> None:
    rest = Rest(server)
    kernel = await rest("POST", "api/kernels", {"name": "keyless"})
    printed = asyncio.Event()
    code = "import time\nprint('on', flush=True)\ntime.sleep(60)"
    cell = asyncio.create_task(rest.execute(kernel["id"], code, printed))
    await asyncio.wait_for(printed.wait(), 60)
    await rest("POST", f"api/kernels/{kernel['id']}/interrupt")
    assert "KeyboardInterrupt" in await asyncio.wait_for(cell, 30)
    assert await rest.execute(kernel["id"], "40 + 2") == "42"
