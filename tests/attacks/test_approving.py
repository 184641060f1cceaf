"""Nothing that a cell does approves what it asks for: the socket, its token, forged messages."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.asking import denying
from tests.support.kept import Kept
from tests.support.kernels import SANDBOX_UID, Session, Stage, control_folder
from tests.support.page import page_server, send
from tests.support.rawhttp import exchange, head

from keyless.control_client import ControlClient, ControlError

#: Told everything that there is to know: the folder, the token, a question's id.
SEARCH = """
import os, pathlib, socket, json
folder, token = {folder!r}, {token!r}
won = []
for path in (folder, folder + "/control", folder + "/control.token"):
    try:
        os.stat(path)
        won.append("sees " + path)
    except OSError:
        pass
    try:
        won.append("reads " + str(len(open(path).read())))
    except OSError:
        pass
def speak(address):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(3)
        s.connect(address)
        body = json.dumps({{"id": {question!r}}})
        s.sendall(("POST /api/approve HTTP/1.1\\r\\nHost: localhost\\r\\n"
            "Authorization: Bearer " + token + "\\r\\nContent-Type: application/json\\r\\n"
            "Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body)).encode())
        won.append("spoke " + s.recv(100).decode())
for address in (folder + "/control", "/run/keyless/control", "/proc/1/root" + folder + "/control",
                os.path.relpath(folder + "/control")):
    try:
        speak(address)
    except OSError:
        pass
for root in ("/run", "/tmp", "/var", os.path.expanduser("~"), os.getcwd()):
    for where, _, names in os.walk(root):
        won += [where + "/" + name for name in names if name in ("control", "control.token")]
print(json.dumps(won))
"""

#: Told where the page is, and its token.
REACH = """
import json, socket, urllib.request
won = []
for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
    try:
        socket.create_connection((host, {port}), 2).close()
        won.append("connected to " + host)
    except OSError:
        pass
request = urllib.request.Request({url!r}, headers={{"Authorization": "Bearer {token}"}})
try:
    won.append(urllib.request.urlopen(request, timeout=2).read().decode())
except OSError:
    pass
print(json.dumps(won))
"""

FORGE = """
import os, socket, struct
from keyless.magics.client import shared_client
from keyless.protocol.frames import encode
import msgspec
channel = socket.socket(fileno=os.dup(int(os.environ["KEYLESS_CHANNEL_FD"])))
body = msgspec.msgpack.encode({{"type": {kind!r}, "id": {question!r}, "approved": True}})
channel.sendall(struct.pack(">I", len(body)) + body)
"""


def run_asking(session: Session) -> str:
    """A cell that asks for what needs an approval; its error."""
    code = "from keyless import secure_exec\nsecure_exec('leaky', ['argv', 'approve-me'])"
    return session.run(code).error


@pytest.mark.attack(
    wall="control socket outside of every sandbox",
    title="Approve one's own request, with folder, token and question's id told",
)
def test_a_cell_reaches_neither_socket_nor_token(keyless: Kept) -> None:
    session = keyless.get()
    folder = control_folder(session)
    token = (folder / "control.token").read_text()
    cell = SEARCH.format(folder=str(folder), token=token, question="00000000")
    done = session.run(cell)
    assert not done.error
    assert json.loads(done.text) == []
    with denying(folder) as asked:
        assert "PolicyDenied" in run_asking(session)
    assert len(asked) == 1


@pytest.mark.attack(
    wall="control socket outside of every sandbox",
    title="Read the control token as the sandboxes' user, outside of any sandbox",
)
def test_the_sandboxes_user_cannot_enter_the_folder(keyless: Kept) -> None:
    folder = control_folder(keyless.get())
    for place, mode in ((folder, 0o700), (folder / "control", 0o600)):
        info = place.stat()
        assert stat.S_IMODE(info.st_mode) == mode
        assert info.st_uid == os.geteuid()
    if os.geteuid() != 0:
        return  # then the sandboxes' user is this one, and the sandbox alone keeps it out
    code = f"import os; os.setuid({SANDBOX_UID}); open({str(folder / 'control.token')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"PermissionError" in done.stderr


@pytest.mark.attack(wall="closed messages", title="Send an approval over the kernel's own channel")
@pytest.mark.parametrize("kind", ["approve", "decided", "answer"])
def test_an_unknown_message_ends_the_channel(kind: str, keyless: Kept) -> None:
    session = keyless.get()
    try:
        session.run(FORGE.format(kind=kind, question="00000000"))
        assert "SidecarUnavailable" in run_asking(session)
    finally:
        keyless.drop()


@pytest.mark.attack(
    wall="bearer token, Host and Origin of the control API",
    title="Approve from a web page: DNS rebinding, a form, a forged token, smuggling",
)
def test_a_web_page_gets_nowhere(keyless: Kept) -> None:
    folder = control_folder(keyless.get())
    body = b'{"id":"00000000"}'
    length = f"Content-Length: {len(body)}"
    line, kind = "POST /api/approve HTTP/1.1", "Content-Type: application/json"
    for raw in (
        head(folder, line, kind, length, host="rebound.example") + body,
        head(folder, line, kind, length, "Origin: http://localhost:8888") + body,
        head(folder, line, kind, length, token="x" * 43) + body,
        head(folder, line, "Content-Type: text/plain", length) + body,
        head(folder, line, kind, "Content-Length: 0", "Transfer-Encoding: chunked") + body,
    ):
        status, _ = exchange(folder, raw)
        assert status in (400, 401, 403, 415)


@pytest.mark.attack(
    wall="network namespace",
    title="Reach the approval page, with its address and token told",
)
def test_a_cell_reaches_no_approval_page(keyless: Kept, world: Stage) -> None:
    session = keyless.get()
    with page_server(world.home / "runtime") as served:
        status, _ = send(
            served, "GET /api/kernels HTTP/1.1", f"Host: {served.host}",
            f"Authorization: Bearer {served.token}",
        )  # fmt: skip
        assert status == 200
        done = session.run(
            REACH.format(port=served.port, url=f"{served.origin}/api/kernels", token=served.token)
        )
    assert not done.error
    assert json.loads(done.text) == []


def test_an_answer_counts_for_its_own_kernel_and_once(keyless: Kept) -> None:
    folder = control_folder(keyless.get())

    async def replay() -> int:
        with pytest.raises(ControlError) as caught:
            await ControlClient(folder).approve(asked[0]["id"])
        return caught.value.status

    with denying(folder) as asked:
        assert "PolicyDenied" in run_asking(keyless.get())
        assert asyncio.run(replay()) == 404


def test_a_restart_makes_socket_and_token_anew(fresh: Session) -> None:
    folder = control_folder(fresh)
    before = (folder / "control.token").read_text()
    fresh.manager.restart_kernel(now=True)
    assert control_folder(fresh) == folder
    assert (folder / "control.token").read_text() != before
    status, _ = exchange(folder, head(folder, "GET /api/status HTTP/1.1", token=before))
    assert status == 401
    fresh.manager.shutdown_kernel(now=True)
    fresh.manager.cleanup_resources()
    assert not folder.exists()
    assert control_folder_is_empty(fresh)


def control_folder_is_empty(session: Session) -> bool:
    """Whether the provisioner names no folder any more."""
    return session.manager.provisioner is None or control_folder(session) == Path()
