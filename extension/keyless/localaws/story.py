"""The demo's page: what happened, in one file that needs no network and runs no script.

Called by ``rehearsal``.  What the notebook's cells printed is the agent's, so it is hostile: only
plain text, PNG pictures and HTML without attributes are shown, the rest is escaped by Jinja, and
the page's own Content-Security-Policy lets nothing run and nothing be fetched.
"""

from __future__ import annotations

import copy
from pathlib import Path

import bleach  # type: ignore[import-untyped]
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from keyless.localaws.checks import Check, Hashes
from keyless.localaws.headless import Attempt, Step

TEMPLATE = "story.html.j2"
_SHOWN = ("text/plain", "text/html", "image/png")
_TAGS = frozenset(
    {"b", "br", "code", "details", "div", "em", "i", "li", "ol", "p", "pre", "small", "span"}
    | {"strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"}
)


def page(
    notebook: NotebookNode,
    hashes: Hashes,
    attempts: list[Attempt],
    steps: list[Step],
    checks: list[Check],
) -> str:
    """The whole page as HTML."""
    exporter = HTMLExporter(template_name="basic")  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(tamed(notebook))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(TEMPLATE).render(
        body=Markup(body),  # noqa: S704  (of a tamed notebook)
        code_style=Markup(HtmlFormatter(style="default").get_style_defs(".highlight")),  # noqa: S704
        hashes=hashes,
        attempts=attempts,
        steps=steps,
        longest=max((step.seconds for step in steps), default=1.0) or 1.0,
        total=sum(step.seconds for step in steps),
        checks=checks,
        ok=all(check.ok for check in checks),
    )


def tamed(notebook: NotebookNode) -> NotebookNode:
    """A copy whose outputs can't do anything: no scripts, no SVG, no attributes, no widgets."""
    copied: NotebookNode = copy.deepcopy(notebook)
    for cell in copied.cells:
        for output in cell.get("outputs", []):
            if "data" not in output:
                continue
            hidden = [kind for kind in output.data if kind not in _SHOWN]
            for kind in hidden:
                del output.data[kind]
            if not output.data:
                output.data["text/plain"] = f"(not shown: {', '.join(hidden)})"
            if "text/html" in output.data:
                output.data["text/html"] = bleach.clean(
                    "".join(output.data["text/html"]), tags=_TAGS, attributes={}, strip=True
                )
    return copied
