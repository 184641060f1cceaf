"""What a vault entry is: its name, its kind, its fields, and who may use it where.

Pure data, checked when it is made.  The values stand in a :class:`SecretFields`, which shows none
of them by itself: no ``repr``, no pickle, no copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from keyless_sidecar.vault.bindings import check_file, check_hosts, check_paths, check_places
from keyless_sidecar.vault.kinds import DEFAULT_DELIVERY, DELIVERIES, KINDS, Kind, VaultError

__all__ = [
    "DELIVERIES",
    "KINDS",
    "Entry",
    "EntryInfo",
    "Kind",
    "SecretFields",
    "VaultError",
    "check_name",
]

#: Largest value of one field, in bytes of UTF-8.
MAX_VALUE = 64 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WORDS = re.compile(r"[\s\"'=:,;]+")
_SHORTEST_WORD = 12


class SecretFields(Mapping[str, str]):
    """The fields of an entry by name; reading one by its name is the only way to a value."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<{len(self._values)} fields>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials can't be copied or pickled")


@dataclass(frozen=True)
class EntryInfo:
    """An entry without its values.

    Attributes:
        tools: names of the tools that may use it; none may where this is empty.
        delivery: one of :data:`DELIVERIES`; empty becomes the kind's default.
        source: where the values come from (``memory``, ``file``, ``aws-profile``, …).
        added: when it was stored (UTC, ISO format), empty where unknown.
        hosts: host patterns that it may be sent to.
        paths: prefixes of the request paths there; empty means all.
        places: where in a request it stands; empty means the kind's usual places.
        file: for delivery ``file``, the path below the tool's home.

    Raises:
        VaultError: one of them is no good.
    """

    name: str
    kind: str
    tools: tuple[str, ...]
    delivery: str = ""
    source: str = ""
    added: str = ""
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    file: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        known = KINDS.get(self.kind)
        if known is None:
            raise VaultError(f"{self.name}: kind is one of {', '.join(KINDS)}")
        # What is bound to hosts goes there and nowhere else, unless a person says so.
        bound = bool(self.hosts) and self.kind in ("token", "basic")
        delivery = self.delivery or ("proxy" if bound else DEFAULT_DELIVERY[self.kind])
        if delivery not in DELIVERIES:
            raise VaultError(f"{self.name}: delivery is one of {', '.join(DELIVERIES)}")
        for tool in self.tools:
            if not isinstance(tool, str) or not _TOOL.fullmatch(tool):
                raise VaultError(f"{self.name}: a bound tool has no proper name")
        check_file(self.name, self.file, delivery=delivery, kind=self.kind, single=known.single)
        for attribute, value in (
            ("tools", tuple(self.tools)),
            ("delivery", delivery),
            ("hosts", check_hosts(self.name, self.hosts)),
            ("paths", check_paths(self.name, self.paths)),
            ("places", check_places(self.name, self.places)),
        ):
            object.__setattr__(self, attribute, value)

    def allows(self, tool: str) -> bool:
        """True where a tool may use the entry."""
        return tool in self.tools


@dataclass(frozen=True)
class Entry:
    """A credential with its values, for as long as one command needs it.

    Attributes:
        expires: when the values end (with a time zone), None where that isn't known.

    The others are those of :class:`EntryInfo`.

    Raises:
        VaultError: one of them is no good; the message holds no value.
    """

    name: str
    kind: str
    fields: Mapping[str, str]
    tools: tuple[str, ...]
    delivery: str = ""
    source: str = ""
    added: str = ""
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    file: str = ""
    expires: datetime | None = None
    info: EntryInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.fields, SecretFields):
            object.__setattr__(self, "fields", SecretFields(self.fields))
        info = EntryInfo(
            self.name,
            self.kind,
            tuple(self.tools),
            self.delivery,
            self.source,
            self.added,
            tuple(self.hosts),
            tuple(self.paths),
            tuple(self.places),
            self.file,
        )
        for attribute in ("tools", "delivery", "hosts", "paths", "places"):
            object.__setattr__(self, attribute, getattr(info, attribute))
        object.__setattr__(self, "info", info)
        if self.expires is not None and self.expires.tzinfo is None:
            raise VaultError(f"{self.name}: its end has no time zone")
        _check_fields(self.name, self.kind, self.fields)

    @classmethod
    def of(
        cls, info: EntryInfo, fields: Mapping[str, str], expires: datetime | None = None
    ) -> Entry:
        """The entry with these values.

        Raises:
            VaultError: the values are no good.
        """
        return cls(
            info.name,
            info.kind,
            fields,
            info.tools,
            info.delivery,
            info.source,
            info.added,
            info.hosts,
            info.paths,
            info.places,
            info.file,
            expires,
        )

    def secrets(self) -> list[tuple[str, bytes]]:
        """Label and value of each secret, for the sanitizer.

        A file's content counts as a whole, and so does each word in it that looks like a secret: a
        tool that reads ``.netrc`` may print the password alone.
        """
        found = [(self.name, self.fields[name].encode()) for name in self.secret_fields()]
        if self.kind == "file" or self.delivery == "file":
            whole = [value for _, value in found]
            found += [(self.name, word) for value in whole for word in _telling_words(value)]
        return found

    def secret_fields(self) -> list[str]:
        """Names of the fields that hold a secret."""
        return [name for name in self.fields if name not in KINDS[self.kind].plain]

    def require_strong(self) -> None:
        """Refuse values that can't be taken out of an output without eating harmless text.

        Raises:
            VaultError: a value is too short, too common or too regular.
        """
        # Late, since the vault's readers need none of the sanitizer.
        from keyless_sidecar.sanitize import weakness

        for name in self.secret_fields():
            reason = weakness(self.fields[name].encode())
            if reason:
                raise VaultError(f"{self.name}: {name} can't be kept: {reason}")


def _telling_words(content: bytes) -> list[bytes]:
    from keyless_sidecar.sanitize.weakness import distinctive, weakness

    words = (word.encode() for word in _WORDS.split(content.decode()))
    return [
        word
        for word in words
        if len(word) >= _SHORTEST_WORD and distinctive(word) and weakness(word) is None
    ]


def check_name(name: object) -> None:
    """Refuse what is no name of an entry, before it stands in any message.

    Raises:
        VaultError: that is so.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise VaultError(
            "An entry's name is 1 to 64 letters, digits, dots, dashes or underscores, "
            "and starts with a letter or digit"
        )


def _check_fields(name: str, kind: str, fields: Mapping[str, str]) -> None:
    known = KINDS[kind]
    missing = [each for each in known.required if each not in fields]
    if missing:
        raise VaultError(f"{name}: a credential of kind {kind} needs {_list(missing)}")
    if not known.any_field:
        allowed = {*known.required, *known.optional}
        if any(each not in allowed for each in fields):
            raise VaultError(f"{name}: a credential of kind {kind} has only {_list(allowed)}")
    if not fields:
        raise VaultError(f"{name}: there is no field in it")
    for each, value in fields.items():
        if not _FIELD.fullmatch(each):
            raise VaultError(f"{name}: a field's name is small letters, digits and underscores")
        _check_value(name, each, value)


def _check_value(name: str, field_name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise VaultError(f"{name}: {field_name} must be a text that isn't empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise VaultError(f"{name}: {field_name} is no valid Unicode text") from None
    if size > MAX_VALUE:
        raise VaultError(f"{name}: {field_name} is longer than {MAX_VALUE} bytes")
    if "\0" in value:
        raise VaultError(
            f"{name}: {field_name} holds a NUL, which no environment variable can carry"
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
