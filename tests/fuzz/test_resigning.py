"""A few random requests to every service; ``python -m tests.fuzz.resigning`` makes many more."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import pytest
from tests.fuzz.aws_requests import frozen
from tests.fuzz.resigning import OTHERWISE_SIGNED, one_service

from keyless_sidecar.egress.aws.catalog import catalog

SERVICES = sorted(set(catalog().heads) - OTHERWISE_SIGNED)
PIECES = 12


@pytest.fixture(autouse=True)
def _one_moment() -> Iterator[None]:
    with frozen():
        yield


@pytest.mark.parametrize("piece", range(PIECES))
def test_every_service_is_signed_as_botocore_signs_it(piece: int) -> None:
    total: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    silent = []
    for service in SERVICES[piece::PIECES]:
        tally, lines = one_service(service, 40 if service == "s3" else 2, seed=3)
        total.update(tally)
        failures += lines
        if not any(name.startswith(("same", "unsigned")) for name in tally):
            silent.append(service)
    assert not failures
    assert set(silent) <= {"cloudfront-keyvaluestore"}  # signed with 4A only
    assert total["same"] > len(SERVICES) // PIECES
