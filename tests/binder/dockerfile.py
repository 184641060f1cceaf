"""The Dockerfile that repo2docker makes of this checkout, as a list of instructions."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
#: What a Binder hub asks repo2docker for.
USER, UID = "jovyan", 1000


@dataclass(frozen=True)
class Instruction:
    """One line of a Dockerfile, continued lines joined."""

    word: str
    rest: str


def printed() -> str:
    """What ``jupyter-repo2docker`` prints for this checkout; it builds nothing.

    Raises:
        RuntimeError: it failed; what it said.
    """
    argv = [str(Path(sys.executable).with_name("jupyter-repo2docker")), "--no-build", "--debug"]
    argv += [f"--user-name={USER}", f"--user-id={UID}", "."]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"jupyter-repo2docker: {done.stdout}{done.stderr}")
    return done.stdout


def instructions(text: str) -> list[Instruction]:
    """Take a Dockerfile apart.

    Args:
        text: of the Dockerfile.

    Returns:
        Its instructions, without comments.
    """
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", "\n\\\n", "\n".join(kept)).replace("\n\\\n", " ")
    found = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            found.append(Instruction(word, " ".join(rest.split())))
    return found
