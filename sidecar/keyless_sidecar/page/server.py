"""The page's server: its socket, its token, its address, from start to Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from keyless_sidecar.control.http import serve
from keyless_sidecar.page.access import HEADERS, page_only
from keyless_sidecar.page.assets import load
from keyless_sidecar.page.kernels import Kernels
from keyless_sidecar.page.router import PageRouter
from keyless_sidecar.private_files import NotPrivate, open_folder, replace_file

__all__ = ["ADDRESS", "PageUnavailable", "run"]

#: In Jupyter's runtime folder: where the page is, without its token.
ADDRESS = "keyless-page.json"
_HOST = "127.0.0.1"


class PageUnavailable(Exception):
    """The page can't be served; the message is one sentence."""


async def run(runtime_dir: Path, port: int) -> None:
    """Serve until Ctrl-C, or until the terminal closes.

    Args:
        runtime_dir: Jupyter's runtime folder.
        port: to listen on; 0: any that is free.

    Raises:
        PageUnavailable: the port is taken, or the runtime folder isn't private.
    """
    listener = _listener(port)
    address = f"{_HOST}:{listener.getsockname()[1]}"
    token = secrets.token_urlsafe(32)
    assets = load()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    check = page_only(listener.getsockname()[1], token, assets)
    server = serve(listener, check, PageRouter(assets, Kernels(runtime_dir)), HEADERS)
    try:
        with _announced(runtime_dir, f"http://{address}/"):
            print(
                f"Open this link in your browser:\n\n    http://{address}/#{token}\n\n"
                "Whoever has it can approve for you. It is worth nothing after Ctrl-C.",
                flush=True,
            )
            await stop.wait()
    finally:
        server.stop()
        await server.close_all_connections()


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Connections of an earlier page in TIME_WAIT don't hold the port; a listener does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.setblocking(False)
        listener.listen(64)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno or 0)
        raise PageUnavailable(f"The port {port} can't be had: {reason}.") from None
    return listener


@contextlib.contextmanager
def _announced(runtime_dir: Path, url: str) -> Iterator[None]:
    """Leave the address, so that a link elsewhere can lead here; without the token."""
    try:
        folder = open_folder(runtime_dir, create=True)
    except (OSError, NotPrivate) as error:
        raise PageUnavailable(f"Jupyter's runtime folder can't be used: {error}.") from None
    said = json.dumps({"url": url, "pid": os.getpid()}).encode()
    try:
        replace_file(folder, ADDRESS, said)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(ADDRESS, dir_fd=folder)
    finally:
        os.close(folder)
