"""What the stress programs share: private Jupyter folders, and looks at processes and memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

LEAKY = ROOT / "tests" / "support" / "leaky.py"
#: A kernel with the leaking tool and a credential for it.
CREDENTIALS = [
    {
        "name": "canary",
        "kind": "generic",
        "fields": {"value": "kJ7vQ2xW9mZ4tR8bN3cY6hL1pD5sF0gA"},
        "tools": ["leaky"],
    }
]


@contextlib.contextmanager
def jupyter_home() -> Iterator[Path]:
    """Private folders, named in the environment and removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="kl-"))
    home.chmod(0o755)
    tool = home / "leaky.py"
    shutil.copy(LEAKY, tool)
    tool.chmod(0o755)
    for name in ("config", "data", "runtime"):
        (home / name).mkdir(mode=0o700)
        os.environ[f"JUPYTER_{name.upper()}_DIR"] = str(home / name)
    (home / "config" / "jupyter_keyless_config.py").write_text(
        "c.Tools.aws = False\n"
        f"c.Tools.declared = {{'leaky': {{'path': {str(tool)!r}, 'timeout': 60, "
        "'secret_env': {'LEAKY_SECRET': 'generic:value'}}}\n"
    )
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def share(pid: int) -> int:
    """Proportional set size in KiB; 0 for a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def groups() -> int:
    """Control groups of ours, anywhere."""
    return sum(
        name.startswith("keyless-") for _, names, _ in os.walk("/sys/fs/cgroup") for name in names
    )


async def text_of(client: Any, code: str, timeout: float = 60) -> str:
    """What a cell prints, with its result and the name of its error."""
    said: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            said.append(content["text"])
        elif message["msg_type"] == "execute_result":
            said.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            said.append(f"{content['ename']}: {content['evalue']}")

    await client.execute_interactive(code, output_hook=collect, timeout=timeout)
    return "".join(said)
