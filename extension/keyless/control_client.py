"""Speaks with the control socket of one kernel: for hosts, the command line, a page's server.

::

    control = ControlClient(provisioner.control_folder)
    for question in await control.pending():
        await control.approve(question["id"])

It runs outside of the sandbox, as the person's user.  Answers are plain dictionaries, as
``docs/control-api.md`` describes them.  Each call is a connection of its own, so that a call which
is cancelled ends what it began; any number may be under way.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from keyless.control_transport import (
    SOCKET,
    ControlError,
    ControlUnavailable,
    connected,
    failure,
    read_body,
    read_head,
    read_line,
)

__all__ = ["ControlClient", "ControlError", "ControlUnavailable", "Event", "kernels"]

Via = Literal["host", "terminal", "page"]


@dataclass(frozen=True)
class Event:
    """One piece of news.

    Attributes:
        kind: ``pending``, ``decided``, ``started`` or ``finished``.
        data: what the documentation of the control API says.
    """

    kind: str
    data: Mapping[str, Any]


def kernels(runtime_dir: str | os.PathLike[str]) -> dict[str, Path]:
    """Running kernels by their ids, with the folder of each control socket.

    Args:
        runtime_dir: Jupyter's runtime folder.
    """
    found = {}
    with contextlib.suppress(OSError):
        for folder in sorted((Path(runtime_dir) / "keyless").iterdir()):
            if (folder / SOCKET).is_socket():
                found[folder.name] = folder.resolve()
    return found


class ControlClient:
    """The control API of one kernel.  May be used by several tasks at once.

    Args:
        folder: that of socket and token: ``provisioner.control_folder``, or one of :func:`kernels`.
        via: who answers questions, for the audit.

    All methods raise :class:`ControlUnavailable` where nobody answers, and :class:`ControlError`
    where the sidecar refuses.
    """

    def __init__(self, folder: str | os.PathLike[str], *, via: Via = "host") -> None:
        self._folder = Path(folder)
        self._via = via

    # ------------------------------------------------------------------ looking

    async def status(self) -> dict[str, Any]:
        """Level, tools, credentials by name, what runs."""
        return await self._call("GET", "/api/status")

    async def pending(self) -> list[dict[str, Any]]:
        """Questions that wait for a person, oldest first."""
        answer = await self._call("GET", "/api/pending")
        return list(answer["pending"])

    async def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last records of this kernel, oldest first.

        Args:
            limit: how many, 1 to 1000.
        """
        answer = await self._call("GET", f"/api/audit?limit={limit}")
        return list(answer["records"])

    async def openapi(self) -> dict[str, Any]:
        """The description of the API."""
        return await self._call("GET", "/openapi.json")

    async def events(self, *, approves: bool = True) -> AsyncIterator[Event]:
        """News as it comes, what waits already first; ends when the sidecar does.

        Args:
            approves: whether the listener answers questions.  While somebody does, they wait for
                an answer; otherwise they are denied at once.
        """
        target = "/api/events" if approves else "/api/events?approves=false"
        async with connected(self._folder, "GET", target) as reader:
            status, answer = await read_head(reader)
            if status != 200:
                raise failure(status, await read_body(reader, answer))
            kind, data = "", ""
            while line := await read_line(reader):
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif not name and kind and data:
                    yield Event(kind, json.loads(data))
                    kind, data = "", ""

    # ------------------------------------------------------------------ deciding

    async def approve(self, question: str, minutes: float | None = None) -> None:
        """Say yes.

        Args:
            question: its id.
            minutes: for how long the same acts are allowed too; ``None``: this once.
        """
        body: dict[str, Any] = {"id": question, "via": self._via}
        await self._call("POST", "/api/approve", body | _given(minutes=minutes))

    async def deny(self, question: str, reason: str = "") -> None:
        """Say no.

        Args:
            question: its id.
            reason: for the cell.
        """
        await self._call("POST", "/api/deny", {"id": question, "reason": reason, "via": self._via})

    async def stop(self, record_id: str) -> None:
        """End a command that runs.

        Args:
            record_id: of the command, as :meth:`status` and the event ``started`` name it.
        """
        await self._call("POST", "/api/stop", {"record_id": record_id, "via": self._via})

    # ------------------------------------------------------------------ credentials

    async def store(
        self,
        name: str,
        kind: str,
        fields: Mapping[str, str],
        tools: Sequence[str],
        *,
        delivery: str = "",
        hosts: Sequence[str] = (),
        paths: Sequence[str] = (),
        places: Sequence[str] = (),
        file: str = "",
    ) -> None:
        """Register a credential for this kernel; it lives in the sidecar's memory only."""
        await self._call(
            "POST",
            "/api/vault/store",
            {
                "name": name,
                "kind": kind,
                "fields": dict(fields),
                "tools": list(tools),
                "delivery": delivery,
                "hosts": list(hosts),
                "paths": list(paths),
                "places": list(places),
                "file": file,
            },
        )

    async def remove(self, name: str) -> None:
        """Forget a credential that was registered."""
        await self._call("DELETE", f"/api/vault/{quote(name, safe='')}")

    # ------------------------------------------------------------------ commands

    async def vault_exec(
        self,
        tool: str,
        argv: Sequence[str],
        *,
        credentials: Sequence[str] | None = None,
        timeout: float | None = None,
        cwd: str = "",
        stdin: str | None = None,
        isolated: bool = True,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Run a declared tool; cancelling the call ends it.

        Args:
            tool: its name.
            argv: arguments.
            credentials: names in the vault; ``None``: those that the tool is bound to.
            timeout: seconds; ``None``: the tool's own.
            cwd: folder relative to the workspace.
            stdin: standard input.
            isolated: whether it gets a sandbox of its own.
            dry_run: whether it is only decided.

        Returns:
            ``exit_code``, ``stdout``, ``stderr``, ``duration``, ``record_id``, ``redactions``,
            ``files``, ``notes``.
        """
        return await self._call(
            "POST",
            "/api/vault/exec",
            {"tool": tool, "argv": list(argv)}
            | _given(credentials=_list(credentials))
            | _how(timeout, cwd, stdin, isolated, dry_run),
        )

    async def platform_exec(
        self,
        command: str,
        *,
        credentials: Sequence[str] | None = None,
        timeout: float | None = None,
        cwd: str = "",
        stdin: str | None = None,
        isolated: bool = True,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Run one line, split without a shell; its first word is the tool.

        The others are as for :meth:`vault_exec`.
        """
        return await self._call(
            "POST",
            "/api/platform/exec",
            {"command": command}
            | _given(credentials=_list(credentials))
            | _how(timeout, cwd, stdin, isolated, dry_run),
        )

    async def jit_exec(
        self,
        command: str | tuple[str, Sequence[str]],
        *,
        fields: Mapping[str, str] | None = None,
        program: Sequence[str] | None = None,
        program_fields: Mapping[str, str] | None = None,
        kind: str = "aws",
        delivery: str = "",
        hosts: Sequence[str] = (),
        file: str = "",
        timeout: float | None = None,
        cwd: str = "",
        stdin: str | None = None,
        isolated: bool = True,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Run a command with a credential that is fetched for it and forgotten after it.

        Args:
            command: one line, or the tool and its arguments.
            fields: the credential itself; or
            program: absolute path and arguments of what prints it.
            program_fields: field → member of the JSON object that the program prints.
            kind: of the credential.

        The others are as for :meth:`store` and :meth:`vault_exec`.
        """
        if (fields is None) == (program is None):
            raise ValueError("give either fields or program")
        source: dict[str, Any] = {"from": "fields", "fields": dict(fields or {})}
        if program is not None:
            source = {
                "from": "command",
                "argv": list(program),
                "fields": dict(program_fields or {}),
            }
        what: dict[str, Any] = (
            {"command": command}
            if isinstance(command, str)
            else {"tool": command[0], "argv": list(command[1])}
        )
        return await self._call(
            "POST",
            "/api/jit/exec",
            {
                **what,
                "source": source,
                "kind": kind,
                "delivery": delivery,
                "hosts": list(hosts),
                "file": file,
            }
            | _how(timeout, cwd, stdin, isolated, dry_run),
        )

    # ------------------------------------------------------------------ inside

    async def _call(
        self, method: str, target: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        async with connected(self._folder, method, target, body) as reader:
            status, answer = await read_head(reader)
            raw = await read_body(reader, answer)
        if status != 200:
            raise failure(status, raw)
        try:
            decoded: dict[str, Any] = json.loads(raw)
        except ValueError:
            raise ControlUnavailable("The sidecar's answer can't be read.") from None
        return decoded


def _how(
    timeout: float | None, cwd: str, stdin: str | None, isolated: bool, dry_run: bool
) -> dict[str, Any]:
    """What every command may be told of how it is to run."""
    plain = {"cwd": cwd, "isolated": isolated, "dry_run": dry_run}
    return plain | _given(timeout=timeout, stdin=stdin)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _list(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)
