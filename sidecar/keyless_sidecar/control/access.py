"""Who may speak at the control socket: whoever has the token, and no web page."""

from __future__ import annotations

import hmac

from tornado import httputil

from keyless_sidecar.control.http import Check
from keyless_sidecar.control.requests import Refusal

__all__ = ["bearer", "local_only"]


def bearer(headers: httputil.HTTPHeaders, token: str, where: str) -> None:
    """Require a token.

    Args:
        headers: of the request.
        token: the right one.
        where: what to tell those who don't have it.

    Raises:
        Refusal: it is missing, wrong, or given twice.
    """
    given = headers.get_list("Authorization")
    scheme, _, word = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        word.strip().encode("utf-8", "surrogateescape"), token.encode()
    ):
        raise Refusal(
            401,
            "Unauthorized",
            where,
            headers=(("WWW-Authenticate", 'Bearer realm="keyless"'),),
        )


def local_only(token: str) -> Check:
    """What a web page could send is refused before anything is looked at."""

    def check(_: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> None:
        if headers.get_list("Host") != ["localhost"]:
            raise Refusal(403, "WrongHost", "The Host header must be localhost.")
        for name in ("Origin", "Sec-Fetch-Site", "Referer", "Cookie"):
            if name in headers:
                raise Refusal(403, "Forbidden", "Web pages have no access to this.")
        bearer(
            headers, token, "The token in control.token is needed, as Authorization: Bearer TOKEN."
        )

    return check
