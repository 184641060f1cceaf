"""Run inside of the container, as text: what a browser would ask of its server."""

import json
import sys
import time
import urllib.error
import urllib.request

TOKEN = sys.argv[1]
ADDRESS = "http://127.0.0.1:8888"
PATIENCE = 120.0


def ask(path: str, body: object = None) -> tuple[int, object]:
    """Status and answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310
        ADDRESS + path, data, {"Authorization": f"token {TOKEN}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def wait(done: object) -> object:
    """The first answer of ``done`` that isn't false."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if answer := done():
                return answer
        except OSError:
            pass  # it doesn't listen yet
        time.sleep(0.5)
    raise SystemExit("the server didn't come up")


def level() -> str:
    """Of the only kernel, once its sidecar answers."""
    kernels = ask("/keyless/api/kernels")[1]["kernels"]
    return kernels[0]["level"] if kernels and kernels[0]["answers"] else ""


wait(lambda: ask("/api/status")[0] == 200)
files = [entry["name"] for entry in ask("/api/contents/")[1]["content"]]
other = ask("/api/kernels", {"name": "python3"})[0]
terminal = ask("/api/terminals", {})[0]
ask("/api/kernels", {"name": "keyless"})
extensions = ask("/lab/api/extensions")[1] or []
print(
    json.dumps(
        {
            "files": files,
            "level": wait(level),
            "extension": any("keyless" in each["name"] for each in extensions),
            "another kernel": other,
            "a terminal": terminal,
        }
    )
)
