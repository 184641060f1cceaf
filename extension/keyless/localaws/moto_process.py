"""moto as a process of its own.  Started by ``server.py`` as a script; imports nothing of ours.

Its standard input is its life: the first line is the secret that every request must carry (so that
nobody but the front, not even another user of the machine, talks to moto), and at the end of the
file the process exits.  A pipe does that whatever becomes of the parent; PR_SET_PDEATHSIG would
follow the parent's *thread*, and kill moto when a pool thread that started it ends.

It prints one line: the port on 127.0.0.1.
"""

from __future__ import annotations

import hmac
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any


def main() -> int:
    """Serve until standard input ends."""
    secret = sys.stdin.readline().strip()
    if len(secret) < 32:
        print("moto_process is started by keyless.localaws, not by hand", file=sys.stderr)
        return 2
    threading.Thread(target=_exit_with_parent, daemon=True).start()

    from moto.core.config import default_user_config
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    default_user_config["lambda"]["use_docker"] = False  # functions are kept, never run in Docker
    application = DomainDispatcherApplication(create_backend_app)

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        given = environ.pop("HTTP_X_KEYLESS_FRONT", "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"Only the front may ask.\n"]
        return application(environ, start)  # type: ignore[no-any-return]

    server = make_server("127.0.0.1", 0, guarded, threaded=True, request_handler=MotoRequestHandler)
    print(server.port, flush=True)
    server.serve_forever()
    return 0


def _exit_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
