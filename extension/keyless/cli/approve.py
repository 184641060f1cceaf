"""``jupyter keyless approve``: a person says yes."""

from __future__ import annotations

from keyless.cli.questions import decide, parser, run
from keyless.control_client import ControlClient

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Approve one question."""
    arguments = parser("approve", "Approve what waits: this once, or for some minutes.")
    arguments.add_argument("question", metavar="QUESTION", help="id, from jupyter keyless pending")
    arguments.add_argument(
        "--minutes",
        type=float,
        help="allow the same acts of this kernel for so long, whatever its files hold then",
    )
    options = arguments.parse_args(argv)

    async def answer(client: ControlClient) -> None:
        await client.approve(options.question, options.minutes)
        print(f"{options.question} approved")

    return run("approve", decide(options.kernel, options.question, answer))
