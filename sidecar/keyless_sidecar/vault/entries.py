"""What a vault entry is: its name, its kind, its fields, and who may use it.

Pure data, checked when it is made.  The values stand in a :class:`SecretFields`, which shows none
of them by itself: no ``repr``, no pickle, no copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

__all__ = ["DELIVERIES", "KINDS", "Entry", "EntryInfo", "Kind", "SecretFields", "VaultError"]

#: Ways in which a credential reaches the tool.
DELIVERIES = ("env",)
#: Largest value of one field, in bytes of UTF-8.
MAX_VALUE = 64 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")


class VaultError(Exception):
    """The vault can't do it; the message is one sentence that says why and what helps."""


@dataclass(frozen=True)
class Kind:
    """Which fields a kind of credential has.

    Attributes:
        required: names that must be there.
        optional: names that may be there.
        plain: those that are no secret, hence aren't taken out of a tool's output.
        any_field: other names are allowed too, and each is a secret.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    plain: frozenset[str] = frozenset()
    any_field: bool = False


#: The kinds.  An AWS access key id counts as a secret: it names the account and the person.
KINDS: Mapping[str, Kind] = {
    "aws": Kind(
        ("access_key_id", "secret_access_key"), ("session_token", "region"), frozenset({"region"})
    ),
    "token": Kind(("value",)),
    "basic": Kind(("username", "password"), (), frozenset({"username"})),
    "postgres": Kind(
        ("host", "username", "password"),
        ("port", "database", "sslmode"),
        frozenset({"host", "port", "database", "username", "sslmode"}),
    ),
    "generic": Kind(any_field=True),
}


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
        added: when it was stored (UTC, ISO format), empty where unknown.
    """

    name: str
    kind: str
    tools: tuple[str, ...]
    delivery: str
    source: str
    added: str = ""

    def allows(self, tool: str) -> bool:
        """True where a tool may use the entry."""
        return tool in self.tools


@dataclass(frozen=True)
class Entry:
    """A credential with its values, for as long as one command needs it.

    Raises:
        VaultError: name, kind, fields, tools or delivery are no good; the message holds no value.
    """

    name: str
    kind: str
    fields: Mapping[str, str]
    tools: tuple[str, ...]
    delivery: str = "env"
    source: str = ""
    added: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.fields, SecretFields):
            object.__setattr__(self, "fields", SecretFields(self.fields))
        object.__setattr__(self, "tools", tuple(self.tools))
        _check_name(self.name)
        if self.delivery not in DELIVERIES:
            raise VaultError(f"{self.name}: delivery is one of {', '.join(DELIVERIES)}")
        for tool in self.tools:
            if not _TOOL.fullmatch(tool):
                raise VaultError(f"{self.name}: a bound tool has no proper name")
        _check_fields(self.name, self.kind, self.fields)

    @property
    def info(self) -> EntryInfo:
        """The same without values."""
        return EntryInfo(
            self.name, self.kind, self.tools, self.delivery, self.source, added=self.added
        )

    def secrets(self) -> list[tuple[str, bytes]]:
        """Label and value of each secret field, for the sanitizer."""
        return [(self.name, self.fields[field].encode()) for field in self.secret_fields()]

    def secret_fields(self) -> list[str]:
        """Names of the fields that hold a secret."""
        return [field for field in self.fields if field not in KINDS[self.kind].plain]

    def require_strong(self) -> None:
        """Refuse values that can't be taken out of an output without eating harmless text.

        Raises:
            VaultError: a value is too short, too common or too regular.
        """
        # Late, since the vault's readers need none of the sanitizer.
        from keyless_sidecar.sanitize import weakness

        for field in self.secret_fields():
            reason = weakness(self.fields[field].encode())
            if reason:
                raise VaultError(f"{self.name}: {field} can't be kept: {reason}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise VaultError(
            "An entry's name is 1 to 64 letters, digits, dots, dashes or underscores, "
            "and starts with a letter or digit"
        )


def _check_fields(name: str, kind: str, fields: Mapping[str, str]) -> None:
    known = KINDS.get(kind)
    if known is None:
        raise VaultError(f"{name}: kind is one of {', '.join(KINDS)}")
    missing = [field for field in known.required if field not in fields]
    if missing:
        raise VaultError(f"{name}: a credential of kind {kind} needs {_list(missing)}")
    if not known.any_field:
        allowed = {*known.required, *known.optional}
        if any(field not in allowed for field in fields):
            raise VaultError(f"{name}: a credential of kind {kind} has only {_list(allowed)}")
    if not fields:
        raise VaultError(f"{name}: there is no field in it")
    for field, value in fields.items():
        if not _FIELD.fullmatch(field):
            raise VaultError(f"{name}: a field's name is small letters, digits and underscores")
        _check_value(name, field, value)


def _check_value(name: str, field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise VaultError(f"{name}: {field} must be a text that isn't empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise VaultError(f"{name}: {field} is no valid Unicode text") from None
    if size > MAX_VALUE:
        raise VaultError(f"{name}: {field} is longer than {MAX_VALUE} bytes")
    if "\0" in value:
        raise VaultError(f"{name}: {field} holds a NUL, which no environment variable can carry")


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
