"""Which service and region a host name belongs to; what isn't surely one of AWS's is refused.

The handler asks it before anything is signed: a request goes only to a real endpoint of the service
and region that its credential scope names.
"""

from __future__ import annotations

import asyncio
import functools
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from keyless_sidecar.egress.aws.catalog import Catalog, catalog
from keyless_sidecar.egress.aws.endpoint_rules import host_table
from keyless_sidecar.egress.aws.host_table import Known
from keyless_sidecar.egress.aws.partitions import Partition, in_domain, read_partitions, region_in
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.s3_hosts import S3Host, read_s3_host
from keyless_sidecar.egress.aws.signature import Claim

__all__ = ["Endpoint", "Endpoints", "Way", "endpoints", "read_models"]

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])")
#: Hosts under AWS's domains that run other people's code or serve other people's content.
_FOREIGN: Mapping[str, str] = {
    r".*\.lambda-url\.[a-z0-9-]+\.on\.aws": "Function URLs are not AWS's API",
    r".*\.vpce\.amazonaws\.com(\.cn)?": "VPC endpoints are reached by their service's usual name",
    r".*\.cloudfront\.net": "CloudFront hosts are not AWS's API",
    r".*\.elb\.[a-z0-9-]*\.?amazonaws\.com": "Load balancers are not AWS's API",
    r".*\.compute(-1)?\.amazonaws\.com": "Instances are not AWS's API",
}


@dataclass(frozen=True)
class Way:
    """A service that a host may be of.

    Attributes:
        service: the model's name.
        signing_name: its name in a credential scope.
        regions: that the scope may have; empty for any of the partition.
        prefix: what an operation of it puts before the host (``api.``), as it stands there.
    """

    service: str
    signing_name: str
    regions: frozenset[str]
    prefix: str = ""


@dataclass(frozen=True)
class Endpoint:
    """What a host name says.

    Attributes:
        ways: the services that may be meant.
        region: the region, empty where the host is global.
        bucket: bucket or access point in the host name of S3.
        account: account in the host name.
        arn: of the access point in the host name.
        kind: for S3, what kind of host; else empty.
    """

    host: str
    ways: tuple[Way, ...]
    region: str
    partition: str
    bucket: str = ""
    account: str = ""
    arn: str = ""
    kind: str = ""
    dualstack: bool = False
    fips: bool = False

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the models that may be meant."""
        return tuple(dict.fromkeys(way.service for way in self.ways))

    def prefix_fits(self, service: str, template: str) -> dict[str, str] | None:
        """Whether an operation with this host prefix can be meant.

        Returns:
            The members that stand in the prefix; None where it can't.
        """
        for way in self.ways:
            if way.service == service:
                if not way.prefix:
                    named = template == "{AccountId}." and self.account
                    return {"AccountId": self.account} if named else {}
                found = prefix_pattern(template).fullmatch(way.prefix) if template else None
                if found is not None:
                    return found.groupdict()
        return None


class Endpoints:
    """All host names of AWS's API that a botocore knows.

    Args:
        models: whose endpoint data count.
    """

    def __init__(self, models: Catalog) -> None:
        self._catalog = models
        self._partitions = read_partitions(models.data("partitions"))
        self._table = host_table(models, self._partitions)
        self._patterns = tuple(
            (_regex(pattern), known) for pattern, known in self._table.groups("{*}")
        )

    def is_aws(self, host: str) -> bool:
        """Whether a host is in AWS's domains: then the handler claims it, and refuses or signs."""
        return in_domain(host.lower(), self._partitions)

    def check(self, endpoint: Endpoint, claim: Claim) -> Endpoint:
        """Refuse a request that is signed for another service or region than its host's.

        Returns:
            The endpoint with only the services that the signature allows.

        Raises:
            AwsRefusal: as said.
        """
        named = [way for way in endpoint.ways if way.signing_name == claim.service]
        if not named:
            raise AwsRefusal(
                "SignatureDoesNotMatch",
                f"The request is signed for the service {claim.service}, but {endpoint.host} "
                f"belongs to {' or '.join(sorted({w.signing_name for w in endpoint.ways}))}.",
            )
        of = next((p.name for p in self._partitions if p.pattern.fullmatch(claim.region)), "")
        inside = of == endpoint.partition
        ways = [w for w in named if (claim.region in w.regions if w.regions else inside)]
        if not ways:
            regions = sorted({region for way in named for region in way.regions})
            raise AwsRefusal(
                "SignatureDoesNotMatch",
                f"The request is signed for the region {claim.region}, but {endpoint.host} belongs "
                f"to {' or '.join(regions) or 'another partition'}.",
            )
        return replace(endpoint, ways=tuple(ways), partition=of or endpoint.partition)

    @functools.lru_cache(maxsize=1024)  # noqa: B019 (one object, for the process)
    def find(self, host: str) -> Endpoint:
        """What a host name, without port, says.

        Raises:
            AwsRefusal: it isn't the name of an endpoint of AWS's API.
        """
        if not _HOST.fullmatch(host) or ".." in host:
            raise AwsRefusal("AccessDenied", "The host is not an endpoint of AWS's API.")
        for pattern, reason in _FOREIGN.items():
            if re.fullmatch(pattern, host):
                raise AwsRefusal("AccessDenied", f"{reason}; it is not let through here.")
        s3 = read_s3_host(host, self._partitions)
        if s3 is not None:
            return self._s3(host, s3)
        found: list[tuple[Known, Way]] = []
        for prefix, rest in _splits(host):
            known = self._known(rest)
            if prefix:
                services = self._with_prefix(known, prefix)
                known = [entry for entry in known if entry.service in services]
            found += ((entry, _way(entry, rest, prefix, self._partitions)) for entry in known)
        if found:
            return self._endpoint(host, found)
        raise AwsRefusal(
            "AccessDenied",
            f"{host} is not an endpoint of AWS's API that is known here; use the service's usual "
            "endpoint.",
        )

    # ------------------------------------------------------------------ inside

    def _known(self, host: str) -> list[Known]:
        """The entries for a host; those that fit most exactly."""
        labels = host.split(".")
        region, partition = region_in(labels, self._partitions)
        open_region = ".".join("{Region}" if label == region else label for label in labels)
        keys = [host, open_region]
        if re.fullmatch(r"\d{12}", labels[0]):
            keys.append("{AccountId}" + open_region[12:])
        found = [
            known
            for key in keys
            for known in self._table.get(key)
            if "{Region}" not in key or known.partition == partition
        ]
        if found:
            return found
        return [
            known
            for regex, entries in self._patterns
            if regex.fullmatch(open_region)
            for known in entries
            if known.partition == partition
        ]

    def _with_prefix(self, found: Iterable[Known], prefix: str) -> set[str]:
        """Of the services found, those that have an operation with such a host prefix."""
        services = set()
        for service in {known.service for known in found}:
            model = self._catalog.model(service)
            for name in model.operation_names:
                template = (model.operation_model(name).endpoint or {}).get("hostPrefix", "")
                if template and prefix_pattern(template).fullmatch(prefix):
                    services.add(service)
                    break
        return services

    def _endpoint(self, host: str, found: list[tuple[Known, Way]]) -> Endpoint:
        labels = host.split(".")
        region, partition = region_in(labels, self._partitions)
        if not partition:
            # Two partitions share a domain; a host without a region is that of the larger one.
            names = {known.partition for known, _ in found}
            partition = "aws" if "aws" in names else min(names)
        ways = tuple(dict.fromkeys(way for _, way in found))
        regions = {r for known, way in found if known.partition == partition for r in way.regions}
        return Endpoint(
            host=host,
            ways=ways,
            region=region or (min(regions) if len(regions) == 1 else ""),
            partition=partition,
            account=labels[0] if re.fullmatch(r"\d{12}", labels[0]) else "",
            dualstack=".api." in host or ".dualstack." in host,
            fips="fips" in host,
        )

    def _s3(self, host: str, s3: S3Host) -> Endpoint:
        return Endpoint(
            host=host,
            ways=tuple(
                Way(service, s3.signing_name, frozenset({s3.region} if s3.region else ()))
                for service in s3.services
            ),
            region=s3.region,
            partition=s3.partition,
            bucket=s3.bucket,
            account=s3.account,
            arn=s3.arn,
            kind=s3.kind,
            dualstack=".dualstack." in host,
            fips="-fips" in host,
        )


def endpoints(data_path: str = "") -> Endpoints:
    """The endpoints of the models in a folder, read once (about half a second)."""
    with _reading:  # those who come meanwhile don't read them a second time
        if data_path not in _read:
            _read[data_path] = Endpoints(catalog(data_path))
        return _read[data_path]


async def read_models(data_path: str = "") -> None:
    """See to it that :func:`endpoints` answers at once, without holding up the event loop."""
    if data_path not in _read:
        await asyncio.to_thread(endpoints, data_path)


_reading = threading.Lock()
_read: dict[str, Endpoints] = {}


@functools.lru_cache(maxsize=512)
def prefix_pattern(template: str) -> re.Pattern[str]:
    """What matches an operation's host prefix, each placeholder as a group of its member's name."""
    parts = re.split(r"\{([A-Za-z0-9]+)\}", template)
    made = "".join(
        f"(?P<{part}>[A-Za-z0-9-]{{1,63}})" if index % 2 else re.escape(part.lower())
        for index, part in enumerate(parts)
    )
    return re.compile(made)


def _way(known: Known, rest: str, prefix: str, partitions: Sequence[Partition]) -> Way:
    region = known.signing_region or region_in(rest.split("."), partitions)[0]
    return Way(known.service, known.signing_name, frozenset({region} if region else ()), prefix)


def _splits(host: str) -> list[tuple[str, str]]:
    """The host, and each way to take a prefix of up to two labels, or of part of the first, off."""
    first, _, rest = host.partition(".")
    ways = [("", host)]
    ways += [(host[: m.end()], host[m.end() :]) for m in re.finditer("-", first)]
    ways.append((f"{first}.", rest))
    second, _, rest = rest.partition(".")
    ways.append((f"{first}.{second}.", rest))
    return ways


def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{\*\}", pattern)
    return re.compile(r"[a-z0-9-]{1,63}".join(re.escape(part) for part in parts))
