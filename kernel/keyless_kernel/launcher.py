"""First program in the kernel's sandbox: checks where it is, then becomes the kernel.

The supervisor starts it with descriptors.  The kernelspec names it too, so that a client which
ignores provisioners and runs the kernelspec's argv gets a refusal instead of an unprotected kernel.
Everything it needs comes by arguments and descriptors, so that another launcher may start it on a
remote host.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import select
import socket
import sys
from typing import Any

REFUSAL = (
    "Keyless: this kernel runs only in its sandbox with its sidecar, which the provisioner "
    "'keyless-provisioner' starts. The program that ran this command ignores kernel provisioners; "
    "start the kernel from JupyterLab, Notebook, nbclient or any jupyter_client >= 7, and in VS "
    "Code connect to a running Jupyter server."
)


_BACKLOG = 64
#: What a kernel may change in its namespaces, besides HOME and the workspace.
_WRITABLE = ("/tmp", "/dev/shm", "/run/keyless")  # noqa: S108 - inside the sandbox


def main(argv: list[str] | None = None) -> int:
    """Check the surroundings and run the kernel; returns an exit status."""
    parser = argparse.ArgumentParser(prog="keyless-kernel", add_help=False)
    parser.add_argument("--start-fd", type=int)
    parser.add_argument("--lifeline-fd", type=int)
    parser.add_argument("--network-fd", type=int)
    parser.add_argument("--listening-fd", type=int)
    parser.add_argument("-f", dest="connection_file", default="")
    options, _ = parser.parse_known_args(argv)
    if options.start_fd is None or options.lifeline_fd is None or not _in_sandbox():
        print(REFUSAL, file=sys.stderr)
        return 2
    if _hung_up(options.lifeline_fd):
        return 3  # the supervisor died while this sandbox came up
    os.close(options.lifeline_fd)
    # ipykernel ends when this is no longer its parent: the namespace's init, or the wrapper.
    os.environ["JPY_PARENT_PID"] = str(os.getppid())
    if os.getppid() == 1:
        from keyless_kernel.confine.landlock import stack

        stack([*_WRITABLE, os.environ["HOME"], os.environ["KEYLESS_WORKSPACE"]])

    # Nothing of what is loaded now is ever garbage: a tenth of the start went into looking.
    gc.disable()  # until all is loaded: none of it is garbage
    # Loaded while the sidecar gets ready: the start comes from it, by way of the supervisor.
    from keyless_kernel.kernelapp import launch, preload

    preload()
    start = _read_start(options.start_fd)
    if start is None:
        return 3  # the supervisor died, or gave up since there is no sidecar
    os.environ.update(start["environment"])
    if options.network_fd is not None:
        _hand_out_listeners(options.network_fd, start["ports"])
    launch(start["connection"], options.listening_fd)
    return 0


def _hand_out_listeners(descriptor: int, ports: list[int]) -> None:
    """Listen on this sandbox's own loopback, and give the listeners to the sidecar.

    What connects to them speaks with the sidecar's proxy: the kernel's only way to a network.
    """
    with contextlib.ExitStack() as opened:
        channel = opened.enter_context(socket.socket(fileno=descriptor))
        listeners = []
        for port in ports:
            listener = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
            listeners.append(listener.fileno())
        if listeners:
            socket.send_fds(channel, [b"listeners"], listeners)


def _in_sandbox() -> bool:
    """Whether this is a fresh pid namespace or a Landlock domain, with filters and a channel."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except (OSError, ValueError):
        return False
    return (
        status.get("Seccomp") == "2"
        and status.get("NoNewPrivs") == "1"
        and int(status.get("CapEff", "1"), 16) == 0
        and (os.getppid() == 1 or _behind_landlock())
        and os.environ.get("KEYLESS_CHANNEL_FD", "").isdigit()
    )


def _behind_landlock() -> bool:
    """Whether the root folder, which everybody may list, can't be listed."""
    try:
        os.listdir("/")  # noqa: PTH208
    except PermissionError:
        return True
    return False


def _hung_up(descriptor: int) -> bool:
    """Whether the other end of the lifeline is gone."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def _read_start(descriptor: int) -> dict[str, Any] | None:
    """What makes this a kernel: its connection and its way to a network; None where it never came.

    There is nothing to run a cell with before.
    """
    with os.fdopen(descriptor, "rb") as file:
        text = file.read()
    return dict(json.loads(text)) if text else None


if __name__ == "__main__":
    sys.exit(main())
