"""Host names of S3 with a bucket, an access point or an account in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keyless_sidecar.egress.aws.partitions import Partition
from keyless_sidecar.egress.aws.refusal import AwsRefusal

__all__ = ["S3Host", "read_s3_host"]

_Kind = Literal["bucket", "accesspoint", "object-lambda", "outposts", "express", "control"]


@dataclass(frozen=True)
class S3Host:
    """What a host name of S3 says.

    Attributes:
        bucket: name of the bucket or access point; empty where it is in the path.
        arn: of the access point, where it is one.
        region: empty where the name is global.
    """

    kind: _Kind
    services: tuple[str, ...]
    signing_name: str
    region: str
    partition: str
    bucket: str = ""
    account: str = ""
    arn: str = ""


_BUCKET = r"(?P<bucket>[a-z0-9A-Z][a-z0-9A-Z._-]{1,253}[a-z0-9A-Z])"
_ACCOUNT = r"(?P<account>\d{12})"
_POINT = rf"(?P<point>[a-z0-9][a-z0-9-]{{0,61}}[a-z0-9])-{_ACCOUNT}"
_REGION = r"(?P<region>[a-z]{2,5}-[a-z0-9-]+-\d+)"
_FORMS: tuple[tuple[_Kind, str], ...] = (
    ("bucket", rf"(?:{_BUCKET}\.)?s3(?:-fips)?(?:\.dualstack)?\.{_REGION}"),
    ("bucket", rf"(?:{_BUCKET}\.)?s3-(?:fips-)?{_REGION}"),
    ("bucket", rf"(?:{_BUCKET}\.)?s3(?:-external-1)?"),
    ("bucket", rf"{_BUCKET}\.s3-accelerate(?:\.dualstack)?"),
    ("accesspoint", rf"{_POINT}\.s3-accesspoint(?:-fips)?(?:\.dualstack)?\.{_REGION}"),
    ("object-lambda", rf"{_POINT}\.s3-object-lambda(?:-fips)?\.{_REGION}"),
    ("object-lambda", rf"(?P<route>[A-Za-z0-9-]{{1,63}})\.s3-object-lambda(?:-fips)?\.{_REGION}"),
    ("outposts", rf"{_POINT}\.(?P<outpost>op-[a-z0-9]+|ec2)\.s3-outposts\.{_REGION}"),
    ("outposts", rf"{_BUCKET}\.(?P<outpost>op-[a-z0-9]+|ec2)\.s3-outposts\.{_REGION}"),
    (
        "express",
        r"(?P<bucket>[a-z0-9][a-z0-9-]{1,61}--x(?:a)?-s3)\."
        rf"s3express(?:-fips)?-[a-z0-9-]+(?:\.dualstack)?\.{_REGION}",
    ),
    ("express", rf"s3express-control(?:-fips)?(?:\.dualstack)?\.{_REGION}"),
    ("control", rf"(?:{_ACCOUNT}\.)?s3-control(?:-fips)?(?:\.dualstack)?\.{_REGION}"),
    ("control", rf"s3-outposts(?:-fips)?\.{_REGION}"),
)
_COMPILED = tuple((kind, re.compile(form, re.ASCII)) for kind, form in _FORMS)
_SIGNED = {
    "object-lambda": "s3-object-lambda",
    "outposts": "s3-outposts",
    "express": "s3express",
}


def read_s3_host(host: str, partitions: Sequence[Partition]) -> S3Host | None:
    """Read a host name of S3; None where it isn't one.

    Raises:
        AwsRefusal: it is one that is not let through.
    """
    for partition in partitions:
        for suffix in (partition.suffix, partition.dual_suffix):
            if host.endswith(f".{suffix}"):
                found = _read(host.removesuffix(f".{suffix}"), suffix, partition)
                if found is not None:
                    return found
    return None


def _read(name: str, suffix: str, partition: Partition) -> S3Host | None:
    if re.search(r"(^|\.)s3-website[.-]", name):
        raise AwsRefusal("AccessDenied", "S3 website endpoints are not let through; use S3's API.")
    if name.endswith(".accesspoint.s3-global"):
        raise AwsRefusal(
            "AccessDenied",
            "Multi-region access points need Signature Version 4A, which can't be signed again "
            "here; use an access point of one region.",
        )
    for kind, pattern in _COMPILED:
        found = pattern.fullmatch(name)
        if not found:
            continue
        groups = found.groupdict()
        region = groups.get("region") or ""
        if region and not partition.pattern.fullmatch(region):
            continue
        if not region and partition.name != "aws" and suffix == "amazonaws.com":
            continue
        if suffix == partition.dual_suffix != partition.suffix and kind != "control":
            continue
        return _host(kind, name, region, partition, groups)
    return None


def _host(
    kind: _Kind, name: str, region: str, partition: Partition, groups: dict[str, str | None]
) -> S3Host:
    account = groups.get("account") or ""
    point, outpost = groups.get("point"), groups.get("outpost")
    arn = ""
    if point and kind == "accesspoint":
        arn = f"arn:{partition.name}:s3:{region}:{account}:accesspoint/{point}"
    elif point and kind == "object-lambda":
        arn = f"arn:{partition.name}:s3-object-lambda:{region}:{account}:accesspoint/{point}"
    elif point and kind == "outposts":
        arn = (
            f"arn:{partition.name}:s3-outposts:{region}:{account}:outpost/{outpost}/"
            f"accesspoint/{point}"
        )
    services: tuple[str, ...] = ("s3",)
    signing_name = _SIGNED.get(kind, "s3")
    if kind == "express" and not groups.get("bucket"):
        services = ("s3", "s3control")
    if kind == "control":
        outposts = name.startswith("s3-outposts")
        services = ("s3control", "s3outposts") if outposts else ("s3control",)
        signing_name = "s3-outposts" if outposts else "s3"
    return S3Host(
        kind=kind,
        services=services,
        signing_name=signing_name,
        region=region,
        partition=partition.name,
        bucket=(f"{point}-{account}" if point else groups.get("bucket")) or "",
        account=account,
        arn=arn,
    )
