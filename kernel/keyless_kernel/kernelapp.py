"""The kernel class and its application: ipykernel with the magics loaded.

Runs in the sandbox, as the attacker's neighbour: nothing here guards anything.  That the connection
key leaves the places where code would look for it keeps honest code honest; what guards is that no
message on a kernel channel can approve or reveal anything.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any, ClassVar, cast

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.connect import KernelConnectionInfo


class KeylessKernel(IPythonKernel):
    """IPython with a channel to the sidecar."""

    implementation = "keyless"
    banner = (
        "Keyless: this kernel has no network and no credentials. "
        "Use %%secure_exec TOOL for commands that need them, %keyless for what there is."
    )


class KeylessKernelApp(IPKernelApp):
    """Takes its connection from the launcher; reads and writes no connection file."""

    name = "keyless-kernel"
    connection: ClassVar[dict[str, Any]] = {}

    def init_connection_file(self) -> None:
        """Use the connection that came over the descriptor."""
        self.load_connection_info(cast(KernelConnectionInfo, self.connection))

    def write_connection_file(self, **kwargs: Any) -> None:
        """There is no file: cell code could read it."""

    def init_kernel(self) -> None:
        """Make the kernel, then drop the key from the session (its HMAC object signs on)."""
        super().init_kernel()  # type: ignore[no-untyped-call]
        self.session._trait_values["key"] = b""
        self.connection.clear()


def launch(connection: dict[str, Any]) -> None:
    """Run the kernel until it is shut down.

    Args:
        connection: a Jupyter connection dictionary (``transport`` "ipc").
    """
    # A profile of its own, gone with the kernel: start-up files are nothing that cells could plant.
    os.environ["IPYTHONDIR"] = tempfile.mkdtemp(prefix="ipython-")
    connection["key"] = connection["key"].encode()
    KeylessKernelApp.connection = connection
    app = KeylessKernelApp.instance(kernel_class=KeylessKernel)
    app.extensions = ["keyless"]
    app.initialize([])  # type: ignore[no-untyped-call]
    # The interpreter starts without it, so that no file of the workspace shadows a module before
    # the kernel runs; cells import from their folder as in any notebook.
    sys.path.insert(0, "")
    app.start()  # type: ignore[no-untyped-call]


__all__ = ["KeylessKernel", "KeylessKernelApp", "launch"]
