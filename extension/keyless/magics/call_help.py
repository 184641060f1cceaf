"""The documentation of an operation, out of the sidecar's service models, as text and as HTML."""

from __future__ import annotations

from html import escape

from keyless.magics import rendering
from keyless.magics.views import View, _columns
from keyless.protocol.calls import Description, Parameter
from keyless.protocol.errors import InvalidRequest

__all__ = ["describe_view"]


def describe_view(found: Description, service: str, operation: str) -> View:
    """What to show for a question.

    Args:
        found: the answer.
        service, operation: as they were asked for.

    Raises:
        InvalidRequest: there is no such service or operation.
    """
    if found.operation:
        return _operation(found)
    if not found.names:
        what = f"operation {operation!r} in {service}" if operation else f"service {service!r}"
        raise InvalidRequest(f"AWS has no {what}")
    title = f"{found.service}: {len(found.names)} operations" if found.service else "services"
    parts = [title, found.text, ", ".join(found.names)]
    if found.waiters:
        parts.append(f"waiters: {', '.join(found.waiters)}")
    return _view([part for part in parts if part])


def _operation(found: Description) -> View:
    title = f"{found.service}.{found.operation}"
    notes = []
    if found.paginates:
        notes.append("Its answer comes in pages: --paginate follows them.")
    if found.content:
        notes.append(f"Content that can be saved into files: {', '.join(found.content)}.")
    if found.waiters:
        notes.append(f"Waiters: {', '.join(found.waiters)}.")
    header = ("parameter", "kind", "what it is")
    rows = [(_name(each), each.kind, each.text) for each in found.parameters]
    table = "\n".join(_columns(header, rows)) if rows else "It takes no parameters."
    text = "\n\n".join([title, found.text, table, *notes])
    html = (
        f"<div><b>{escape(title)}</b></div>"
        f'<div style="white-space:pre-wrap">{escape(found.text)}</div>'
        + (rendering.table(header, rows) if rows else "<div>It takes no parameters.</div>")
        + "".join(f"<div>{escape(note)}</div>" for note in notes)
    )
    return View(text, rendering.box(html))


def _name(parameter: Parameter) -> str:
    return f"{parameter.name} (required)" if parameter.required else parameter.name


def _view(parts: list[str]) -> View:
    html = "".join(f'<div style="white-space:pre-wrap">{escape(part)}</div>' for part in parts)
    return View("\n\n".join(parts), rendering.box(html))
