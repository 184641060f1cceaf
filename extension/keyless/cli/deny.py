"""``jupyter keyless deny``: a person says no."""

from __future__ import annotations

from keyless.cli.questions import decide, parser, run
from keyless.control_client import ControlClient

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Deny one question."""
    arguments = parser("deny", "Deny what waits.")
    arguments.add_argument("question", metavar="QUESTION", help="id, from jupyter keyless pending")
    arguments.add_argument("--reason", default="", help="a sentence for the cell")
    options = arguments.parse_args(argv)

    async def answer(client: ControlClient) -> None:
        await client.deny(options.question, options.reason)
        print(f"{options.question} denied")

    return run("deny", decide(options.kernel, options.question, answer))
