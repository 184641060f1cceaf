"""Hides secrets in what a tool prints and writes: the second wall, behind least exposure.

Others use the names below. How a secret is found: `forms` (what is looked for), `index` (how),
`views` (where); `stream` joins them.
"""

from .files import ContentSearch, scan_file
from .patterns import Patterns
from .stream import StreamSanitizer
from .text import TextStream, sanitize_text
from .weakness import weakness

__all__ = [
    "ContentSearch",
    "Patterns",
    "StreamSanitizer",
    "TextStream",
    "sanitize_text",
    "scan_file",
    "weakness",
]
