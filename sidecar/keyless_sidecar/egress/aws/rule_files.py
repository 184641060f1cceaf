"""Of botocore's endpoint files only what host names come of, read so that little memory is used.

The files hold forty megabytes of objects where they are read as they stand.  What isn't asked for
here is skipped while it is read, and ``endpoints.json`` is read one service at a time: the sidecar
keeps its memory locked, and then what lies between things that it keeps isn't given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["Former", "urls"]

#: A way of signing: its name, and signing name and region where they are fixed.
Way = tuple[str, str | None, str | None]


class _Scheme(msgspec.Struct):
    name: str
    signingName: str | None = None
    signingRegion: str | None = None


class _Properties(msgspec.Struct):
    authSchemes: list[_Scheme] = []


class _Target(msgspec.Struct):
    url: Any
    properties: _Properties = msgspec.field(default_factory=_Properties)


class _Rule(msgspec.Struct):
    type: str
    rules: list[_Rule] = []
    endpoint: _Target | None = None


class _RuleSet(msgspec.Struct):
    rules: list[_Rule] = []


class _Variant(msgspec.Struct):
    hostname: str | None = None
    dnsSuffix: str | None = None


class _Scope(msgspec.Struct):
    region: str = ""


class _Endpoint(msgspec.Struct):
    hostname: str | None = None
    credentialScope: _Scope = msgspec.field(default_factory=_Scope)
    variants: list[_Variant] = []


class _Service(msgspec.Struct):
    endpoints: dict[str, _Endpoint] = {}
    isRegionalized: bool = True
    partitionEndpoint: str = ""


class _Defaults(msgspec.Struct):
    variants: list[_Variant] = []


class _Partition(msgspec.Struct):
    partition: str
    dnsSuffix: str
    services: dict[str, msgspec.Raw]
    defaults: _Defaults = msgspec.field(default_factory=_Defaults)


class _Older(msgspec.Struct):
    partitions: list[_Partition]


_rules = msgspec.json.Decoder(_RuleSet)
_older = msgspec.json.Decoder(_Older)
_service = msgspec.json.Decoder(_Service)


def urls(text: bytes) -> Iterator[tuple[str, Sequence[Way]]]:
    """The URL of each endpoint in a rule set, and its ways of signing.

    Args:
        text: the rule set's file.

    Raises:
        msgspec.MsgspecError: it is no rule set.
    """
    return _urls(_rules.decode(text).rules)


def _urls(rules: Sequence[_Rule]) -> Iterator[tuple[str, Sequence[Way]]]:
    for rule in rules:
        target = rule.endpoint
        if rule.type == "tree":
            yield from _urls(rule.rules)
        elif rule.type == "endpoint" and target is not None and isinstance(target.url, str):
            schemes = target.properties.authSchemes
            yield target.url, [(s.name, s.signingName, s.signingRegion) for s in schemes]


class Former:
    """The older ``endpoints.json``.

    Args:
        text: the file.

    Raises:
        msgspec.MsgspecError: it isn't such a file.
    """

    def __init__(self, text: bytes) -> None:
        self._partitions: Mapping[str, _Partition] = {
            partition.partition: partition for partition in _older.decode(text).partitions
        }

    def of(self, partition: str, prefix: str) -> tuple[list[tuple[str, str]], str]:
        """What it says of a service.

        Args:
            partition: name of the partition.
            prefix: the service's, as hosts have it.

        Returns:
            Hosts with their signing regions, and the region that a service of the whole partition
            is signed for; empty for a regional one.

        Raises:
            msgspec.MsgspecError: the service's part isn't as it should be.
        """
        entry = self._partitions.get(partition)
        raw = entry.services.get(prefix) if entry is not None else None
        if entry is None or raw is None:
            return [], ""
        service = _service.decode(raw)
        one = ""
        if not service.isRegionalized:
            default = service.endpoints.get(service.partitionEndpoint)
            one = default.credentialScope.region if default is not None else ""
        return list(_hosts(entry, service, prefix)), one


def _hosts(entry: _Partition, service: _Service, prefix: str) -> Iterator[tuple[str, str]]:
    suffix = entry.dnsSuffix
    if service.isRegionalized:
        yield f"{prefix}.{{Region}}.{suffix}", ""
        for variant in entry.defaults.variants:
            host = (variant.hostname or "").replace("{service}", prefix)
            host = host.replace("{dnsSuffix}", variant.dnsSuffix or suffix)
            yield host.replace("{region}", "{Region}"), ""
    for endpoint in service.endpoints.values():
        region = endpoint.credentialScope.region
        names = (endpoint.hostname, *(variant.hostname for variant in endpoint.variants))
        yield from ((name, region) for name in names if name is not None and "{" not in name)
