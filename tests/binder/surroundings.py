"""Run inside of the container, as text: what it allows."""

import ctypes
import errno
import json
import os
import socket
from pathlib import Path

_NEW_USER_NAMESPACE = 0x10000000
_KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]

lines = Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
libc = ctypes.CDLL(None, use_errno=True)


def _refusal(result: int) -> str:
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "allowed"


print(
    json.dumps(
        {
            "uid": os.getuid(),
            "capabilities": status["CapEff"],
            "no new privileges": status["NoNewPrivs"],
            "filtered": status["Seccomp"],
            "user namespace": _refusal(libc.unshare(_NEW_USER_NAMESPACE)),
            "keyring": _refusal(libc.syscall(_KEYCTL, 0, -4, 0)),
            "addresses": [name for _, name in socket.if_nameindex()],
        }
    )
)
