"""The shared command-level attacks on ``aws``, on curl by proxy, and on programs that are no tools.

As with the shared probes, this module holds no test where their folder isn't there.  Commands of
tools that Keyless doesn't declare by itself are left to whoever declares them.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.support import probes
from tests.support.hunt import Hunter
from tests.support.kept import Kept, probe_folder
from tests.support.kernels import ECHO_HOST, Stage, clear

LIST = probe_folder() / "commands.jsonl"
COMMANDS = [
    command
    for command in map(json.loads, LIST.read_text().splitlines() if LIST.is_file() else ())
    if command["tool"] in ("aws", "other")
    # curl is declared in these tests without rules for its arguments: placeholders stop it.
    or (command["tool"] == "curl" and command["expectation"] != "refused")
]

#: Makes the files, then runs each step; says of each whether it was refused.
RUN = """
import os, pathlib
for _file in COMMAND["files"]:
    _path = pathlib.Path(_file["path"])
    _path.parent.mkdir(parents=True, exist_ok=True)
    if _file.get("type") == "fifo":
        os.mkfifo(_path)
    elif _file.get("type") == "symlink":
        os.symlink(_file["target"], _path)
    else:
        _path.write_text(_file["content"])
        _path.chmod(_file.get("mode", 0o644))
for _argv in COMMAND.get("steps") or [COMMAND["argv"]]:
    if "magic_line" in COMMAND:
        try:
            get_ipython().run_line_magic("secure_exec", COMMAND["magic_line"])
            _done = {"refused": False}
        except Exception as error:
            _done = {"refused": True, "err": str(error)}
    else:
        _done = RT_PRIV(_argv, COMMAND.get("stdin"), 15)
    print("refused" if _done["refused"] else "ran", _done)
"""


def _filled(value: Any, names: dict[str, str]) -> Any:
    """A command with its ``{NAMES}`` replaced."""
    if isinstance(value, str):
        return re.sub(r"\{([A-Z_]+)\}", lambda found: names.get(found[1], found[0]), value)
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    return [_filled(inner, names) for inner in value] if isinstance(value, list) else value


if COMMANDS:

    @pytest.mark.parametrize(
        "command",
        [
            pytest.param(command, id=command["id"], marks=pytest.mark.probe(command["id"]))
            for command in COMMANDS
        ],
    )
    def test_command_gets_nothing(
        command: dict[str, Any], world: Stage, hunter: Hunter, keyless: Kept
    ) -> None:
        session = keyless.get()
        clear(session.workspace)
        world.listener.received.clear()
        names = {
            "BUCKET": "rt-bucket",
            "LISTENER": f"http://127.0.0.1:{world.listener.port}",
            "LISTENER_HOST": "127.0.0.1",
            "LISTENER_PORT": str(world.listener.port),
            "ESCAPE": "/tmp/rt_escape",
            "ALLOWED_URL": f"https://{ECHO_HOST}/",
            "MARK": "/workspace/rt_mark",
        }
        told = f"COMMAND = {_filled(command, names)!r}\n"
        done = session.run(told + probes.PRODUCT_ROUTE + RUN)
        assert not done.error
        assert hunter.messages(done.messages) == []
        assert hunter.tree(session.workspace) == []
        assert hunter.data(bytes(world.listener.received), "listener") == []
        assert not (session.workspace / "rt_mark").exists()
        if command["expectation"] == "refused":
            assert re.search("^refused ", done.text, re.MULTILINE), done.text
