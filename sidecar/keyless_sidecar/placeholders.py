"""The book of placeholders: worthless stand-ins for credentials, and what each stands for.

The tool's process, the kernel and the cells hold placeholders; the egress proxy looks a placeholder
up here and puts the real values in.  A placeholder has the shape of what it stands for, so that
clients accept it, and a prefix that tells it from a real one (`PLACEHOLDER`).

A `PlaceholderBook` is owned by the event loop's thread and has no locks.  It holds no values of the
vault: those are fetched for each request.  It does hold *captured* values, which a service handed
out in an answer (a role's session, a new access key), until they expire or are forgotten.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from keyless_sidecar.vault import EntryInfo

__all__ = ["PLACEHOLDER", "AwsKeys", "Binding", "PlaceholderBook", "Text", "is_placeholder"]

#: Captured credentials and texts that are kept; the oldest goes first.
MAX_CAPTURED = 4096

_BASE32 = string.ascii_uppercase + "234567"
_ALNUM = string.ascii_letters + string.digits
_BASE64 = _ALNUM + "+/"
_ID, _SECRET, _TOKEN, _TEXT = "KEYLESS", "keyless0", "keylessplaceholder/", "keyless_"
_SHAPES = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,15}[_-]")

#: Matches a placeholder, whole or inside a text.
PLACEHOLDER = re.compile(
    rf"\bA[KS]IA{_ID}[A-Z2-7]{{9}}\b|{_SECRET}[A-Za-z0-9+/]{{32}}"
    rf"|{_TOKEN}[A-Za-z0-9+/]{{200}}|{_TEXT}[A-Za-z0-9]{{40}}"
    r"|\b[A-Za-z][A-Za-z0-9_-]{0,15}?[_-]keyless[A-Za-z0-9]{29}\b"
)


@dataclass(frozen=True)
class AwsKeys:
    """AWS credentials, real or not; only the id shows in its repr.

    Attributes:
        expires: when they end (with a time zone), None where they don't.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    expires: datetime | None = None

    def values(self) -> list[str]:
        """The texts that must not be seen where these are real ones."""
        return [v for v in (self.access_key_id, self.secret_access_key, self.session_token) if v]


@dataclass(frozen=True)
class Binding:
    """A placeholder and what it stands for.

    Attributes:
        placeholder: what the tool holds.
        entry: the vault entry that it stands for, or that (in the end) captured it.
        real: captured values; None where they are the entry's own, fetched for each request.
        parent: with which it was captured.
    """

    placeholder: AwsKeys
    entry: str
    real: AwsKeys | None = field(default=None, repr=False)
    parent: Binding | None = field(default=None, repr=False)

    @property
    def captured(self) -> bool:
        """Whether it stands for something that a service handed out."""
        return self.parent is not None

    def expired(self, now: datetime) -> bool:
        """Whether what it stands for has ended."""
        return self.placeholder.expires is not None and now >= self.placeholder.expires


@dataclass(frozen=True)
class Text:
    """A placeholder for one text: a vault entry's token, or something captured.

    Attributes:
        kind: what it is ("token", "secretsmanager:GetSecretValue").
        value: what was captured; empty where it is the entry's own value.
    """

    placeholder: str
    kind: str
    entry: str
    value: str = field(default="", repr=False)


class PlaceholderBook:
    """Makes placeholders, and knows what they stand for.  Owned by the event loop's thread.

    Args:
        clock: gives the time, with a time zone.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._entries: dict[str, Binding] = {}
        self._keys: OrderedDict[str, Binding] = OrderedDict()
        self._tokens: dict[tuple[str, str], Text] = {}
        self._texts: OrderedDict[str, Text] = OrderedDict()
        # Sessions that a person let the kernel side hold: no placeholder stands for them.
        self._held: list[tuple[str, AwsKeys]] = []
        # Which placeholder stands for a captured value, by a digest of it and its entry.
        self._known: dict[str, str] = {}
        #: Grows whenever `captured_values` changes.
        self.revision = 0

    def for_entry(self, entry: EntryInfo) -> AwsKeys:
        """The placeholder keys of an ``aws`` entry, the same until it is forgotten.

        They have no session token, whether the real ones do or not: the proxy adds it.
        """
        found = self._entries.get(entry.name)
        if found is None:
            found = Binding(_aws_keys(temporary=False), entry.name)
            self._entries[entry.name] = found
            self._keys[found.placeholder.access_key_id] = found
        return found.placeholder

    def token_for(self, entry: EntryInfo, shape: str = "") -> str:
        """The placeholder text of an entry, the same until it is forgotten.

        Args:
            entry: a token, password or the like.
            shape: prefix that clients look for (``ghp_``); it is kept.

        Raises:
            ValueError: the shape isn't 2 to 17 letters, digits, ``_`` or ``-``, ending with one of
                the latter two.
        """
        found = self._tokens.get((entry.name, shape))
        if found is None:
            found = Text(_text(shape), "token", entry.name)
            self._tokens[entry.name, shape] = found
        return found.placeholder

    def find(self, access_key_id: str) -> Binding | None:
        """What a placeholder's access key id stands for; None where it is none of this book.

        An expired one is found, without its real values.
        """
        found = self._keys.get(access_key_id)
        if found is not None and found.real is not None and found.expired(self._clock()):
            found = self._end(found)
        return found

    def find_text(self, placeholder: str) -> Text | None:
        """What a placeholder text stands for; None where it is none of this book."""
        if placeholder in self._texts:
            return self._texts[placeholder]
        return next((t for t in self._tokens.values() if t.placeholder == placeholder), None)

    def capture(self, real: AwsKeys, parent: Binding) -> AwsKeys:
        """Keep credentials that a service handed out; their placeholder goes to the tool.

        Args:
            real: as handed out.  The same ones get the same placeholder again.
            parent: whose request they answer.

        Returns:
            A placeholder of the same shape that expires when the real ones do.
        """
        digest = _digest(parent.entry, *real.values())
        known = self._keys.get(self._known.get(digest, ""))
        if known is not None:
            return known.placeholder
        temporary = bool(real.session_token)
        placeholder = replace(_aws_keys(temporary=temporary), expires=real.expires)
        self._keys[placeholder.access_key_id] = Binding(placeholder, parent.entry, real, parent)
        self._known[digest] = placeholder.access_key_id
        self._changed()
        return placeholder

    def capture_text(self, kind: str, value: str, parent: Binding) -> str:
        """Keep a text that a service handed out; returns the placeholder that takes its place.

        It is known to the sanitizer from then on (`captured_values`), and usable nowhere.
        """
        digest = _digest(parent.entry, kind, value)
        known = self._texts.get(self._known.get(digest, ""))
        if known is not None:
            return known.placeholder
        text = Text(_text(""), kind, parent.entry, value)
        self._texts[text.placeholder] = text
        self._known[digest] = text.placeholder
        self._changed()
        return text.placeholder

    def captured_values(self) -> list[tuple[str, bytes]]:
        """Label and value of everything captured or held that still counts, for the sanitizer."""
        now = self._clock()
        found = [(text.entry, text.value.encode()) for text in self._texts.values()]
        for binding in self._keys.values():
            if binding.real is not None and not binding.expired(now):
                found += [(binding.entry, value.encode()) for value in binding.real.values()]
        for entry, keys in self._held:
            if keys.expires is None or now < keys.expires:
                found += [(entry, value.encode()) for value in keys.values()]
        return found

    def know(self, entry_name: str, keys: AwsKeys) -> None:
        """Let the sanitizer know a session's keys that go to the kernel side, until they expire."""
        self._held.append((entry_name, keys))
        self._changed()

    def forget(self, entry_name: str) -> None:
        """End an entry's placeholders and everything captured with them, however indirectly."""
        self._entries.pop(entry_name, None)
        for key_id in [i for i, b in self._keys.items() if b.entry == entry_name]:
            del self._keys[key_id]
        for placeholder in [p for p, t in self._texts.items() if t.entry == entry_name]:
            del self._texts[placeholder]
        for key in [key for key in self._tokens if key[0] == entry_name]:
            del self._tokens[key]
        self._changed()

    # ------------------------------------------------------------------ inside

    def _end(self, binding: Binding) -> Binding:
        """Let the real values of an expired binding go; the placeholder stays known as expired."""
        ended = replace(binding, real=None)
        self._keys[binding.placeholder.access_key_id] = ended
        self._changed()
        return ended

    def _changed(self) -> None:
        self.revision += 1
        now = self._clock()
        self._held = [(e, k) for e, k in self._held if k.expires is None or now < k.expires]
        for binding in [b for b in self._keys.values() if b.real is not None and b.expired(now)]:
            self._keys[binding.placeholder.access_key_id] = replace(binding, real=None)
        captured = [key_id for key_id, binding in self._keys.items() if binding.captured]
        for key_id in captured[: max(0, len(captured) - MAX_CAPTURED)]:
            del self._keys[key_id]
        while len(self._texts) > MAX_CAPTURED:
            self._texts.popitem(last=False)
        if len(self._known) > 4 * MAX_CAPTURED:
            self._known = {
                digest: name
                for digest, name in self._known.items()
                if name in self._keys or name in self._texts
            }


def is_placeholder(text: str) -> bool:
    """Whether a text is a placeholder, of this book or of another."""
    return PLACEHOLDER.fullmatch(text) is not None


def _aws_keys(*, temporary: bool) -> AwsKeys:
    return AwsKeys(
        ("ASIA" if temporary else "AKIA") + _ID + _random(_BASE32, 9),
        _SECRET + _random(_BASE64, 32),
        _TOKEN + _random(_BASE64, 200) if temporary else "",
    )


def _text(shape: str) -> str:
    if not shape:
        return _TEXT + _random(_ALNUM, 40)
    if not _SHAPES.fullmatch(shape):
        raise ValueError("A token's shape is a short prefix like ghp_ that ends with _ or -")
    return shape + "keyless" + _random(_ALNUM, 29)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _digest(*parts: str) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big") + part.encode())
    return sha.hexdigest()
