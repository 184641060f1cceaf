"""What ``%keyless`` answers: small objects that show as text and as HTML.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from keyless.magics import rendering
from keyless.magics.arguments import OPTIONS
from keyless.protocol.messages import Status

__all__ = ["View", "help_view", "status_view", "tools_view", "verdict_view"]


@dataclass(frozen=True)
class View:
    """Something to read: the same content as plain text and as HTML."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.text)


def status_view(status: Status) -> View:
    """Level, guarantees, workspace, credentials by name, what has run."""
    credentials = [(c.name, c.kind, c.delivery, c.source) for c in status.credentials]
    facts = [
        ("kernel", status.kernel_id),
        ("isolation level", status.level),
        ("workspace", status.workspace),
        ("tools", ", ".join(tool.name for tool in status.tools) or "none"),
        ("commands run", str(status.commands)),
        ("audit records", str(status.audit_records)),
    ]
    header = ("credential", "kind", "delivery", "source")
    lines = [f"{name}: {_line(value)}" for name, value in facts]
    lines.append("guarantees:")
    lines.extend(f"  - {_line(sentence)}" for sentence in status.guarantees)
    lines.append("credentials (by name; this kernel can't read them):")
    lines.extend(f"  {row}" for row in _columns(header, credentials)[1:])
    if not credentials:
        lines.append("  none")
    body = (
        rendering.table(("Keyless", ""), facts)
        + "<ul>"
        + "".join(f"<li>{escape(_line(sentence))}</li>" for sentence in status.guarantees)
        + "</ul>"
        + (rendering.table(header, credentials) if credentials else "<div>no credentials</div>")
    )
    return View("\n".join(lines), rendering.box(body))


def tools_view(status: Status) -> View:
    """The declared tools: what each is for, who holds the credential and for how long."""
    header = ("tool", "what it is", "credentials", "delivery", "who holds the key")
    rows = [
        (
            tool.name,
            tool.description,
            ", ".join(tool.credentials) or "none",
            tool.delivery,
            tool.exposure,
        )
        for tool in status.tools
    ]
    if not rows:
        return View("no tools are declared (c.Tools)", "<div>no tools are declared</div>")
    return View("\n".join(_columns(header, rows)), rendering.box(rendering.table(header, rows)))


def verdict_view(
    tool: str, argv: Sequence[str], refusal: str, reasons: Sequence[str], record_id: str
) -> View:
    """Would this command run, and why.

    Args:
        refusal: the kind of refusal, empty where the command would run.
        reasons: one sentence each.
    """
    command = rendering.one_line(shlex.join((tool, *argv)), 200)
    verdict = f"refused ({refusal})" if refusal else "allowed"
    record = f"record {record_id}" if record_id else ""
    lines = [f"{verdict}: {command}", *(f"  {_line(reason)}" for reason in (*reasons, record))]
    body = f"<div><b>{escape(verdict)}</b>: <code>{escape(command)}</code></div>" + "".join(
        f"<div>{escape(_line(reason))}</div>" for reason in (*reasons, record)
    )
    return View("\n".join(lines).rstrip(), rendering.box(body, good=not refusal))


def help_view() -> View:
    """How to use the magics."""
    options = [(f"{name} {option.value}".rstrip(), option.help) for name, option in OPTIONS.items()]
    usage = [
        ("%%secure_exec TOOL [options]", "arguments in the lines below, one command a line"),
        ("%secure_exec [options] TOOL ARGUMENTS", "one command"),
        ("secure_exec(tool, [argument, ...])", "from keyless import secure_exec; for variables"),
        (
            "%%secure_call SERVICE OPERATION [options]",
            "an AWS operation; parameters below, as JSON",
        ),
        ("secure_call(service, operation, Name=...)", "from keyless import secure_call"),
        ("%secure_call SERVICE OPERATION ?", "documentation of an operation"),
        ("%secure_session NAME [options]", "temporary keys for this kernel, where they are on"),
        ("%keyless", "the state of this kernel"),
        ("%keyless tools", "the tools, and who holds the key"),
        ("%keyless why TOOL ARGUMENTS", "would it be allowed, without running it"),
    ]
    text = "\n".join(
        [*_columns(("use", "for"), usage), "", *_columns(("option", "what it does"), options)]
    )
    html = rendering.table(("use", "for"), usage) + rendering.table(
        ("option", "what it does"), options
    )
    return View(text, rendering.box(html))


def _line(text: str) -> str:
    return rendering.one_line(text, 400)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [tuple(_line(cell) for cell in row) for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
