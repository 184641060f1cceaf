"""AWS's partitions: their regions, and the domains that their endpoints are in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Partition", "in_domain", "read_partitions", "region_in"]

#: Domains of AWS that are no partition's suffix.
_FURTHER = ("on.aws", "amazonaws.com", "api.aws", "aws.dev")


#: Where global services are called, for models that are too old to say it.
_GLOBAL_REGIONS: Mapping[str, str] = {
    "aws": "us-east-1",
    "aws-cn": "cn-northwest-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
}


@dataclass(frozen=True)
class Partition:
    """A partition, ``aws`` or ``aws-cn``."""

    name: str
    suffix: str
    dual_suffix: str
    global_region: str
    pattern: re.Pattern[str]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The domains that its endpoints are in."""
        return tuple(dict.fromkeys((self.suffix, self.dual_suffix)))


def read_partitions(data: Mapping[str, Any]) -> tuple[Partition, ...]:
    """Partitions from botocore's ``partitions.json``."""
    return tuple(
        Partition(
            name=entry["id"],
            suffix=entry["outputs"]["dnsSuffix"],
            dual_suffix=entry["outputs"]["dualStackDnsSuffix"],
            global_region=entry["outputs"].get("implicitGlobalRegion")
            or _GLOBAL_REGIONS.get(entry["id"], ""),
            pattern=re.compile(entry["regionRegex"], re.ASCII),
        )
        for entry in data["partitions"]
    )


def region_in(labels: Sequence[str], partitions: Sequence[Partition]) -> tuple[str, str]:
    """The one label that is a region, and its partition's name; empty where there is no such."""
    found = [
        (label, partition.name)
        for label in labels
        for partition in partitions
        if partition.pattern.fullmatch(label)
    ]
    return found[0] if len(found) == 1 else ("", "")


def in_domain(host: str, partitions: Sequence[Partition]) -> bool:
    """Whether a host is in one of AWS's own domains."""
    suffixes = {suffix for partition in partitions for suffix in partition.suffixes}
    return any(host.endswith(f".{suffix}") for suffix in (*suffixes, *_FURTHER))
