"""``jupyter keyless pending``: what waits for a person's word."""

from __future__ import annotations

import asyncio
import json

from keyless.cli.questions import clients, parser, run, text
from keyless.control_client import ControlClient, ControlUnavailable

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """List the questions; with ``--watch`` stay, and show each as it comes."""
    arguments = parser("pending", "Show what waits for a person's approval.")
    arguments.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments.add_argument(
        "--watch",
        action="store_true",
        help="stay, and show each question as it comes; meanwhile they wait for an answer",
    )
    options = arguments.parse_args(argv)
    return run("pending", _pending(options.kernel, as_json=options.json, watch=options.watch))


async def _pending(kernel: str, *, as_json: bool, watch: bool) -> None:
    found = clients(kernel)
    if watch:
        await asyncio.gather(*(_watch(name, client, as_json) for name, client in found.items()))
        return
    for name, client in found.items():
        try:
            for question in await client.pending():
                _show(name, question, as_json)
        except ControlUnavailable:
            continue  # its kernel ends just now


async def _watch(name: str, client: ControlClient, as_json: bool) -> None:
    async for event in client.events():
        if event.kind == "pending":
            _show(name, dict(event.data), as_json)
        elif event.kind == "decided" and not as_json:
            word = "approved" if event.data["approved"] else "not approved"
            print(f"{event.data['id']}  {word}: {event.data['reason']}", flush=True)


def _show(kernel: str, question: dict[str, object], as_json: bool) -> None:
    shown = json.dumps({"kernel": kernel, **question}) if as_json else text(kernel, question)
    print(shown, flush=True)
