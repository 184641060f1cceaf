"""Questions that wait for a person, at the terminal: what pending, approve and deny share.

Only over the control sockets of this user's own kernels; what a kernel says of itself counts for
nothing here.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir

from keyless.control_client import ControlClient, ControlError, ControlUnavailable, kernels

__all__ = ["Fault", "clients", "decide", "parser", "run", "text"]


class Fault(Exception):
    """It can't be done; the message is one sentence."""


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """The arguments that all three take."""
    made = argparse.ArgumentParser(
        prog=f"jupyter keyless {command}", description=description, allow_abbrev=False
    )
    made.add_argument(
        "--kernel", default="", metavar="ID", help="only this kernel (the start of its id)"
    )
    return made


def clients(kernel: str) -> dict[str, ControlClient]:
    """The control APIs of running kernels, by kernel id.

    Args:
        kernel: the start of an id; empty: all of them.

    Raises:
        Fault: there is none.
    """
    found: Mapping[str, Path] = kernels(jupyter_runtime_dir())
    chosen = {name: folder for name, folder in found.items() if name.startswith(kernel)}
    if not chosen:
        raise Fault(
            f"no running Keyless kernel has an id that starts with {kernel!r}"
            if kernel
            else "no Keyless kernel of this user runs"
        )
    return {name: ControlClient(folder, via="terminal") for name, folder in chosen.items()}


async def decide(
    kernel: str, question: str, answer: Callable[[ControlClient], Awaitable[None]]
) -> None:
    """Answer a question, at the kernel that asks it.

    Raises:
        Fault: nobody asks it.
    """
    for client in clients(kernel).values():
        try:
            if any(each["id"] == question for each in await client.pending()):
                await answer(client)
                return
        except ControlUnavailable:
            continue  # its kernel ends just now
    raise Fault(f"no question {question} waits; `jupyter keyless pending` lists them")


def run(command: str, work: Awaitable[None]) -> int:
    """Do it, and turn what goes wrong into one line; returns the exit status."""

    async def main() -> None:
        await work

    try:
        asyncio.run(main())
    except (Fault, ControlError, ControlUnavailable) as error:
        print(f"jupyter keyless {command}: {error}", file=sys.stderr)
        return 1
    return 0


def text(kernel: str, question: Mapping[str, Any]) -> str:
    """A question as a person reads it; the sidecar took out what a terminal would obey."""
    where = f", cell [{question['execution_count']}]" if question["execution_count"] else ""
    lines = [
        f"{question['id']}  kernel {kernel}{where}, {question['seconds_left']:.0f} s left",
        f"  {shlex.join([question['tool'], *question['shown']])}",
        f"  {question['reason']} (rule {question['rule']})",
    ]
    for act in question["acts"]:
        changes = "changes something" if act["mutating"] else "only reads"
        with_ = f" with {act['credential']}" if act["credential"] else ""
        lines.append(f"  does {act['action']}{with_}: {changes}")
        told = {**act["facts"], **act["parameters"]}
        lines += [f"    {name}: {value}" for name, value in told.items()]
        lines += [f"    {name}: (in a file or the body)" for name in act["unknown_parameters"]]
    for file in question["files"]:
        digest = f"sha256 {file['sha256']}" if file["sha256"] else "whatever it will be"
        lines.append(f"  reads {file['path']}: {file['size']} bytes, {digest}")
    return "\n".join(lines)
