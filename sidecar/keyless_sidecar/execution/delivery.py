"""How a credential reaches a tool: which entries it may get, and what they become.

Pure.  :mod:`keyless_sidecar.execution.runner` selects before it asks the vault for values, and
delivers just before the child starts.  Delivery ``env`` is all there is so far; a proxy that puts
the real credential in later needs another function beside :func:`environment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyless_sidecar.tools import Refused, Tool, shown
from keyless_sidecar.vault import Entry, EntryInfo

#: In plain words, for ``%keyless tools``.
EXPOSURE = {
    "env": "the tool itself holds the credential, in its own sandbox, while one command runs",
    "none": "it gets no credential",
}


def bound(tool: Tool, infos: Sequence[EntryInfo]) -> list[EntryInfo]:
    """The entries that ``tool`` may get: its declaration names them, or they name it."""
    return [info for info in infos if info.allows(tool.name) or info.name in tool.credentials]


def select(
    tool: Tool, wanted: Sequence[str] | None, infos: Sequence[EntryInfo]
) -> tuple[EntryInfo, ...]:
    """The entries that a request gets.

    Args:
        tool: the declared tool.
        wanted: names in the request; ``None`` means all that the tool is bound to.
        infos: what the vault holds.

    Raises:
        Refused: an unknown entry, one that isn't bound to the tool, or two of one kind.
    """
    if tool.delivery == "none":
        if wanted:
            raise Refused(
                "PolicyDenied",
                f"The tool {tool.name} is declared to get no credential; leave --credentials out.",
                "credentials.none",
            )
        return ()
    allowed = {info.name: info for info in bound(tool, infos)}
    if wanted is None:
        chosen = list(allowed.values())
    else:
        known = {info.name for info in infos}
        for name in wanted:
            if name not in known:
                raise Refused(
                    "PolicyDenied",
                    f"There is no credential named {shown(name)}; `%keyless` lists them all.",
                    "credentials.unknown",
                )
            if name not in allowed:
                raise Refused(
                    "PolicyDenied",
                    f"The credential {shown(name)} is not bound to the tool {tool.name}; a person "
                    "binds it by `jupyter keyless vault add --tool`.",
                    "credentials.unbound",
                )
        chosen = [allowed[name] for name in dict.fromkeys(wanted)]
    kinds = [info.kind for info in chosen]
    for kind in kinds:
        if kinds.count(kind) > 1:
            names = ", ".join(info.name for info in chosen if info.kind == kind)
            raise Refused(
                "InvalidRequest",
                f"Several credentials of kind {kind} are bound to {tool.name} ({names}); name one "
                "with --credentials.",
                "credentials.ambiguous",
            )
    return tuple(chosen)


def environment(tool: Tool, entries: Sequence[Entry]) -> dict[str, str]:
    """The variables that hold the entries' values (delivery ``env``).

    Raises:
        Refused: an entry lacks a field that the tool needs, or fits none of its variables.
    """
    values: dict[str, str] = {}
    for entry in entries:
        wanted = _fields(tool.secret_env, entry.kind)
        if not wanted:
            raise Refused(
                "PolicyDenied",
                f"The tool {tool.name} takes no credential of kind {entry.kind}.",
                "credentials.kind",
            )
        for variable, field, optional in wanted:
            if field in entry.fields:
                values[variable] = entry.fields[field]
            elif not optional:
                raise Refused(
                    "PolicyDenied",
                    f"The credential {entry.name} has no field {field}, which {tool.name} needs.",
                    "credentials.field",
                )
    return values


def _fields(secret_env: Mapping[str, str], kind: str) -> list[tuple[str, str, bool]]:
    found = []
    for variable, source in secret_env.items():
        source_kind, _, field = source.partition(":")
        if source_kind == kind:
            found.append((variable, field.removesuffix("?"), field.endswith("?")))
    return found
