"""A server that gives back whatever it was sent: headers, query and body, in several forms."""

from __future__ import annotations

import base64
import gzip

from tests.support.web import Handler

__all__ = ["Echo"]


class Echo(Handler):
    """Answers every method with the request, in its headers and its body.

    Attributes:
        seen: the ``Authorization`` headers that came; each server has a list of its own.
    """

    seen: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Echo."""
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = f"{self.command} {self.path}\n{self.headers}".encode() + sent
        credential = self.headers.get("Authorization", "")
        forms = (told, base64.b64encode(told), credential.encode()[::-1], told.hex().encode())
        self.seen.append(credential)
        body = b"\n".join(forms) + b"\n"
        coded = "gzip" in self.headers.get("Accept-Encoding", "")
        if coded:
            body = gzip.compress(body)
        self.send_response(200, f"OK {credential}")
        self.send_header("X-Echo", credential)
        self.send_header("Set-Cookie", f"{self.headers.get('Cookie', '')}; {credential}")
        if coded:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_DELETE = do_TRACE = do_OPTIONS = do_GET
