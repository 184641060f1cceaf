"""How a session looks: what is exposed, to whom, for how long.  Pure; the keys stand nowhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from keyless.magics.rendering import box, one_line

if TYPE_CHECKING:
    from keyless.magics.session_api import SecureSession

__all__ = ["session_html", "session_text"]

_LIMIT = 1000


def session_text(session: SecureSession) -> str:
    """Two or three lines."""
    return "\n".join([f"session of {session.credential}: {_state(session)}", *_lines(session)])


def session_html(session: SecureSession) -> str:
    """The same as a small box."""
    head = f"<b>session of {_text(session.credential)}: {_text(_state(session))}</b>"
    body = "".join(f"<div>{_text(line.strip())}</div>" for line in _lines(session))
    # Not the colour of what is well: real keys are out while it is open.
    return box(f"<div>{head}</div>{body}", good=not session.open)


def _state(session: SecureSession) -> str:
    if session.open:
        return f"open until {session.expires:%H:%M:%S} UTC"
    return "closed" if session.closed else "expired"


def _lines(session: SecureSession) -> list[str]:
    if session.closed:
        return [f"  {one_line(session.closed, _LIMIT)}"]
    return [
        f"  {one_line(session.exposure, _LIMIT)}",
        f"  In CloudTrail: {one_line(session.name, 64)}; record {session.record_id}",
    ]


def _text(text: str) -> str:
    return escape(one_line(text, _LIMIT), quote=True)
