"""Runs a tool's script in a process that was forked for it, as the interpreter would run it.

Never imported in the sidecar: :mod:`keyless_sidecar.warm.plan` sends this file's text, which
:mod:`keyless_sidecar.warm.zygote` executes before it forks.  It fits Python 3.9 and later.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib.machinery
import io
import os
import signal
import sys
import threading
import traceback
import types
from typing import Any


def streams() -> None:
    """Standard streams as the interpreter would have made them for these descriptors."""
    for name, number, mode in (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb")):
        old = getattr(sys, name)
        file: Any = open(number, mode, closefd=False)  # noqa: SIM115
        file.raw.name = f"<{name}>"
        made: Any = io.TextIOWrapper(
            file,
            encoding=getattr(old, "encoding", "utf-8"),
            errors=getattr(old, "errors", "strict"),
            newline=None if number == 0 else "\n",
            line_buffering=number == 2 or file.isatty(),
        )
        made.mode = "r" if number == 0 else "w"
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


def run(argv: list[str]) -> int:
    """Run the script as the interpreter does; its exit status."""
    script = argv[0]
    sys.argv = list(argv)
    code: Any = 0
    try:
        with open(script, "rb") as file:
            program = compile(file.read(), script, "exec", dont_inherit=True)
        exec(program, main_module(script).__dict__)  # noqa: S102 - the tool itself
    except SystemExit as end:
        code = end.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:  # noqa: BLE001 - as the interpreter does
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code is run.__code__:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not flushed():
        code = 120  # the interpreter's status for that
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return int(code) & 0xFF


def main_module(script: str) -> types.ModuleType:
    """The module that a script runs in: the old one is of no use any more."""
    module = types.ModuleType("__main__")
    vars(module).update(
        __annotations__={},
        __builtins__=builtins,
        __cached__=None,
        __file__=script,
        __loader__=importlib.machinery.SourceFileLoader("__main__", script),
    )
    sys.modules["__main__"] = module
    return module


def flushed() -> bool:
    """Write out what the standard streams hold; whether that worked."""
    good = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except Exception as error:  # noqa: BLE001 - a stream of the tool's own may raise anything
            good = False
            if stream is sys.stdout:
                said = "".join(traceback.format_exception_only(type(error), error))
                with contextlib.suppress(Exception):
                    print(f"Exception ignored in: {stream!r}\n{said}", end="", file=sys.stderr)
    return good
