"""No two operations of botocore's model look alike on the wire, other than the ones with one name.

An update of botocore that brings such a pair fails here; requests to it are refused till then.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict

from keyless_sidecar.egress.aws.aliases import PREFERRED, canonical
from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.routes import routes


def together() -> list[frozenset[str]]:
    """Groups of services that share a host and a signing name, and each service alone."""
    groups = {frozenset({service}) for service in catalog().heads}
    for _, entries in endpoints()._table.groups():
        by_name = defaultdict(set)
        for known in entries:
            by_name[known.signing_name].add(known.service)
        groups |= {frozenset(services) for services in by_name.values()}
    return sorted(groups, key=sorted)


def test_rest_operations_are_told_apart() -> None:
    alike = set()
    for group in together():
        places = defaultdict(set)
        for service in group:
            if not catalog().heads[service].protocols[0].startswith("rest-"):
                continue
            for route in routes(catalog(), service):
                pattern = re.sub(r"\([^)]*\)", "()", route.path.pattern)
                needed = route.required_query | route.required_headers
                literals = tuple(sorted(route.literals.items()))
                place = (route.method, pattern, literals, route.host_prefix, needed)
                places[place].add(canonical(catalog(), service, route.model.name))
        alike |= {tuple(sorted(names)) for names in places.values() if len(names) > 1}
    # Told apart by their host: the one is asked of S3 Express's.
    assert alike == {(("s3", "ListBuckets"), ("s3", "ListDirectoryBuckets"))}


def test_named_operations_are_told_apart() -> None:
    heads = catalog().heads
    for group in together():
        for one, other in itertools.combinations(sorted(group), 2):
            first, second = heads[one], heads[other]
            if PREFERRED.get(one, one) == PREFERRED.get(other, other):
                continue
            rpc = {"json", "smithy-rpc-v2-cbor"}
            if rpc & set(first.protocols) & set(second.protocols):
                common = set(catalog().model(one).operation_names) & set(
                    catalog().model(other).operation_names
                )
                assert first.target != second.target or not common, (one, other, common)
            if {"query"} & set(first.protocols) & set(second.protocols):
                assert first.version != second.version, (one, other)
