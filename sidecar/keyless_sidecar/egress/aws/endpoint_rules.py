"""Host names out of botocore's endpoint rules, region and account left open.

The rules say how a host name is made from a region; read backwards they say which host names there
are.  ``endpoints`` looks hosts up in the table that comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any

from keyless_sidecar.egress.aws.catalog import Catalog
from keyless_sidecar.egress.aws.partitions import Partition

__all__ = ["Known", "host_table"]

_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9#]+)\}")
#: Services whose hosts with a bucket or an account in them have a module of their own.
_OWN_MODULE = frozenset({"s3", "s3control"})
#: Hosts that older clients use: in no rules, but they are AWS's.
_LEGACY: Mapping[str, tuple[str, ...]] = {
    "sqs": ("{Region}.queue.amazonaws.com", "queue.amazonaws.com"),
}


def _cells(name: str) -> tuple[str, ...]:
    """Hosts of Timestream's cells, which clients ask it for; those for FIPS and IPv6 too."""
    return tuple(
        f"{name}-{{*}}.timestream{kind}.{{Region}}.{{{suffix}}}"
        for kind in ("", "-fips")
        for suffix in ("Suffix", "dualStackDnsSuffix")
    )


#: Hosts that AWS hands out by name, with an identifier in front.
_HANDED_OUT: Mapping[str, tuple[str, ...]] = {
    "apigatewaymanagementapi": ("{*}.execute-api.{Region}.{Suffix}",),
    "iot-data": ("{*}.iot.{Region}.{Suffix}",),
    "iot-jobs-data": ("{*}.jobs.iot.{Region}.{Suffix}",),
    "kinesis-video-archived-media": ("{*}.kinesisvideo.{Region}.{Suffix}",),
    "kinesis-video-media": ("{*}.kinesisvideo.{Region}.{Suffix}",),
    "kinesis-video-signaling": ("{*}.kinesisvideo.{Region}.{Suffix}",),
    "kinesis-video-webrtc-storage": ("{*}.kinesisvideo.{Region}.{Suffix}",),
    "mediaconvert": ("{*}.mediaconvert.{Region}.{Suffix}",),
    "mediastore-data": ("{*}.data.mediastore.{Region}.{Suffix}",),
    "cloudsearchdomain": ("{*}.{Region}.cloudsearch.{Suffix}",),
    "timestream-query": _cells("query"),
    "timestream-write": _cells("ingest"),
}


@dataclass(frozen=True, slots=True)
class Known:
    """A host name that a service has.

    Attributes:
        pattern: the name, with ``{Region}``, ``{AccountId}`` and ``{*}`` (one label) left open.
        signing_region: where the rules fix it; empty where it is the host's own or any.
    """

    pattern: str
    partition: str
    service: str
    signing_name: str
    signing_region: str


def host_table(
    catalog: Catalog, partitions: Sequence[Partition]
) -> Mapping[str, tuple[Known, ...]]:
    """All host names, by their pattern."""
    table: dict[str, dict[Known, None]] = {}
    former = _former(catalog, partitions)
    for service, head in catalog.heads.items():
        found: list[tuple[str, str, str]] = []
        for url, schemes in _endpoints(catalog.rules(service).get("rules", ())):
            signing = [s for s in schemes if s["name"].split("#")[-1] != "sigv4a"]
            if schemes and not signing:
                continue  # signed with 4A only, which is refused anyway
            host = url.removeprefix("https://").partition("/")[0]
            if "#authority" in host or "{Endpoint}" in host or "://" in host:
                continue
            for scheme in signing or [{}]:
                found.append(
                    (
                        host,
                        intern(scheme.get("signingName", head.signing_name)),
                        intern(scheme.get("signingRegion", "")),
                    )
                )
        found += ((h, head.signing_name, "") for h in _LEGACY.get(service, ()))
        for partition in partitions:
            handed = _HANDED_OUT.get(service, ())
            old, one = former[partition.name, head.prefix]
            own = [(h, head.signing_name, "") for h in handed]
            # Without a region in the rules, clients of a global service sign for its one region.
            own += [(h, name, one) for h, name, region in found if one and not region]
            own += [(h, head.signing_name, region) for h, region in old]
            for host, name, region in (*found, *own):
                known = _known(host, name, region, service, partition)
                if known is not None:
                    table.setdefault(known.pattern, {})[known] = None
    return {pattern: tuple(known) for pattern, known in table.items()}


def _former(
    catalog: Catalog, partitions: Sequence[Partition]
) -> Mapping[tuple[str, str], tuple[Sequence[tuple[str, str]], str]]:
    """What the older ``endpoints.json`` says of each partition and prefix.

    It is large; taken out of it first, so that it is gone before what is kept is made: between the
    two there would be no room left that the system gets back.
    """
    older = catalog.data("endpoints")
    prefixes = {head.prefix for head in catalog.heads.values()}
    return {
        (partition.name, prefix): (
            tuple(_older(older, partition.name, prefix)),
            _global_region(older, partition.name, prefix),
        )
        for partition in partitions
        for prefix in prefixes
    }


def _known(host: str, name: str, region: str, service: str, partition: Partition) -> Known | None:
    """A host name in a partition; None where it isn't one of that partition."""
    pattern = _PLACEHOLDER.sub(lambda found: _open(found[1], partition), host)
    if not pattern.endswith((*(f".{suffix}" for suffix in partition.suffixes), ".on.aws")):
        return None
    if pattern.endswith(".on.aws") and partition.name != "aws":
        return None
    if service in _OWN_MODULE and ("{*}" in pattern or "{AccountId}" in pattern):
        return None
    region = _PLACEHOLDER.sub(lambda found: _open(found[1], partition), region)
    if region not in ("", "{Region}") and not partition.pattern.fullmatch(region):
        return None
    region = "" if region == "{Region}" else intern(region)
    return Known(pattern, partition.name, service, name, region)


def _open(placeholder: str, partition: Partition) -> str:
    """What stands for a placeholder of the rules."""
    name = placeholder.rpartition("#")[2]
    fixed = {
        "dnsSuffix": partition.suffix,
        "dualStackDnsSuffix": partition.dual_suffix,
        "implicitGlobalRegion": partition.global_region or "{*}",
        "Suffix": partition.suffix,
        "Region": "{Region}",
        "region": "{Region}",
        "AccountId": "{AccountId}",
        "accountId": "{AccountId}",
    }
    return fixed.get(name, "{*}")


def _endpoints(rules: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The URL and the ways of signing of each endpoint in the rules."""
    for rule in rules:
        if rule["type"] == "tree":
            yield from _endpoints(rule["rules"])
        elif rule["type"] == "endpoint":
            url = rule["endpoint"]["url"]
            if isinstance(url, str):
                yield url, rule["endpoint"].get("properties", {}).get("authSchemes", [])


def _older(data: Mapping[str, Any], partition: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Hosts and signing regions from the older ``endpoints.json``."""
    for entry in data["partitions"]:
        if entry["partition"] != partition:
            continue
        service = entry["services"].get(prefix)
        if service is None:
            return
        suffix = entry["dnsSuffix"]
        if service.get("isRegionalized", True):
            yield f"{prefix}.{{Region}}.{suffix}", ""
            for variant in entry["defaults"].get("variants", ()):
                host = variant["hostname"].replace("{service}", prefix)
                host = host.replace("{dnsSuffix}", variant.get("dnsSuffix", suffix))
                yield host.replace("{region}", "{Region}"), ""
        for endpoint in service.get("endpoints", {}).values():
            for form in (endpoint, *endpoint.get("variants", ())):
                region = endpoint.get("credentialScope", {}).get("region", "")
                if "hostname" in form and "{" not in form["hostname"]:
                    yield form["hostname"], region


def _global_region(data: Mapping[str, Any], partition: str, prefix: str) -> str:
    """The region that a service of the whole partition is signed for; empty for a regional one."""
    for entry in data["partitions"]:
        service = entry["services"].get(prefix, {})
        if entry["partition"] == partition and not service.get("isRegionalized", True):
            endpoint = service["endpoints"].get(service.get("partitionEndpoint", ""), {})
            return str(endpoint.get("credentialScope", {}).get("region", ""))
    return ""
