"""A web API of one's own for the notebooks: a small weather station, and a tool that speaks to it.

Used by ``classroom``.  The station wants a bearer token; the tool holds what it is given and prints
it when asked, as careless tools do.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["HOST", "TOOL", "Station", "install_tool", "serving"]

#: The name that tools know the station by.
HOST = "station.example.org"
_MAX_BODY = 10_000

#: The tool's source, without its first line.
TOOL = '''\
"""station METHOD PATH [TEXT]: speaks with the weather station."""
import os, sys, urllib.error, urllib.request

token = os.environ["STATION_TOKEN"]
method, path, *text = [word for word in sys.argv[1:] if word != "--debug"]
if "--debug" in sys.argv:
    print("the tool holds:", token)
request = urllib.request.Request(
    os.environ.get("STATION_URL", "https://station.example.org") + path,
    method=method,
    data=" ".join(text).encode() if text else None,
    headers={"Authorization": "Bearer " + token},
)
try:
    print(urllib.request.urlopen(request, timeout=10).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code}: {error.read().decode()}")
except OSError as error:
    sys.exit(f"no answer: {error}")
'''


class Station:
    """What the station knows.

    Attributes:
        token: that it wants, fresh for this run.
        port: on the loopback.
        readings: by hour.
        seen: method, path, and whether the real token came with it; one for each request.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self.readings = [{"hour": hour, "celsius": 4 + hour // 3} for hour in range(0, 24, 6)]
        self.notes: list[str] = []
        self.seen: list[tuple[str, str, bool]] = []

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, authorization: str, body: str) -> tuple[int, object]:
        """One request's status and answer."""
        welcome = secrets.compare_digest(authorization.encode(), f"Bearer {self.token}".encode())
        self.seen.append((method, path, welcome))
        if not welcome:
            return 401, {"error": "this station wants its token"}
        if (method, path) == ("GET", "/v1/readings"):
            return 200, self.readings
        if (method, path) == ("GET", "/v1/echo"):
            return 200, {"you sent": authorization}
        if (method, path) == ("POST", "/v1/notes"):
            self.notes.append(body)
            return 201, {"notes": len(self.notes)}
        if (method, path) == ("DELETE", "/v1/readings"):
            self.readings.clear()
            return 200, {"readings": 0}
        return 404, {"error": "no such page"}


@contextlib.contextmanager
def serving() -> Iterator[Station]:
    """A station that serves until the end of the block."""
    station = Station()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = min(int(self.headers.get("Content-Length") or 0), _MAX_BODY)
            body = self.rfile.read(size).decode(errors="replace")
            credential = self.headers.get("Authorization", "")
            status, answer = station.answer(self.command, self.path, credential, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal belongs to the demo."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        station.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, name="station")
        thread.start()
        try:
            yield station
        finally:
            server.shutdown()
            thread.join()


def install_tool(folder: Path) -> Path:
    """Write the tool into a folder that only this user can write; returns its path."""
    tool = folder / "station"
    tool.write_text(f"#!{sys.executable}\n{TOOL}", encoding="utf-8")
    tool.chmod(0o755)
    return tool
