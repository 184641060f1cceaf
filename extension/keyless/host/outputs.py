"""What a cell gives back: :class:`Output` while it runs, :class:`CellResult` at its end.

Made from the kernel's messages.  A kernel may send anything, so nothing is believed of their form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["CellResult", "Message", "Output", "output_from"]

Message = Mapping[str, Any]
Kind = Literal["stdout", "stderr", "display", "result", "error"]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Output:
    """One piece of output.

    Attributes:
        kind: ``stdout`` and ``stderr`` are printed text, ``display`` is something shown,
            ``result`` the value of the last line, ``error`` the exception that ended the cell.
        text: the text, or the plain form of what is shown; for an error ``Name: message``.
        data: forms by MIME type, of ``display`` and ``result``; binary ones are base64.
        traceback: of an error, without colours.
    """

    kind: Kind
    text: str
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    traceback: str = field(default="", repr=False)


@dataclass(frozen=True)
class CellResult:
    """A cell's end.

    Attributes:
        outputs: in the order in which they came; printed text that belongs together is joined.
        execution_count: the cell's number, 0 where the kernel gave none.
        truncated: there was more output than is kept.
    """

    outputs: tuple[Output, ...]
    execution_count: int = 0
    truncated: bool = False

    @property
    def error(self) -> Output | None:
        """The exception that ended the cell."""
        return next((output for output in self.outputs if output.kind == "error"), None)

    @property
    def ok(self) -> bool:
        """Whether no exception ended it."""
        return self.error is None

    @property
    def text(self) -> str:
        """All that a person would read, but for the traceback."""
        pieces = [
            output.text if output.kind in ("stdout", "stderr") else output.text + "\n"
            for output in self.outputs
        ]
        return "".join(pieces)

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Pictures: MIME type and base64 data."""
        return tuple(
            (kind, value)
            for output in self.outputs
            for kind, value in output.data.items()
            if kind in ("image/png", "image/jpeg") and isinstance(value, str)
        )

    @classmethod
    def of(cls, outputs: Iterable[Output], count: int, *, truncated: bool) -> CellResult:
        """Put the pieces together."""
        joined: list[Output] = []
        for output in outputs:
            printed = output.kind in ("stdout", "stderr")
            if printed and joined and joined[-1].kind == output.kind:
                joined[-1] = Output(output.kind, joined[-1].text + output.text)
            else:
                joined.append(output)
        return cls(tuple(joined), count, truncated)


def output_from(message: Message) -> Output | None:
    """The output that a message carries; ``None`` for a message that carries none."""
    content = mapping(message.get("content"))
    match message.get("msg_type"):
        case "stream":
            kind: Kind = "stderr" if content.get("name") == "stderr" else "stdout"
            return Output(kind, _text(content.get("text")))
        case "display_data" | "execute_result" as name:
            data = mapping(content.get("data"))
            kind = "result" if name == "execute_result" else "display"
            return Output(kind, _text(data.get("text/plain")), data)
        case "error":
            lines = content.get("traceback")
            traceback = "\n".join(map(str, lines)) if isinstance(lines, list) else ""
            text = f"{_text(content.get('ename'))}: {_text(content.get('evalue'))}"
            return Output("error", text, {}, _COLOURS.sub("", traceback))
    return None


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
