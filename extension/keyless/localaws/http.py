"""The two values that the front's parts pass to each other: a request as it came, an answer."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

#: Header names and values in the order of the wire; a name may come twice.
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class HttpRequest:
    """A request exactly as it was sent: the target is not decoded, no header is merged."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query_string(self) -> str:
        """What follows the question mark, still percent-encoded."""
        return self.target.partition("?")[2]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query, in order, names without a value included."""
        return parse_qsl(self.query_string, keep_blank_values=True)

    @property
    def form(self) -> list[tuple[str, str]]:
        """The decoded form in the body; empty unless the body says that it is one."""
        if not self.header("content-type").lower().startswith("application/x-www-form-urlencoded"):
            return []
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def all_headers(self, name: str) -> list[str]:
        """Every value of a header; ``name`` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: str) -> str:
        """The first value of a header (``name`` in lower case), empty where there is none."""
        return next(iter(self.all_headers(name)), "")

    @property
    def host(self) -> str:
        """The host that the client asked for, without the port, in lower case."""
        return (urlsplit(f"//{self.header('host')}").hostname or "").lower()


@dataclass(frozen=True)
class HttpResponse:
    """An answer; the front adds the framing headers."""

    status: int
    headers: Headers
    body: bytes = b""
