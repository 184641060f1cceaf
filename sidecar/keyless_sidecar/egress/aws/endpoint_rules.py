"""Host names out of botocore's endpoint rules, region and account left open.

The rules say how a host name is made from a region; read backwards they say which host names there
are.  ``endpoints`` looks hosts up in the table that comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from keyless_sidecar.egress.aws.catalog import Catalog
from keyless_sidecar.egress.aws.host_table import HostTable, Known
from keyless_sidecar.egress.aws.partitions import Partition
from keyless_sidecar.egress.aws.rule_files import Former, urls

__all__ = ["host_table"]

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


def host_table(catalog: Catalog, partitions: Sequence[Partition]) -> HostTable:
    """All host names, by their pattern."""
    return HostTable(_lines(catalog, partitions))


def _lines(catalog: Catalog, partitions: Sequence[Partition]) -> Iterator[str]:
    former = Former(catalog.text("endpoints"))
    for service, head in catalog.heads.items():
        found: list[tuple[str, str, str]] = []
        for url, schemes in urls(catalog.rules(service)):
            signing = [s for s in schemes if s[0].split("#")[-1] != "sigv4a"]
            if schemes and not signing:
                continue  # signed with 4A only, which is refused anyway
            host = url.removeprefix("https://").partition("/")[0]
            if "#authority" in host or "{Endpoint}" in host or "://" in host:
                continue
            for _, name, region in signing or [("", None, None)]:
                found.append((host, head.signing_name if name is None else name, region or ""))
        found += ((h, head.signing_name, "") for h in _LEGACY.get(service, ()))
        for partition in partitions:
            handed = _HANDED_OUT.get(service, ())
            old, one = former.of(partition.name, head.prefix)
            own = [(h, head.signing_name, "") for h in handed]
            # Without a region in the rules, clients of a global service sign for its one region.
            own += [(h, name, one) for h, name, region in found if one and not region]
            own += [(h, head.signing_name, region) for h, region in old]
            for host, name, region in dict.fromkeys((*found, *own)):
                known = _known(host, name, region, service, partition)
                if known is not None:
                    yield known.line


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
    region = "" if region == "{Region}" else region
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
