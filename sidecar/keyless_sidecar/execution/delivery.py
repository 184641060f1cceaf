"""How a credential reaches a tool: which entries it may get, and what they become.

Pure.  :mod:`keyless_sidecar.execution.runner` selects before it asks the vault for values, and
delivers just before the child starts:

- ``proxy``: the tool gets placeholders, and the egress proxy puts the real values in;
- ``env``, ``file``: the tool itself gets the values, in variables or files of its own;
- ``none``: it gets nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.postgres.environment import client_environment
from keyless_sidecar.tools import Refused, Tool, shown
from keyless_sidecar.vault import Entry, EntryInfo
from keyless_sidecar.vault.delivery_files import secret_files

#: In plain words, for ``%keyless tools``.
EXPOSURE = {
    "proxy": "the tool holds placeholders; the sidecar's proxy puts the credential into requests",
    "env": "the tool itself holds the credential, in its own sandbox, while one command runs",
    "file": "the tool itself finds the credential in a file, in its own sandbox, while one command "
    "runs",
    "session": "the tool itself holds temporary keys that are good for one command, in its own "
    "sandbox",
    "none": "it gets no credential",
}
#: Path below HOME of the certificates that a tool behind the proxy trusts.
CERTIFICATES = ".keyless/certificates.pem"
#: What the usual programs and libraries read for that.
CERTIFICATE_VARIABLES = (
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
)
#: Kinds that a proxy can put into requests; the others need hosts for that.
_BY_PROXY = frozenset({"aws", "postgres"})


#: From the least to the most exposed.
_EXPOSED = ("none", "proxy", "env", "file")


@dataclasses.dataclass(frozen=True)
class Delivered:
    """What a tool gets.

    Args:
        variables: of its environment.
        files: path below HOME and content.
    """

    variables: Mapping[str, str] = dataclasses.field(repr=False)
    files: Mapping[str, str] = dataclasses.field(repr=False)
    #: Entries that it has placeholders for.
    proxied: tuple[EntryInfo, ...] = ()


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


def by_proxy(tool: Tool, info: EntryInfo) -> bool:
    """Whether a tool gets a placeholder for an entry.

    Raises:
        Refused: the entry goes by proxy only, and the tool can't.
    """
    # A file as a whole stands in no request.
    reaches = info.kind in _BY_PROXY or (info.hosts and info.kind != "file")
    if tool.delivery == "proxy" and reaches:
        return True
    if info.delivery == "proxy":
        raise Refused(
            "PolicyDenied",
            f"The credential {info.name} is for the proxy only, and {tool.name} would hold it "
            "itself; a person allows that by `jupyter keyless vault add --delivery env`.",
            "credentials.delivery",
        )
    return False


def delivery_of(tool: Tool, infos: Sequence[EntryInfo]) -> str:
    """How a tool gets some credentials: the most exposed way among them.

    Raises:
        Refused: one of them goes by proxy only, and the tool can't.
    """
    ways = [
        "proxy" if by_proxy(tool, info) else "file" if info.delivery == "file" else "env"
        for info in infos
    ]
    return max(ways or ["none" if tool.delivery == "none" else "proxy"], key=_EXPOSED.index)


def exposure_of(tool: Tool, infos: Sequence[EntryInfo]) -> str:
    """What a tool's credentials are exposed to, in plain words, for ``%keyless tools``."""
    try:
        return EXPOSURE[delivery_of(tool, infos) if infos else tool.delivery]
    except Refused as refused:
        return refused.message


def deliver(tool: Tool, entries: Sequence[Entry], book: PlaceholderBook) -> Delivered:
    """What the entries become for a tool.

    Args:
        tool: the declared tool.
        entries: selected ones, with values.
        book: gives placeholders.

    Raises:
        Refused: an entry lacks a field that the tool needs, or fits nothing that it takes.
    """
    variables: dict[str, str] = {}
    proxied: list[EntryInfo] = []
    held: list[Entry] = []
    for entry in entries:
        if not by_proxy(tool, entry.info):
            held.append(entry)
            continue
        proxied.append(entry.info)
        if entry.kind == "postgres":
            variables |= client_environment(entry.fields, 0)
        else:  # from here on there is nothing real in it, whether for a variable or a file
            held.append(Entry.of(entry.info, _placeholders(entry, book)))
    files = {path: content.decode() for path, content in secret_files(held).items()}
    for entry in held:
        fields = entry.fields
        if entry.delivery == "file":
            continue
        wanted = _fields(tool.secret_env, entry.kind)
        if not wanted:
            raise Refused(
                "PolicyDenied",
                f"The tool {tool.name} takes no credential of kind {entry.kind}.",
                "credentials.kind",
            )
        for variable, field, optional in wanted:
            if field in fields:
                variables[variable] = fields[field]
            elif not optional:
                raise Refused(
                    "PolicyDenied",
                    f"The credential {entry.name} has no field {field}, which {tool.name} needs.",
                    "credentials.field",
                )
    return Delivered(variables, files, tuple(proxied))


def _placeholders(entry: Entry, book: PlaceholderBook) -> Mapping[str, str]:
    """The entry's fields with placeholders for all that is secret."""
    plain = {name: entry.fields[name] for name in entry.fields if name not in entry.secret_fields()}
    if entry.kind == "aws":
        keys = book.for_entry(entry.info)
        secret = {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
        }
        return {**plain, **secret}
    token = book.token_for(entry.info)
    return {**plain, **dict.fromkeys(entry.secret_fields(), token)}


def _fields(secret_env: Mapping[str, str], kind: str) -> list[tuple[str, str, bool]]:
    found = []
    for variable, source in secret_env.items():
        source_kind, _, field = source.partition(":")
        if source_kind == kind:
            found.append((variable, field.removesuffix("?"), field.endswith("?")))
    return found
