"""One notebook without secrets.  Pure but for a memory file: it neither reads nor writes any.

Every text that a notebook holds is looked at, whatever it is called: what a front end doesn't show
is committed and shared all the same.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from typing import Any

from keyless_sidecar.sanitize import Patterns, sanitize_text, scan_file
from keyless_sidecar.scrubbing.findings import Finding, Place

__all__ = ["scrub_notebook"]

#: Stands in for data of which a part can't be taken out.
_REMOVED = "[redacted:{}]"
#: What is text though its type says image.
_TEXT_IMAGES = frozenset({"image/svg+xml"})
_BINARY = ("image/", "audio/", "video/", "font/")
_BINARY_TYPES = frozenset({"application/pdf", "application/octet-stream", "application/zip"})


def scrub_notebook(patterns: Patterns, notebook: Any) -> tuple[Any, list[Finding]]:
    """Look at all of a notebook.

    Args:
        patterns: what is looked for, detectors included.
        notebook: as JSON has it, in nbformat 4.

    Returns:
        the notebook with ``[redacted:NAME]`` in the place of each secret, and what was found.  The
        one that was given is not changed.
    """
    return _Scrub(patterns).notebook(notebook)


class _Scrub:
    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._found: list[Finding] = []

    def notebook(self, notebook: Any) -> tuple[Any, list[Finding]]:
        if not isinstance(notebook, Mapping):
            return self._any(notebook, Place(0, "content")), self._found
        clean = {
            name: [self._cell(cell, number) for number, cell in enumerate(value, start=1)]
            if name == "cells" and isinstance(value, list)
            else self._any(value, Place(0, name))
            for name, value in notebook.items()
        }
        return self._names(clean, Place(0, "names")), self._found

    # ------------------------------------------------------------------ cells

    def _cell(self, cell: Any, number: int) -> Any:
        if not isinstance(cell, Mapping):
            return self._any(cell, Place(number, "content"))
        clean: dict[str, Any] = {}
        for name, value in cell.items():
            place = Place(number, name)
            if name == "outputs" and isinstance(value, list):
                clean[name] = [self._output(each, number, n) for n, each in enumerate(value, 1)]
            elif name == "attachments" and isinstance(value, Mapping):
                clean[name] = {
                    file: self._bundle(bundle, number, f"attachment {file}")
                    for file, bundle in value.items()
                }
                clean[name] = self._names(clean[name], Place(number, "attachments"))
            else:
                clean[name] = self._any(value, place)
        return self._names(clean, Place(number, "names"))

    def _output(self, output: Any, cell: int, number: int) -> Any:
        part = f"output {number}"
        if not isinstance(output, Mapping):
            return self._any(output, Place(cell, part))
        clean = {
            name: self._bundle(value, cell, part)
            if name == "data"
            else self._any(value, Place(cell, f"{part} ({name})"))
            for name, value in output.items()
        }
        return self._names(clean, Place(cell, part))

    def _bundle(self, bundle: Any, cell: int, part: str) -> Any:
        """Data by MIME type."""
        if not isinstance(bundle, Mapping):
            return self._any(bundle, Place(cell, part))
        clean = {
            kind: self._data(kind, value, Place(cell, f"{part} ({kind})"))
            for kind, value in bundle.items()
        }
        return self._names(clean, Place(cell, part))

    def _data(self, kind: str, value: Any, place: Place) -> Any:
        text = _joined(value)
        if text is not None and _is_binary(kind):
            raw = _decoded(text)
            if raw is not None:
                names = self._in_bytes(raw)
                if names:
                    self._found += [Finding(place, 0, name, n) for name, n in names.items()]
                    return _REMOVED.format(next(iter(names)))
        return self._any(value, place)

    def _in_bytes(self, data: bytes) -> dict[str, int]:
        """What stands in a file, also in what is compressed in it."""
        descriptor = os.memfd_create("keyless-scrub", os.MFD_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            return scan_file(self._patterns, descriptor, detect=True)
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------------ any JSON

    def _any(self, value: Any, place: Place) -> Any:
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, list):
            # nbformat may have a text as a list of its lines: what goes over a line's end counts.
            whole = _joined(value)
            if whole is not None and value:
                clean = self._text(whole, place)
                return value if clean == whole else clean.splitlines(keepends=True)
            return [self._any(each, place) for each in value]
        if isinstance(value, Mapping):
            members = {name: self._any(each, place.below(name)) for name, each in value.items()}
            return self._names(members, place)
        return value

    def _names(self, members: dict[str, Any], place: Place) -> dict[str, Any]:
        """Names of members can hold secrets as well."""
        return {self._text(name, place): value for name, value in members.items()}

    def _text(self, text: str, place: Place) -> str:
        clean, counts = sanitize_text(self._patterns, text)
        if clean == text:
            return text
        self._found += list(_located(place, text, clean, counts))
        return clean


def _located(place: Place, text: str, clean: str, counts: Mapping[str, int]) -> Iterator[Finding]:
    """A finding for each name, with the first line that it made different."""
    several = "\n" in text.rstrip("\n")
    for name, count in counts.items():
        at = clean.find(_REMOVED.format(name))
        line = clean.count("\n", 0, at) + 1 if several and at >= 0 else 0
        yield Finding(place, line, name, count)


def _joined(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "".join(value)
    return None


def _is_binary(kind: str) -> bool:
    return kind not in _TEXT_IMAGES and (kind.startswith(_BINARY) or kind in _BINARY_TYPES)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
