"""Other ways to take secrets out of the same text, in the peers' own environment.

Run with a folder of ``benchmarks.subjects.sanitizer``: reads ``text``, ``values.json`` and
``forms.json``.  A line names a way; the answer is the seconds that it took for the whole text
(the slow ones: for its beginning).
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import ahocorasick
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import default_settings

PIECE = 64 * 1024
#: Bytes for the slow ones, a whole number of pieces for ``re``.
RE, DETECTED = 16 * PIECE, 100_000


def alternation(words: list[str]) -> re.Pattern[str]:
    """One regular expression for all."""
    return re.compile("|".join(map(re.escape, words)))


def automaton(words: list[str]) -> ahocorasick.Automaton:
    """One automaton for all."""
    made = ahocorasick.Automaton()
    for word in words:
        made.add_word(word, len(word))
    made.make_automaton()
    return made


def by_automaton(made: ahocorasick.Automaton, piece: str) -> str:
    """The piece without what the automaton finds."""
    out, at = [], 0
    for end, size in made.iter(piece):
        start = end + 1 - size
        if start >= at:
            out += [piece[at:start], "[redacted]"]
            at = end + 1
    return "".join([*out, piece[at:]])


def by_detectors(line: str) -> str:
    """The line without what detect-secrets takes for a secret."""
    for found in scan_line(line):
        line = line.replace(found.secret_value or "\0", "[redacted]")
    return line


def main(folder: Path) -> None:
    """Answer until standard input ends."""
    text = (folder / "text").read_text()
    values = json.loads((folder / "values.json").read_text())
    forms = json.loads((folder / "forms.json").read_text())
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    one, plain, all_forms = alternation(values), automaton(values), automaton(forms)
    ways = {
        "re": lambda: [one.sub("[redacted]", piece) for piece in pieces[: RE // PIECE]],
        "pyahocorasick": lambda: [by_automaton(plain, piece) for piece in pieces],
        "pyahocorasick, 8 forms": lambda: [by_automaton(all_forms, piece) for piece in pieces],
        "detect-secrets": lambda: [by_detectors(line) for line in text[:DETECTED].splitlines()],
    }
    print("ready", flush=True)
    with default_settings():
        for line in sys.stdin:
            begun = time.perf_counter()
            ways[line.strip()]()
            print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
