"""The entry that ``vault add`` stores, from its options.  No option holds a secret."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence

from keyless_sidecar.commands import secret_input
from keyless_sidecar.commands.aws_profile import profile_fields
from keyless_sidecar.vault import (
    KINDS,
    Declaration,
    Entry,
    EntryInfo,
    VaultError,
    parse_declaration,
)
from keyless_sidecar.vault.bindings import require_reach

__all__ = ["declaration", "entry", "kind"]

#: Settings that aren't texts; they are written as JSON.
_JSON_SETTINGS = frozenset({"argv", "environment", "timeout", "cache", "version"})


def kind(options: argparse.Namespace) -> str:
    """What ``--kind`` says; without it, what the other options leave no doubt of.

    Raises:
        VaultError: there is doubt.
    """
    if options.kind is not None:
        return str(options.kind)
    if options.from_profile is not None or options.source == "aws-profile":
        return "aws"
    if options.name in KINDS:
        return str(options.name)
    raise VaultError(f"Say what it is: --kind {'|'.join(sorted(KINDS))}")


def entry(options: argparse.Namespace, secret_fd: int | None) -> Entry:
    """An entry with values, read where the options say.

    Args:
        secret_fd: descriptor with the secret, None for a prompt or a profile.

    Raises:
        VaultError: options that don't go together, no secret, or one that is no good.
    """
    if options.profile or options.settings or options.mapping:
        raise VaultError("--profile, --set and --field go with --source")
    info = EntryInfo(
        options.name,
        options.kind,
        tuple(_tools(options)),
        _delivery(options),
        "",
        "",
        tuple(options.hosts),
        tuple(options.paths),
        tuple(options.places),
        options.as_file,
    )
    require_reach(info.name, info.kind, info.delivery, info.hosts)
    return Entry.of(info, _fields(options, secret_fd))


def declaration(options: argparse.Namespace, known: Iterable[str]) -> Declaration:
    """An entry whose values are elsewhere.

    Args:
        known: names of the entries that there are.

    Raises:
        VaultError: options that don't go together, or a setting is unknown, missing or wrong.
    """
    if options.raw:
        raise VaultError("--raw goes with --from-stdin and --from-fd")
    settings: dict[str, object] = {
        name: _json(name, text) if name in _JSON_SETTINGS else text
        for name, text in _pairs("--set", options.settings).items()
    }
    if options.profile is not None:
        settings["profile"] = options.profile
    if options.mapping:
        settings["fields"] = _pairs("--field", options.mapping)
    common = {
        "kind": options.kind,
        "source": options.source,
        "tools": _tools(options),
        "delivery": _delivery(options),
        "hosts": options.hosts,
        "paths": options.paths,
        "places": options.places,
        "file": options.as_file,
    }
    if set(settings) & set(common):
        raise VaultError("--set is for the source's settings; the others have options of their own")
    made = parse_declaration(options.name, {**common, **settings})
    if not set(made.settings.needs()) <= set(known):
        # Not repeated: what stands there may be the secret itself.
        raise VaultError(
            f"{options.name}: the entry that it names for access to its source isn't in the vault: "
            "store that one first (vault add --no-tool)"
        )
    return made


def _tools(options: argparse.Namespace) -> list[str]:
    tools: list[str] = options.tools or (
        ["aws"] if options.kind == "aws" and not options.no_tool else []
    )
    if not tools and not options.no_tool:
        raise VaultError(f"{options.name}: name a tool that may use it with --tool")
    return tools


def _delivery(options: argparse.Namespace) -> str:
    delivery: str = options.delivery
    return delivery or ("file" if options.as_file else "")


def _fields(options: argparse.Namespace, secret_fd: int | None) -> dict[str, str]:
    if options.from_profile is not None:
        if options.kind != "aws":
            raise VaultError("--from-profile goes with --kind aws")
        return profile_fields(options.from_profile)
    if secret_fd is not None:
        text = secret_input.read_descriptor(secret_fd, "The secret")
        return secret_input.parse_fields(options.kind, text, raw=options.raw)
    return secret_input.ask_fields(options.kind)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise VaultError(f"{option} takes NAME=VALUE")
        if name in pairs:
            raise VaultError(f"{option} names the same thing twice")
        pairs[name] = value
    return pairs


def _json(name: str, text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise VaultError(f"--set {name}=… is written as JSON") from None
    return value
