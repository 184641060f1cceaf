"""How a command's result looks: a line of facts as text, and a compact box beside it.  Pure.

What was printed while it came isn't shown again.  What was not stands below the facts, in both: as
a tree or a table where it is JSON.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from keyless.magics.rendering import box, clean, one_line, redacted, text
from keyless.magics.trees import tree

if TYPE_CHECKING:
    from keyless.magics.results import ExecResult

__all__ = ["facts", "html", "plain"]

#: Most characters of captured output that a representation repeats.
_EXCERPT = 20_000
#: Longer output isn't read as JSON just to be shown.
_JSON = 1_000_000
_COMMAND = 100
_LISTED = 8


def facts(result: ExecResult) -> str:
    """One line about the command, and a second one if there are files or notes."""
    parts = [_status(result), *_more_facts(result)]
    if result.record_id:
        parts.append(f"record {result.record_id}")
    lines = [one_line(f"{result.tool}: {', '.join(parts)}", 400)]
    more = [_listed("wrote", (f"{file.path} ({file.size} bytes)" for file in result.files))]
    more.extend(result.notes)
    second = "; ".join(part for part in more if part)
    if second:
        lines.append(one_line("  " + second, 1000))
    return "\n".join(lines)


def plain(result: ExecResult) -> str:
    """The facts; then, for readers of text, the output that nobody has seen yet."""
    lines = [facts(result)]
    if not result.streamed:
        lines += [
            _excerpt(result.stdout).rstrip("\n"),
            *(["stderr:", _excerpt(result.stderr).rstrip("\n")] if result.stderr else []),
        ]
    return "\n".join(line for line in lines if line)


def html(result: ExecResult) -> str:
    """The same as a small box, with the command in its one line, and the rest to fold out."""
    shown = [f"<b>{text(_status(result))}</b>", *map(text, _more_facts(result))]
    if result.record_id:
        shown.append(f"record <code>{text(result.record_id)}</code>")
    command = one_line(shlex.join((result.tool, *result.argv)), _COMMAND)
    body = [f"<div><code>{text(command)}</code> {' · '.join(shown)}</div>"]
    for file in result.files[:_LISTED]:
        body.append(
            f"<div>wrote <code>{text(one_line(file.path, 200))}</code> ({file.size} bytes, "
            f"sha256 <code>{text(file.sha256[:12])}…</code>)</div>"
        )
    if len(result.files) > _LISTED:
        body.append(f"<div>and {len(result.files) - _LISTED} more files</div>")
    body.extend(f"<div>{text(one_line(note, 400))}</div>" for note in result.notes)
    body.append(_output(result))
    if result.stderr:
        body.append(_fold("stderr", result.stderr))
    return box("".join(body), good=result.ok)


def _output(result: ExecResult) -> str:
    answer = _answer(result)
    if answer is not None and result.streamed:
        # It was printed as it came; to look into it is one click, and takes no room before.
        return f"<details><summary>look into the answer</summary>{tree(answer)}</details>"
    if answer is not None:
        return tree(answer)
    return _fold("stdout", result.stdout, open_=True) if _unseen(result) else ""


def _answer(result: ExecResult) -> Any:
    """Standard output as an object or a list; ``None`` where it is neither."""
    if result.truncated or len(result.stdout) > _JSON:
        return None
    if result.stdout.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(result.stdout) or None
    except (ValueError, RecursionError):
        return None


def _unseen(result: ExecResult) -> bool:
    return bool(result.stdout) and not result.streamed


def _status(result: ExecResult) -> str:
    if result.dry_run:
        return "allowed (dry run, nothing ran)" if result.ok else "dry run"
    if result.exit_code is None:
        return "ended early"
    return "done" if result.exit_code == 0 else f"exit code {result.exit_code}"


def _more_facts(result: ExecResult) -> list[str]:
    parts = [] if result.dry_run else [f"{result.duration:.2f} s"]
    if result.redactions:
        parts.append(redacted(result.redactions))
    if result.truncated:
        parts.append("output kept in part")
    return parts


def _listed(verb: str, items: Iterable[str]) -> str:
    names = list(items)
    if not names:
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{verb} {', '.join(names[:_LISTED])}{more}"


def _excerpt(output: str) -> str:
    return ("…\n" if len(output) > _EXCERPT else "") + clean(output[-_EXCERPT:])


def _fold(name: str, output: str, *, open_: bool = False) -> str:
    lines = output.count("\n") + (not output.endswith("\n"))
    return (
        f"<details{' open' if open_ else ''}><summary>{name} "
        f"({lines} line{'s' if lines != 1 else ''})</summary>"
        f'<pre style="white-space:pre-wrap;margin:0;background:none">{text(_excerpt(output))}</pre>'
        "</details>"
    )
