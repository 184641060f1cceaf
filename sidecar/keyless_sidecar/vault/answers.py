"""From what a source answered to the fields of an entry.  Pure; no error repeats a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from keyless_sidecar.vault.kinds import KINDS, VaultError

__all__ = ["MAX_ANSWER", "expiry", "fields_of", "fields_of_text", "parse_object"]

#: Largest answer of a source, in bytes.
MAX_ANSWER = 256 * 1024
_MISSING = object()
#: What AWS's own programs call the fields.
_ALSO = {
    "access_key_id": "AccessKeyId",
    "secret_access_key": "SecretAccessKey",
    "session_token": "SessionToken",
}
_EXPIRY = ("expires", "Expiration")


def fields_of_text(
    name: str, kind: str, text: str, mapping: Mapping[str, str], *, json: bool | None = None
) -> dict[str, str]:
    """The fields in a text.

    Args:
        name: the entry, for errors.
        mapping: field → member of a JSON object.
        json: whether it is JSON; by default where there is a mapping or the kind needs several
            fields.

    Raises:
        VaultError: it isn't JSON, or a member is missing or no text.
    """
    single = KINDS[kind].single
    if json is None:
        json = bool(mapping) or not single
    if not json:
        return {single: text}
    return fields_of(name, kind, parse_object(name, text), mapping)


def parse_object(name: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        VaultError: it is none.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise VaultError(f"{name}: the source's answer is no JSON object") from None


def fields_of(
    name: str, kind: str, answer: Mapping[str, Any], mapping: Mapping[str, str]
) -> dict[str, str]:
    """The fields in an object: those of the mapping, others by their own names.

    Raises:
        VaultError: a mapped member is missing, or one is no text.
    """
    known = KINDS[kind]
    fields: dict[str, str] = {}
    for field, place in mapping.items():
        value = _member(answer, place)
        if value is _MISSING:
            raise VaultError(f"{name}: the source's answer has no member for {field}")
        fields[field] = _text(name, field, value)
    if known.any_field and not mapping:
        wanted: tuple[str, ...] = tuple(key for key in answer if key not in _EXPIRY)
    else:
        wanted = (*known.required, *known.optional)
    for field in wanted:
        value = answer.get(field, answer.get(_ALSO.get(field, field), _MISSING))
        if field not in fields and value not in (_MISSING, None):
            fields[field] = _text(name, field, value)
    return fields


def expiry(name: str, answer: Mapping[str, Any]) -> datetime | None:
    """When the values end, as an object says it (``expires`` or ``Expiration``): ISO 8601 with a
    zone, or seconds since 1970.

    Raises:
        VaultError: it says so in another form; values that never end would be the wrong guess.
    """
    for member in _EXPIRY:
        value = answer.get(member)
        if value is None:
            continue
        try:
            if isinstance(value, str):
                moment = datetime.fromisoformat(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                moment = datetime.fromtimestamp(value, UTC)
            else:
                break
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            pass
        break
    else:
        return None
    raise VaultError(f"{name}: the source's answer has an end that is no time with a zone")


def _member(answer: Any, place: str) -> Any:
    if not place.startswith("/"):
        return answer.get(place, _MISSING)
    for part in place[1:].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(answer, Mapping) or part not in answer:
            return _MISSING
        answer = answer[part]
    return answer


def _text(name: str, field: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):  # a port
        return str(value)
    raise VaultError(f"{name}: {field} in the source's answer is no text")
