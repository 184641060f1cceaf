"""What was measured on which machine: facts without names of hosts, people or folders."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AWS_V1 = ROOT / ".venv-aws" / "bin" / "aws"
AWS_V2 = Path("/usr/bin/aws")
_PACKAGES = ("ipykernel", "jupyter_client", "boto3", "cryptography", "ahocorasick_rs")


def machine() -> dict[str, object]:
    """Processor, cores, memory and kernel."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "processor": found[1] if found else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 1e9, 1),
        "linux": platform.release().partition("-")[0],
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of what takes part."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        found[name] = importlib.metadata.version(name)
    for name, path in (("aws v1", AWS_V1), ("aws v2", AWS_V2)):
        if path.exists():
            found[name] = _said([str(path), "--version"]).partition(" ")[0].removeprefix("aws-cli/")
    return found


def commit() -> str:
    """The commit that is checked out; with ``+`` where files differ from it."""
    name = _said(["git", "rev-parse", "--short=10", "HEAD"])
    return name + "+" if _said(["git", "status", "--porcelain", "--untracked-files=no"]) else name


def _said(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip()
