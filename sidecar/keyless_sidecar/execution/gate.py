"""The first program in a tool's sandbox: hands a socket out, takes the secrets in, steps aside.

Never imported in the sidecar: :mod:`keyless_sidecar.execution.spawner` sends this file's text with
``python -I -S -B -c TEXT CHANNEL_FD LANDLOCK`` into the sandbox, so it must stay free of imports
beyond the standard library.  LANDLOCK is the text of :mod:`keyless_kernel.confine.landlock`, or
empty where the sandbox has no namespaces, and Landlock already.

1. It makes a listening TCP socket on the loopback of the sandbox's own network namespace and
   passes it out over the channel (an inherited socketpair).  The sidecar serves it: the only way
   to a network.  Without a namespace of its own the sidecar listens itself.  In namespaces it lays
   Landlock on itself as a second wall.
2. It receives the command with its environment and its streams, which is how credentials come in:
   neither the arguments nor the environment of bubblewrap or of this program ever held them.
3. It writes the files that the command is to find in its HOME (certificates, say).
4. It makes its terminal, if it has one, the controlling terminal of a session of its own.
5. It closes every descriptor but 0, 1, 2 and becomes the command.  The channel closes with that;
   anything it says before is the reason why not.
"""

import array
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import termios

BACKLOG = 64
#: What a tool may change in its namespaces.
WRITABLE = ("/workspace", "/home/tool", "/tmp", "/dev/shm")  # noqa: S108 - inside the sandbox


def listen() -> socket.socket:
    """A listener on a free port of this namespace's loopback."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    return listener


def receive(channel: socket.socket) -> tuple[dict, list[int]]:  # type: ignore[type-arg]
    """One length-prefixed JSON object, and the descriptors that came with it."""
    data = b""
    found: list[int] = []
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        piece, rights, _, _ = channel.recvmsg(1 << 20, socket.CMSG_SPACE(8 * 4))
        if not piece:
            sys.exit(126)
        data += piece
        for _, _, numbers in rights:
            found += array.array("i", numbers[: len(numbers) // 4 * 4])
    return json.loads(data[4:]), found


def write(path: str, content: str) -> None:
    """A new file, for its owner only, in folders that are made where they are missing."""
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)


def take_streams(streams: dict[str, int]) -> None:
    """Have them as standard streams; a terminal for all three, and as controlling terminal."""
    terminal = streams.get("terminal")
    if terminal is not None:
        with contextlib.suppress(PermissionError):  # it leads a session already
            os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[name] if terminal is None else terminal, number)


def main(channel_fd: int, landlock: str) -> None:
    """Hand the listener out, take the command in, become it."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, channel_fd)
    channel.set_inheritable(False)
    try:
        if landlock:
            space: dict = {}  # type: ignore[type-arg]
            exec(landlock, space)  # noqa: S102 - our own text, from the trusted side
            space["stack"](WRITABLE)
            listener = listen()
            port = listener.getsockname()[1]
            rights = array.array("i", [listener.fileno()])
            channel.sendmsg(
                [json.dumps({"port": port}).encode() + b"\n"],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)],
            )
        else:
            channel.sendall(json.dumps({"port": 0}).encode() + b"\n")
        command, descriptors = receive(channel)
        os.umask(0o077)
        for path, content in command["files"]:
            write(command["env"]["HOME"] + "/" + path, content)
        os.chdir(command["cwd"])
        os.umask(0o022)
        take_streams(dict(zip(command["streams"], descriptors, strict=True)))
        # What the sidecar or Python ignores would stay ignored across execve.
        for ignored in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        os.closerange(3, channel_fd)
        os.closerange(channel_fd + 1, 1 << 20)
        os.execve(command["argv"][0], command["argv"], command["env"])  # noqa: S606
    except (OSError, ValueError) as error:
        # Only the number: a message could quote an argument or a value.
        number = getattr(error, "errno", None) or 0
        channel.sendall(json.dumps({"errno": number}).encode() + b"\n")
        os._exit(126)


main(int(sys.argv[1]), *sys.argv[2:])
