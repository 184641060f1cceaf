"""Sandboxes made directly, for the tests of their parts: at the landlock levels, and at others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keyless_kernel.confine import Confined, Confiner, Sandbox
from keyless_kernel.confine.landlock_confiner import LandlockConfiner

#: ``start`` of this module, or another one of its kind.
Start = Callable[..., Confined]
#: The system's own, which the sandbox's user can reach wherever the tests' one lies.
PYTHON = "/usr/bin/python3"


def landlock_confiner() -> LandlockConfiner:
    """That of this process's user, whether or not a stronger level works here."""
    if os.geteuid() == 0:
        return LandlockConfiner(level="landlock-root", uid=61000, gid=61000)
    return LandlockConfiner(level="landlock", uid=os.geteuid(), gid=os.getegid())


@contextmanager
def folder_for(confiner: Confiner) -> Iterator[Path]:
    """A folder of the sandbox's user."""
    with tempfile.TemporaryDirectory(prefix="kl-ws-") as name:
        os.chown(name, confiner.uid, confiner.gid)
        yield Path(name)


def start(confiner: Confiner, code: str, output: int, **options: Any) -> Confined:
    """Start Python code in a sandbox; both its outputs go to a descriptor."""
    argv = (PYTHON, "-I", "-S", "-c", textwrap.dedent(code))
    options = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, **options}
    return confiner.spawn(
        Sandbox(argv=argv, **options), stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )


def run(confiner: Confiner, code: str, start: Start = start, **options: Any) -> Any:
    """Run Python code in a sandbox; what it prints is parsed as JSON."""
    with tempfile.TemporaryFile() as output:
        confined = start(confiner, code, output.fileno(), **options)
        status = confined.process.wait(timeout=30)
        confined.close()
        output.seek(0)
        text = output.read().decode()
    assert status == 0, text
    return json.loads(text)


def require_signals(confiner: Confiner, start: Start = start) -> None:
    """Signals reach the command itself, and none fails when nobody is left."""
    with tempfile.TemporaryFile() as output:
        code = """
        import signal, sys, time
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(42))
        print("ready", flush=True)
        time.sleep(60)
        """
        confined = start(confiner, code, output.fileno())
        deadline = time.monotonic() + 20
        while os.fstat(output.fileno()).st_size == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        confined.signal(signal.SIGUSR1)
        assert confined.process.wait(timeout=20) == 42
        confined.close()
        confined.signal(signal.SIGUSR1)  # nobody is left; no error
        confined.kill()
