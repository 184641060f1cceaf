"""Taking secrets out of a tool's output: how fast, with how many secrets, beside other ways."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import texts
from benchmarks.machine import ROOT
from benchmarks.measuring import Measure, in_turn, timed
from benchmarks.outcome import Curve, Group, Outcome
from benchmarks.peer_process import PeerProcess
from benchmarks.peers import PeerMissing
from benchmarks.stage import Stage

from keyless_sidecar.sanitize import Patterns, StreamSanitizer, TextStream

_SECRETS = 1000
_LARGE = 64 * 1024
_SMALL = 40
#: Bytes of text for each: what a sample takes some tenths of a second for.
_TEXT = 16_000_000
_FINE = 1_000_000
_PEERS_TEXT = 4_000_000
#: As in benchmarks/peers/redact.py.
_SHORT = {"re": 16 * _LARGE, "detect-secrets": 100_000}
_OURS = "Keyless, 64 KB chunks"


def redaction(stage: Stage) -> Outcome:
    """A thousand secrets with all their encodings; large and tiny chunks; the peers."""
    values = texts.secrets(_SECRETS)
    patterns = Patterns.build(values)
    whole = texts.text(_TEXT)
    held = texts.with_secrets(whole[: _TEXT // 4], values, 10_000)
    fine = whole[:_FINE]
    sizes = {
        _OURS: len(whole),
        "Keyless, 40-byte chunks": len(fine),
        "Keyless, a secret each 10 KB": len(held),
        "Keyless, without terminal and binary filters": len(whole),
    }
    sides: dict[str, Measure] = {
        _OURS: timed(_through(patterns, whole, _LARGE)),
        "Keyless, 40-byte chunks": timed(_through(patterns, fine, _SMALL)),
        "Keyless, a secret each 10 KB": timed(_through(patterns, held, _LARGE)),
        "Keyless, without terminal and binary filters": timed(
            lambda: _feed(StreamSanitizer(patterns), whole, _LARGE)
        ),
    }
    found = Outcome()
    with contextlib.ExitStack() as stack:
        try:
            peer = stack.enter_context(_peer(stage, whole[:_PEERS_TEXT], values))
        except PeerMissing as missing:
            found.missing["re, pyahocorasick, detect-secrets"] = str(missing)
        else:
            for way in ("re", "pyahocorasick", "pyahocorasick, 8 forms", "detect-secrets"):
                sides[way] = lambda way=way: peer.ask(way)
                sizes[way] = _SHORT.get(way, _PEERS_TEXT)
        took = in_turn(sides, stage.rounds(9))
    speeds = {name: [sizes[name] / 1e6 / each for each in one] for name, one in took.items()}
    found.groups.append(Group("taking 1,000 secrets out of text", "MB/s", speeds))
    found.middle("sanitizer.large", _OURS, "MB/s", speeds[_OURS])
    found.middle("sanitizer.small", "40-byte chunks", "MB/s", speeds["Keyless, 40-byte chunks"])
    for way in sizes:
        if not way.startswith("Keyless"):
            title = f"speed ÷ {way}'s, 64 KB chunks"
            key = f"sanitizer.{way.replace(', ', '-').replace(' ', '-')}"
            found.ratio(key, title, speeds[_OURS], speeds[way])
    found.curves += _by_secrets(stage, whole[: _TEXT // 4])
    return found


def _by_secrets(stage: Stage, text: bytes) -> list[Curve]:
    """The same text with ever more secrets, and how long their patterns take to build."""
    building, looking = [], []
    for count in (10, 100, 1000, 3000) if stage.quick else (10, 100, 1000, 3000, 10_000):
        values = texts.secrets(count)
        begun = time.perf_counter()
        patterns = Patterns.build(values)
        building.append((float(count), time.perf_counter() - begun))
        took = in_turn({"it": timed(_through(patterns, text, _LARGE))}, 3)["it"]
        looking.append((float(count), sorted(took)[1]))
    title = "Secrets that the sanitizer knows"
    return [
        Curve("secrets", title, "secrets", "seconds for 4 MB of text", {"64 KB chunks": looking}),
        Curve("secrets.build", f"{title}: getting ready", "secrets", "seconds", {"once": building}),
    ]


def _through(patterns: Patterns, text: bytes, chunk: int) -> Callable[[], None]:
    """A tool's whole output, as the sidecar takes it."""
    return lambda: _feed(TextStream(StreamSanitizer(patterns)), text, chunk)


def _feed(stream: StreamSanitizer | TextStream, text: bytes, chunk: int) -> None:
    for start in range(0, len(text), chunk):
        stream.feed(text[start : start + chunk])
    stream.finish()


@contextlib.contextmanager
def _peer(stage: Stage, text: bytes, values: list[tuple[str, bytes]]) -> Iterator[PeerProcess]:
    with tempfile.TemporaryDirectory(dir=stage.folder) as name:
        folder = Path(name)
        (folder / "text").write_bytes(text)
        plain = [value.decode() for _, value in values]
        encoded = [form.decode() for _, value in values for form in texts.forms(value)]
        (folder / "values.json").write_text(json.dumps(plain))
        (folder / "forms.json").write_text(json.dumps(encoded))
        script = ROOT / "benchmarks" / "peers" / "redact.py"
        argv = [str(stage.peers.python), str(script), str(folder)]
        with PeerProcess(argv, None, folder) as peer:
            yield peer
