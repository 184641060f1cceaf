"""Which requests of a browser the page's server takes.

The address is public and any program or page can try it.  What counts is the token, which a
browser never sends by itself.  The other checks keep pages of other origins from even trying.
"""

from __future__ import annotations

from collections.abc import Collection

from tornado import httputil

from keyless_sidecar.control.access import bearer
from keyless_sidecar.control.http import ALWAYS, Check
from keyless_sidecar.control.requests import Refusal

__all__ = ["HEADERS", "page_only"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
#: Of every answer.  None allows another origin anything.
HEADERS = (
    *ALWAYS,
    ("Content-Security-Policy", _POLICY),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), clipboard-read=()"),
    ("X-Robots-Tag", "noindex"),
)
_TOKEN_NEEDED = "The token that `jupyter keyless page` printed is needed."  # noqa: S105 - a sentence


def page_only(port: int, token: str, public: Collection[str]) -> Check:
    """The page itself for everybody on this machine, all else for whoever has the token.

    Args:
        port: that the server listens on.
        token: the right one.
        public: addresses of the page's own files, which hold nothing of anybody.
    """
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    def check(line: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> None:
        named = headers.get_list("Host")
        # A name that somebody else made point here (DNS rebinding) is another host.
        if len(named) != 1 or named[0].lower() not in hosts:
            raise Refusal(403, "WrongHost", "This is not the address of the page.")
        origins = headers.get_list("Origin")
        if origins not in ([], [f"http://{named[0].lower()}"]):
            raise Refusal(403, "Forbidden", "Pages of other origins have no access to this.")
        opened = line.method == "GET" and line.path == "/" and _is_opened(headers)
        if headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not opened:
            raise Refusal(403, "Forbidden", "Pages of other origins have no access to this.")
        if line.method == "GET" and line.path in public:
            return
        bearer(headers, token, _TOKEN_NEEDED)
        if line.method != "GET" and not origins:
            raise Refusal(403, "Forbidden", "Only the page itself may do this.")

    return check


def _is_opened(headers: httputil.HTTPHeaders) -> bool:
    """Whether a browser opens it as a page of its own, from a link elsewhere.

    That gives the other page nothing: the two share no window (COOP), and no link has the token.
    """
    return (
        headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    )
