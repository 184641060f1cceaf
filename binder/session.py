"""Runs a command with the classroom beside it.  Called by ``start``, with the command as arguments.

A local AWS comes up with a fresh key.  Configuration, policy and vault are written to Jupyter
folders made for this run, which the command finds by Jupyter's own variables.  What a person has
in theirs stays untouched, so that this can be tried outside of Binder.  All of it ends with the
command.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from keyless.localaws.classroom import classroom
from keyless.localaws.private_jupyter import private_jupyter
from keyless.localaws.stories import configure_all
from keyless_kernel.confine import Confinement, ConfinementUnavailable, probe

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
#: The strongest level that containers like Binder's allow.
LEVEL = "landlock"


def main(command: Sequence[str]) -> int:
    """Run the command.

    Args:
        command: program and arguments; ``jupyter notebook …`` on Binder.

    Returns:
        Its exit status.

    Raises:
        LocalAwsError, CommandRefused: the classroom can't be set up.
    """
    with classroom() as room, private_jupyter() as jupyter:
        configure_all(jupyter, room, more=f"c.Confinement.minimum = {LEVEL!r}\n")
        # The notebooks' folder and nothing else: a script in an output can write where files
        # can be opened in the browser.
        jupyter.configure_server({"ServerApp.root_dir": str(NOTEBOOKS)})
        print(f"Keyless: {_level()}", flush=True)
        return _run(command)


def _level() -> str:
    """What a kernel's start will find, for the container's log.

    Where no level can be had, the server starts all the same: each kernel then refuses with the
    same sentence, where the person sees it.
    """
    try:
        return f"isolation level {probe(Confinement(minimum=LEVEL)).level}"
    except ConfinementUnavailable as error:
        return f"no kernel can start here: {error}"


def _run(command: Sequence[str]) -> int:
    child = subprocess.Popen(command)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("start COMMAND ARGUMENTS...")
    sys.exit(main(sys.argv[1:]))
