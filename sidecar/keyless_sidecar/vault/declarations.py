"""Entries whose values are elsewhere: what a person writes about them, checked.  Pure.

From ``c.Vault.entries`` in the configuration, or stored by ``vault add --source``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from keyless_sidecar.vault.bindings import require_reach
from keyless_sidecar.vault.entries import EntryInfo, check_name
from keyless_sidecar.vault.kinds import VaultError
from keyless_sidecar.vault.source_settings import SOURCES, Settings

__all__ = ["Declaration", "parse_declaration", "parse_declarations", "parse_settings"]

_T = TypeVar("_T")


class _Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    source: str
    tools: list[str] = []
    delivery: str = ""
    hosts: list[str] = []
    paths: list[str] = []
    places: list[str] = []
    file: str = ""


@dataclass(frozen=True)
class Declaration:
    """An entry whose values are elsewhere.

    Args:
        info: the entry; its source is one of :data:`SOURCES`.
        settings: how to get at the values.
    """

    info: EntryInfo
    settings: Settings

    def plain(self) -> dict[str, Any]:
        """The settings as JSON values, those at their default left out."""
        default = {
            field.name: field.default if field.default is not msgspec.NODEFAULT else None
            for field in msgspec.structs.fields(self.settings)
        }
        values = msgspec.to_builtins(self.settings)
        return {name: value for name, value in values.items() if value != default.get(name)}


def parse_declaration(name: str, values: object) -> Declaration:
    """One entry of ``c.Vault.entries``.

    Raises:
        VaultError: a setting is unknown, missing or wrong.  The message repeats no value.
    """
    check_name(name)
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise VaultError(f"{name}: an entry is a dictionary of settings")
    common = set(_Bound.__struct_fields__)
    bound = _convert(name, {key: values[key] for key in values if key in common}, _Bound)
    info = EntryInfo(
        name,
        bound.kind,
        tuple(bound.tools),
        bound.delivery,
        bound.source,
        "",
        tuple(bound.hosts),
        tuple(bound.paths),
        tuple(bound.places),
        bound.file,
    )
    require_reach(name, info.kind, info.delivery, info.hosts)
    settings = parse_settings(info, {key: values[key] for key in values if key not in common})
    return Declaration(info, settings)


def parse_declarations(entries: object) -> list[Declaration]:
    """All of ``c.Vault.entries``, by name.

    Raises:
        VaultError: one can't be used.
    """
    if not isinstance(entries, Mapping):
        raise VaultError("c.Vault.entries is a dictionary: name → settings")
    return [parse_declaration(name, entries[name]) for name in sorted(entries, key=str)]


def parse_settings(info: EntryInfo, values: Mapping[str, object]) -> Settings:
    """The settings of an entry's source.

    Raises:
        VaultError: an unknown source, or a setting is unknown, missing or wrong.
    """
    kind = SOURCES.get(info.source)
    if kind is None:
        raise VaultError(f"{info.name}: source is one of {', '.join(sorted(SOURCES))}")
    known = kind.__struct_fields__
    if any(name not in known for name in values):
        raise VaultError(
            f"{info.name}: the source {info.source} has only these settings: "
            f"{', '.join(sorted(known))}"
        )
    settings = _convert(info.name, values, kind)
    if fault := settings.fault(info.kind):
        raise VaultError(f"{info.name}: {fault}")
    return settings


def _convert(name: str, values: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        # Of what is wrong msgspec names the place and the types, and for this one alone the value.
        reason = re.sub(r"(?s)Invalid enum value '.*'", "Not one of the known words", str(error))
        raise VaultError(f"{name}: {reason}") from None
    except (UnicodeError, ValueError, OverflowError):
        raise VaultError(f"{name}: a setting is no valid text or number") from None
