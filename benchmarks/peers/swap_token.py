"""mitmproxy's add-on: what Keyless's proxy does for a token, without policy, audit and masking.

Run by mitmdump in the peers' own environment: a placeholder becomes the real token, the request
goes to the run's own server, and bodies stream.
"""

from __future__ import annotations

import os

from mitmproxy import http

PORT = int(os.environ["ORIGIN_PORT"])


def requestheaders(flow: http.HTTPFlow) -> None:
    """Swap, and send it to the stand-in."""
    if flow.request.headers.get("Authorization") == "Bearer placeholder":
        flow.request.headers["Authorization"] = "Bearer " + os.environ["TOKEN"]
    host = flow.request.headers["Host"]
    flow.request.scheme, flow.request.host, flow.request.port = "http", "127.0.0.1", PORT
    flow.request.headers["Host"] = host
    flow.request.stream = True


def responseheaders(flow: http.HTTPFlow) -> None:
    """Pass the answer on as it comes."""
    flow.response.stream = True
