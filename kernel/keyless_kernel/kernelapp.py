"""The kernel class and its application: ipykernel with the magics loaded.

Runs in the sandbox, as the attacker's neighbour: nothing here guards anything.  That the connection
key leaves the places where code would look for it keeps honest code honest; what guards is that no
message on a kernel channel can approve or reveal anything.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
import warnings
from typing import Any, ClassVar, cast

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.connect import KernelConnectionInfo

from keyless_kernel.asking import AskingKernel
from keyless_kernel.debugging import defer

#: What every kernel loads while it is set up.
_NEEDED = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "keyless.magics.extension",
    "pdb",
    "sqlite3",
    "tornado.platform.asyncio",
    "unicodedata",
)


class KeylessKernel(AskingKernel):
    """IPython with a channel to the sidecar."""

    implementation = "keyless"
    banner = (
        "Keyless: this kernel has no network and no credentials. "
        "Use %%secure_exec TOOL for commands that need them, %keyless for what there is."
    )

    def _process_children(self) -> list[Any]:
        """None where other processes can't be seen: whoever started this kernel ends them all."""
        try:
            return list(super()._process_children())  # type: ignore[no-untyped-call]
        except PermissionError:
            return []


class KeylessKernelApp(IPKernelApp):
    """Takes its connection from the launcher; reads and writes no connection file."""

    name = "keyless-kernel"
    connection: ClassVar[dict[str, Any]] = {}
    listening: ClassVar[int | None] = None

    def init_connection_file(self) -> None:
        """Use the connection that came over the descriptor."""
        self.load_connection_info(cast(KernelConnectionInfo, self.connection))

    def write_connection_file(self, **kwargs: Any) -> None:
        """There is no file: cell code could read it.

        It would say that clients can connect: the sockets are there, and keep what is sent.
        """
        if self.listening is not None:
            with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
                os.write(self.listening, b"\n")
            os.close(self.listening)
            KeylessKernelApp.listening = None

    def init_control(self, context: Any) -> None:
        """Let the debugger's socket reach the shell's in this process, without a connection.

        It connects to the shell's last endpoint, which is a named socket; no filter of the landlock
        levels lets one be connected to.
        """
        self.shell_socket.bind("inproc://keyless-shell")
        super().init_control(context)  # type: ignore[no-untyped-call]

    def init_iopub(self, context: Any) -> None:
        """Without network sockets forked processes print through the descriptors: good enough."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Couldn't bind IOPub Pipe")
            super().init_iopub(context)  # type: ignore[no-untyped-call]

    def init_kernel(self) -> None:
        """Make the kernel, then drop the key from the session (its HMAC object signs on)."""
        super().init_kernel()  # type: ignore[no-untyped-call]
        self.session._trait_values["key"] = b""
        self.connection.clear()


def preload() -> None:
    """Load all code that the kernel needs, before anything is known that it must be told."""
    defer()
    for name in _NEEDED:
        importlib.import_module(name)


def launch(connection: dict[str, Any], listening: int | None = None) -> None:
    """Run the kernel until it is shut down.

    Args:
        connection: a Jupyter connection dictionary (``transport`` "ipc").
        listening: descriptor that is written to as soon as clients can connect.
    """
    # A profile of its own, gone with the kernel: start-up files are nothing that cells could plant.
    os.environ["IPYTHONDIR"] = tempfile.mkdtemp(prefix="ipython-")
    connection["key"] = connection["key"].encode()
    KeylessKernelApp.connection = connection
    KeylessKernelApp.listening = listening
    app = KeylessKernelApp.instance(kernel_class=KeylessKernel)
    app.extensions = ["keyless"]
    app.initialize([])  # type: ignore[no-untyped-call]
    if not _has_terminals() and app.shell is not None:
        app.shell.system = app.shell.system_raw  # "!command" would ask for a terminal
    gc.enable()
    # The interpreter starts without it, so that no file of the workspace shadows a module before
    # the kernel runs; cells import from their folder as in any notebook.
    sys.path.insert(0, "")
    app.start()  # type: ignore[no-untyped-call]


def _has_terminals() -> bool:
    """Whether pseudo-terminals can be had; at the landlock levels they would be the person's."""
    try:
        descriptors = os.openpty()
    except OSError:
        return False
    for descriptor in descriptors:
        os.close(descriptor)
    return True


__all__ = ["KeylessKernel", "KeylessKernelApp", "launch", "preload"]
