"""Does the proxy sign as botocore signs?  ``python -m tests.fuzz.resigning --requests 100000``

Each request is made by botocore with placeholder keys; the proxy verifies it, says what it does
and signs it with the real keys.  The result must equal, byte for byte, what botocore makes with the
real keys.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, EndpointResolutionError
from tests.fuzz.aws_requests import NOW, Pair, Sender, forget, frozen

from keyless_sidecar.egress.aws.aliases import canonical
from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.egress.aws.embedded import read_embedded
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.egress.aws.identify import identify
from keyless_sidecar.egress.aws.payload import payload_of
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import resign
from keyless_sidecar.egress.aws.routes import routes
from keyless_sidecar.egress.aws.signature import parse
from keyless_sidecar.egress.aws.verify import verify

__all__ = ["check", "one_service"]

#: Services whose requests are all signed with a bearer token or Signature Version 2, and the one
#: whose hosts (people's sign-in) are none of AWS's API.
OTHERWISE_SIGNED = frozenset(
    head.service
    for head in catalog().heads.values()
    if head.signature in ("bearer", "v2", "none") or head.service == "signin"
)
_PRESIGNABLE = ("query", "ec2", "rest-xml", "rest-json")


def check(pair: Pair, sender: Sender) -> str:
    """Put a request through.

    Returns:
        ``same``, or ``unsigned`` for an operation that needs no signature.

    Raises:
        AssertionError: it comes out differently, or as another operation.
        AwsRefusal: it is refused.
    """
    parts = pair.placeholder.checked()
    endpoint = endpoints().find(parts.host)
    wanted = canonical(catalog(), pair.service, pair.operation)
    if sender.model.operation_model(pair.operation).resolved_auth_type == "none":
        found = identify(parts, endpoint, pair.body)
        assert (found.service, found.operation) == wanted, (found.name, wanted)
        return "unsigned"
    claim = parse(parts)
    endpoint = endpoints().check(endpoint, claim)
    found = identify(parts, endpoint, pair.body, claim.region)
    assert (found.service, found.operation) == wanted, (found.name, wanted)
    payload = payload_of(parts, claim)
    digest = hashlib.sha256(pair.body).hexdigest() if payload.kind in ("body", "declared") else ""
    placeholder, real = sender.keys
    verified = verify(parts, claim, placeholder, NOW, digest)
    body = pair.body
    embedded = read_embedded(found, body, placeholder, NOW)
    if embedded is not None:
        body, _ = embedded.signed(body, real)
    assert body == pair.real_body
    resigned = resign(verified, real, body_sha256=hashlib.sha256(body).hexdigest())
    assert resigned.target == pair.real.target, (resigned.target, pair.real.target)
    assert list(resigned.headers) == list(pair.real.headers), (
        resigned.headers,
        pair.real.headers,
    )
    return "same"


def one_service(service: str, count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Many random requests to one service.

    Returns:
        How many came to what, failures also by service and reason; and a line for each of the
        first failures.
    """
    rng = random.Random(f"{service}/{seed}")
    tally: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    models: list[str] = []
    tries, done, sender = 0, 0, None
    while done < count and tries < 4 * count + 20:
        if tries % 60 == 0:
            sender = _sender(service, rng)
        tries += 1
        if sender is None:
            tally["no endpoint there"] += 1
            continue
        if not models:
            models = [model.name for model in sender.operations()]
            rng.shuffle(models)
        if not models:
            break
        model = sender.model.operation_model(models.pop())
        presigned = rng.random() < 0.15 and _presignable(sender, model.name)
        try:
            pair = sender.pair(model, presigned)
        except (BotoCoreError, KeyError, ValueError, TypeError, AttributeError) as error:
            tally[f"not made by botocore: {type(error).__name__}"] += 1
            if isinstance(error, EndpointResolutionError):
                sender = _sender(service, rng)
            continue
        try:
            tally[check(pair, sender) + (" (presigned)" if presigned else "")] += 1
        except (AssertionError, AwsRefusal) as error:
            if presigned and "signed for the region" in str(error):
                # botocore presigns for the client's region where the host has another
                tally["presigned by botocore for the wrong region, refused"] += 1
                continue
            host = pair.placeholder.host
            if _is_no_host(host):
                tally["resolved by botocore to a host of no partition, refused"] += 1
                sender = _sender(service, rng)
                continue
            if presigned and "Signature Version 2" in str(error):
                tally["presigned by Signature Version 2, refused"] += 1
                continue
            tally["failed"] += 1
            tally[f"failed: {service}: {_without_particulars(error, host)}"] += 1
            if len(failures) < 5:
                failures.append(
                    f"{service}.{model.name}{' presigned' if presigned else ''} "
                    f"{pair.placeholder.method} {pair.placeholder.host} "
                    f"{pair.placeholder.target[:300]}: {type(error).__name__} {str(error)[:600]}"
                )
        done += 1
    return tally, failures


def _sender(service: str, rng: random.Random) -> Sender | None:
    for _ in range(8):
        try:
            sender = Sender(service, rng)
            sender.model.operation_names  # noqa: B018 (loads it)
        except (BotoCoreError, ValueError):
            continue
        return sender
    return None


def _is_no_host(host: str) -> bool:
    """Whether botocore made up a host: in another partition's domain, or of no region at all."""
    in_china = ".cn-" in host and not host.endswith(".cn")
    in_government = ".us-gov-" in host and host.endswith(".on.aws")
    return in_china or in_government or ".aws-global." in host


def _without_particulars(error: Exception, host: str) -> str:
    """Why a request failed, the same text for the same cause."""
    reason = str(error).replace(host, "HOST")[:80] or "the bodies differ"
    return f"{type(error).__name__} {reason}"


def _presignable(sender: Sender, name: str) -> bool:
    model = sender.model.operation_model(name)
    if sender.model.resolved_protocol not in _PRESIGNABLE or model.resolved_auth_type == "none":
        return False
    if sender.model.resolved_protocol == "rest-json":
        shape = model.input_shape
        return model.http["method"] in ("GET", "DELETE") and (
            shape is None or all(m.serialization.get("location") for m in shape.members.values())
        )
    return True


def _work(job: tuple[str, int, int]) -> tuple[str, collections.Counter[str], list[str]]:
    with frozen():
        tally, failures = one_service(*job)
    forget(job[0])
    catalog()._models.clear()  # all models at once would be gigabytes
    routes.cache_clear()
    canonical.cache_clear()
    return job[0], tally, failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print figures, answer 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--service", action="append", default=[])
    options = parser.parse_args(arguments)
    services = options.service or [s for s in catalog().heads if s not in OTHERWISE_SIGNED]
    # S3 has the oddest requests, so it gets a twentieth of them.
    share = options.requests // 20 if "s3" in services and len(services) > 1 else 0
    each = max(1, -(-(options.requests - share) // len(services)))
    jobs = [(s, each + (share if s == "s3" else 0), options.seed) for s in services]
    random.Random(options.seed).shuffle(jobs)
    total: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    endpoints()
    with multiprocessing.get_context("fork").Pool(options.processes, maxtasksperchild=40) as pool:
        for done, (service, tally, failures) in enumerate(pool.imap_unordered(_work, jobs), 1):
            total.update(tally)
            if done % 50 == 0:
                print(f"{done} of {len(jobs)} services, {total['failed']} failed", flush=True)
            if not tally:
                print(f"{service}: nothing to call", flush=True)
            for line in failures:
                print(line, flush=True)
    took = time.monotonic() - began
    passed = sum(n for name, n in total.items() if name.startswith(("same", "unsigned")))
    print(json.dumps(dict(total), indent=1))
    print(f"{passed} requests of {len(services)} services agreed, {total['failed']} did not; "
          f"{took:.0f} s, {passed / took:.0f} a second")  # fmt: skip
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
