"""The extension in a real Jupyter server: what it shows, what it closes, what it saves."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.jupyter import Home, Server, home, launch, server

from keyless.control_client import ControlClient, kernels

SECRET = "q7Zr-Kw92_xTnB4vLm8cHk3pWq8s"
TOKEN_LIKE = "ghp_" + "aB3d" * 9
PASSPHRASE = "a passphrase for tests"


@pytest.fixture(scope="module")
def place() -> Iterator[Home]:
    with home() as made:
        yield made


@pytest.fixture(scope="module")
def jupyter(place: Home) -> Iterator[Server]:
    """With a vault that is locked by a passphrase and holds one value."""
    add = ["vault", "add", "deploy", "--kind", "token", "--tool", "say", "--host", "example.com"]
    with _descriptor(SECRET) as value, _descriptor(PASSPHRASE) as passphrase:
        descriptors = ["--from-fd", str(value), "--passphrase-fd", str(passphrase)]
        subprocess.run(
            [str(Path(sys.executable).parent / "jupyter-keyless"), *add, *descriptors],
            check=True,
            env=place.variables(),
            pass_fds=(value, passphrase),
            timeout=60,
        )
    with (
        _descriptor(PASSPHRASE) as passphrase,
        server(
            place,
            more={"KEYLESS_PASSPHRASE_FD": str(passphrase)},
            descriptors=(passphrase,),
        ) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def kernel(jupyter: Server) -> str:
    return jupyter.start_kernel()


@contextlib.contextmanager
def _descriptor(text: str) -> Iterator[int]:
    with os.fdopen(os.memfd_create("test"), "w+b") as file:
        file.write(text.encode())
        file.seek(0)
        yield file.fileno()


def seen(jupyter: Server, kernel: str) -> dict[str, Any]:
    """The kernel in the overview."""
    (found,) = [
        each
        for each in jupyter.ask("GET", "keyless/api/kernels").json["kernels"]
        if each["id"] == kernel
    ]
    return dict(found)


async def test_it_shows_a_kernel_and_what_that_did(jupyter: Server, kernel: str) -> None:
    code = "%secure_exec say 'read %s\\n' this"
    assert "read this" in await jupyter.execute(kernel, code)
    shown = await asyncio.to_thread(seen, jupyter, kernel)
    assert shown["level"].startswith(("namespaces", "landlock"))
    assert shown["answers"]
    assert not shown["attended"]
    assert shown["tools"] == ["say"]
    assert shown["credentials"] == ["deploy"]
    address = f"keyless/api/kernels/{kernel}/audit"
    entry = (await asyncio.to_thread(jupyter.ask, "GET", address)).json["records"][0]
    assert entry["tool"] == "say"
    assert entry["argv"] == ["read %s\\n", "this"]
    assert (entry["state"], entry["rule"], entry["exit_code"]) == ("done", "policy.cedar:reads", 0)
    assert entry["execution_count"] == 1
    assert entry["cell_hash"] == hashlib.sha256(code.encode()).hexdigest()


async def test_looking_makes_no_question_wait(jupyter: Server, kernel: str) -> None:
    """Nobody could answer it here: whoever looks doesn't count as somebody to ask."""
    await asyncio.to_thread(seen, jupyter, kernel)
    said = await asyncio.wait_for(jupyter.execute(kernel, "%secure_exec say 'write it'"), 15)
    assert "PolicyDenied" in said
    shown = await asyncio.to_thread(seen, jupyter, kernel)
    assert shown["pending"] == []


@contextlib.asynccontextmanager
async def attended(jupyter: Server, kernel: str) -> AsyncIterator[ControlClient]:
    """Somebody who may answer is there."""
    control = ControlClient(kernels(jupyter.home.folder / "runtime")[kernel])

    async def listen() -> None:
        async with contextlib.aclosing(control.events()) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(listen())
    while not (await control.status())["approvers"]:
        await asyncio.sleep(0.02)
    yield control
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_question_is_seen_and_cannot_be_answered(jupyter: Server, kernel: str) -> None:
    async with attended(jupyter, kernel) as control:
        cell = asyncio.create_task(jupyter.execute(kernel, "%secure_exec say 'write it'"))
        while not (shown := await asyncio.to_thread(seen, jupyter, kernel)).get("pending"):
            await asyncio.sleep(0.05)
        (question,) = shown["pending"]
        assert shown["attended"]
        assert (question["tool"], question["rule"]) == ("say", "policy.cedar:writes")
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            for path in (
                "kernels",
                f"kernels/{kernel}/audit",
                f"kernels/{kernel}/approve",
                "saves",
            ):
                body = {"id": question["id"], "via": "page"}
                answer = await asyncio.to_thread(jupyter.ask, method, f"keyless/api/{path}", body)
                assert answer.status in (404, 405), (method, path, answer.text)
        assert len((await asyncio.to_thread(seen, jupyter, kernel))["pending"]) == 1
        await control.deny(question["id"], "no")
        assert "A person denied it: no" in await cell
    entry = jupyter.ask("GET", f"keyless/api/kernels/{kernel}/audit").json["records"][0]
    assert (entry["state"], entry["approval"]) == ("denied", "denied by a person")


def test_nothing_that_it_says_is_a_secret(jupyter: Server, kernel: str) -> None:
    folder = kernels(jupyter.home.folder / "runtime")[kernel]
    token = (folder / "control.token").read_text().strip()
    for path in ("kernels", f"kernels/{kernel}/audit?limit=1000"):
        said = jupyter.ask("GET", f"keyless/api/{path}").text
        assert token not in said
        assert SECRET not in said


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("kernels", "", 403),
        ("saves?path=a", "", 403),
        ("kernels/0000/audit", "", 403),
        ("kernels/0000/audit", "a-token-for-tests", 404),
        ("kernels/0000/audit?limit=0", "a-token-for-tests", 400),
        ("kernels/0000/audit?limit=1001", "a-token-for-tests", 400),
    ],
)
def test_who_may_not_look_and_what_makes_no_sense(
    jupyter: Server, path: str, token: str, status: int
) -> None:
    assert jupyter.ask("GET", f"keyless/api/{path}", token=token).status == status


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({"url": "http://127.0.0.1:4711/", "pid": os.getpid()}, "http://127.0.0.1:4711/"),
        ({"url": "http://127.0.0.1:4711/#token", "pid": os.getpid()}, ""),
        ({"url": "http://127.0.0.1:4711/?t=1", "pid": os.getpid()}, ""),
        ({"url": "http://evil.example/", "pid": os.getpid()}, ""),
        ({"url": "javascript:alert(1)", "pid": os.getpid()}, ""),
        ({"url": "http://127.0.0.1:4711/", "pid": 2**22 + 5}, ""),
        ([], ""),
    ],
)
def test_where_the_approval_page_is(jupyter: Server, said: Any, url: str) -> None:
    file = jupyter.home.folder / "runtime" / "keyless-page.json"
    file.write_text(json.dumps(said))
    page = jupyter.ask("GET", "keyless/api/kernels").json["page"]
    file.unlink()
    assert page == {"url": url, "command": "jupyter keyless page"}


# ----------------------------------------------------------------- what is closed


def test_no_shell_and_no_kernel_without_a_sandbox(jupyter: Server) -> None:
    assert jupyter.ask("GET", "keyless/api/kernels").json["openings"] == {}
    assert jupyter.ask("POST", "api/terminals", {}).status == 404
    assert list(jupyter.ask("GET", "api/kernelspecs").json["kernelspecs"]) == ["keyless"]
    for name in ("python3", "PYTHON3"):
        assert jupyter.ask("POST", "api/kernels", {"name": name}).status >= 400
        session = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": name}}
        assert jupyter.ask("POST", "api/sessions", session).status >= 400
    assert {each["name"] for each in jupyter.ask("GET", "api/kernels").json} <= {"keyless"}


def test_links_that_a_cell_made_lead_nowhere(jupyter: Server) -> None:
    root, config = jupyter.home.root, jupyter.home.folder / "config"
    (root / ".git").mkdir(exist_ok=True)
    for name, target in {"out": config, "hidden": root / ".git", "code": Path(sys.prefix)}.items():
        (root / name).symlink_to(target)
        file = {"type": "file", "format": "text", "content": "import os"}
        assert jupyter.ask("PUT", f"api/contents/{name}/evil.py", file).status in (403, 404)
        assert jupyter.ask("GET", f"api/contents/{name}").status in (403, 404)
        assert not (target / "evil.py").exists()
    assert jupyter.ask("GET", "api/contents/out/keyless/policy.cedar").status in (403, 404)
    assert jupyter.ask("GET", "files/out/keyless/policy.cedar").status in (403, 404)
    # A link within the folder to something that is no secret is as good as a file.
    (root / "data").mkdir()
    (root / "short").symlink_to(root / "data")
    file = {"type": "file", "format": "text", "content": "1"}
    assert jupyter.ask("PUT", "api/contents/short/a.txt", file).status == 201
    # Copies of earlier versions go to a folder beside the file, which may be a link as well.
    (root / "data" / ".ipynb_checkpoints").symlink_to(config)
    assert jupyter.ask("POST", "api/contents/data/a.txt/checkpoints").status in (403, 404)
    assert not list(config.glob("a-checkpoint*"))


@pytest.fixture(scope="module")
def open_server(place: Home, jupyter: Server) -> Iterator[Server]:
    """Another one in a folder that holds Jupyter's own, with ways left open, and a locked vault."""
    place.configure("c.Server.leave_open = {'terminals', 'kernels'}\n")
    try:
        with server(place, root=place.folder) as started:
            yield started
    finally:
        place.configure("")


def test_what_a_person_leaves_open_is_open_and_said(open_server: Server) -> None:
    openings = open_server.ask("GET", "keyless/api/kernels").json["openings"]
    assert sorted(openings) == ["kernels", "terminals"]
    assert "python3" in open_server.ask("GET", "api/kernelspecs").json["kernelspecs"]
    terminal = open_server.ask("POST", "api/terminals", {})
    assert terminal.status == 200
    open_server.ask("DELETE", f"api/terminals/{terminal.json['name']}")


def test_jupyters_own_folders_are_out_of_reach(open_server: Server) -> None:
    for path in ("config/jupyter_keyless_config.py", "config/new.py", "data/kernels/k/k.json"):
        file = {"type": "file", "format": "text", "content": "import os"}
        assert open_server.ask("PUT", f"api/contents/{path}", file).status in (403, 404), path
    assert open_server.ask("GET", "api/contents/config").status in (403, 404)
    listed = [each["name"] for each in open_server.ask("GET", "api/contents/").json["content"]]
    assert "root" in listed
    assert not {"config", "data", "runtime"} & set(listed)


def test_where_nobody_can_look_nothing_is_saved(open_server: Server) -> None:
    """The vault is locked and the server wasn't given its passphrase."""
    model = {"type": "notebook", "content": notebook("1 + 1")}
    answer = open_server.ask("PUT", "api/contents/locked.ipynb", model)
    assert answer.status == 400
    assert "Nobody can say whether it holds a secret" in answer.json["message"]
    assert not (open_server.home.folder / "locked.ipynb").exists()


def test_a_broken_configuration_ends_the_server(place: Home) -> None:
    place.configure("c.Server.leave_open = {'everything'}\n")
    try:
        process = launch(place)
        assert process.wait(60) != 0
        assert "Keyless: c.Server: " in (place.folder / "server.log").read_text()
    finally:
        place.configure("")


# ----------------------------------------------------------------------- saving


def notebook(source: str) -> dict[str, Any]:
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "id": "a"}
    cells = [{**cell, "execution_count": None}]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.mark.parametrize(("value", "name"), [(SECRET, "deploy"), (TOKEN_LIKE, "github-token")])
@pytest.mark.parametrize("kind", ["notebook", "file"])
def test_secrets_are_taken_out_of_what_is_saved(
    jupyter: Server, value: str, name: str, kind: str
) -> None:
    content: Any = notebook(f"key = '{value}'  # 100%")
    model = {"type": kind, "content": content}
    if kind == "file":
        model |= {"format": "text", "content": json.dumps(content)}
    assert jupyter.ask("PUT", "api/contents/saved.ipynb", model).status in (200, 201)
    written = (jupyter.home.root / "saved.ipynb").read_text()
    assert value not in written
    assert f"key = '[redacted:{name}]'  # 100%" in written
    save = jupyter.ask("GET", "keyless/api/saves?path=saved.ipynb").json
    assert save["done"] == "redacted"
    assert [(each["name"], each["cell"], each["part"]) for each in save["found"]] == [
        (name, 1, "source")
    ]
    assert value not in json.dumps(save)


def test_clean_notebooks_and_other_files_are_saved_as_they_are(jupyter: Server) -> None:
    model = {"type": "notebook", "content": notebook("1 + 1")}
    assert jupyter.ask("PUT", "api/contents/clean.ipynb", model).status == 201
    assert jupyter.ask("GET", "keyless/api/saves?path=clean.ipynb").json["done"] == "clean"
    file = {"type": "file", "format": "text", "content": "no notebook"}
    assert jupyter.ask("PUT", "api/contents/odd.ipynb", file).status == 201
