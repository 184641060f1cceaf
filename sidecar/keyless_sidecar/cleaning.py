"""Short texts without secrets, for records: most of them come again and again.

A search of even the shortest text costs as much as that of a page.  So what was found to hold
nothing is remembered with the patterns that it was searched for, and goes with them; what did hold
something isn't kept.
"""

from __future__ import annotations

from collections import Counter
from weakref import WeakKeyDictionary

from keyless_sidecar.sanitize import Patterns, sanitize_text

__all__ = ["clean"]

#: Longest text that is remembered, and how many of them.
_LONGEST, _MOST = 128, 512

#: What was found to hold nothing.
_known: WeakKeyDictionary[Patterns, set[str]] = WeakKeyDictionary()


def clean(patterns: Patterns, text: str, found: Counter[str] | None = None) -> str:
    """A text with its secrets replaced.  May be called in any thread.

    Args:
        patterns: what may not be in it.
        text: of a record, or a name in an answer.
        found: counts the replacements by label, where it is given.
    """
    known = _known.get(patterns)
    if known is None:
        known = _known.setdefault(patterns, set())
    if text in known:
        return text
    cleaned, redactions = sanitize_text(patterns, text)
    if redactions and found is not None:
        found.update(redactions)
    if cleaned == text and not redactions and len(text) <= _LONGEST:
        if len(known) >= _MOST:
            known.clear()
        known.add(text)
    return cleaned
