"""One request on its way through the AWS handler: what is understood of it, and the policy's word.

`handler` owns the `Work` of each request.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from botocore.model import OperationModel

from keyless_sidecar.egress.aws.capture import can_capture
from keyless_sidecar.egress.aws.catalog import Catalog
from keyless_sidecar.egress.aws.embedded import Embedded, check_urls, read_embedded
from keyless_sidecar.egress.aws.endpoints import Endpoint
from keyless_sidecar.egress.aws.identify import Identified, identify
from keyless_sidecar.egress.aws.parts import AwsKeys, Parts
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.client import Client, RequestRecord, refused
from keyless_sidecar.egress.messages import Request, values
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.policy.acts_from import acts_for_aws
from keyless_sidecar.policy.aws_parameters import NotInModel, from_call

__all__ = ["Work", "begin", "decide", "decide_urls", "wants_no_signature"]


@dataclasses.dataclass
class Work:
    """A request, as far as it is understood.

    Attributes:
        request: as it came.
        parts: the same for the modules that know signatures.
        record: what the audit gets.
        endpoint: what its host says, once that is known.
        allowed: what it does; set only where the policy allows it.
        act: what it does, allowed or not.
        acts: the same as the policy was asked about it, once that is all known.
        body: where it was read.
        embedded: the presigned URL in it, allowed as well.
        signatures: made with the real keys → the tool's, in whose place they went out.
    """

    request: Request
    parts: Parts
    record: RequestRecord
    endpoint: Endpoint | None = None
    act: Identified | None = None
    allowed: Identified | None = None
    acts: tuple[Act, ...] = ()
    body: bytes | None = None
    embedded: Embedded | None = None
    signatures: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def records(self) -> list[RequestRecord]:
        """What the audit gets before it is sent: one for each request that AWS will answer."""
        if self.embedded is None:
            return [self.record]
        inner = dataclasses.replace(
            self.record,
            host=self.embedded.host,
            region=self.embedded.inner.region,
            method="GET",
            reason="The presigned URL in the next request.",
        )
        return [inner, self.record]

    def sign_embedded(self, real: AwsKeys) -> str:
        """Sign the presigned URL with the real keys; the new body's hash, empty without a URL."""
        if self.embedded is None or self.body is None:
            return ""
        self.body, made = self.embedded.signed(self.body, real)
        self.signatures[made] = self.embedded.signature
        return hashlib.sha256(self.body).hexdigest()

    def sendable(self) -> Identified:
        """What may be sent.

        Raises:
            RuntimeError: it isn't allowed; a fault of ours, so nothing goes out.
        """
        if self.allowed is None or self.allowed is not self.act:
            raise RuntimeError("a request goes out that isn't allowed")
        return self.allowed


def begin(request: Request, tool: str) -> Work:
    """The work on a request, before anything is known of it."""
    hosts = values(request.headers, "host")
    host = hosts[0].lower() if len(hosts) == 1 else request.host
    # Signatures cover the name without the usual port.
    host = host.removesuffix(":443")
    parts = Parts(request.method, host, request.target, tuple(request.headers), request.length)
    record = RequestRecord("request", tool, "aws", request.host, request.method, parts.path)
    return Work(request, parts, record)


async def decide(
    work: Work,
    endpoint: Endpoint,
    client: Client,
    models: Catalog,
    body: bytes | None,
    *,
    region: str,
    credential: str,
    approved: Collection[str] = frozenset(),
    final: bool = True,
) -> None:
    """Identify what a request does, and ask the policy, and a person where that says so.

    Args:
        work: the request; gets ``act``, ``allowed`` and the decision's record.
        endpoint: where it goes.
        client: whose policy.
        models: the service models.
        body: None where it wasn't read.
        region: that it is signed for.
        credential: the vault entry.
        approved: actions that were approved with the session which signed it.
        final: False while the body is still to be read: then only a refusal counts, and only one
            that nothing in the body can turn.

    Raises:
        AwsRefusal: it isn't understood, isn't allowed, or its answer couldn't be captured.
    """
    work.allowed = None
    act = work.act = identify(work.parts, endpoint, body, region, models=models)
    work.record = dataclasses.replace(work.record, action=act.name, region=act.region)
    in_body = () if body is not None else members_in_body(act.model)

    made: dict[tuple[str, ...], tuple[Act, ...]] = {}

    def acts(unknown: tuple[str, ...]) -> tuple[Act, ...]:
        if unknown not in made:
            made[unknown] = _acts(act, client, work.request.host, credential, unknown)
        return made[unknown]

    def ask(unknown: tuple[str, ...]) -> Decision:
        return client.decide(acts(unknown), approved)

    decision = ask(in_body)
    if not final and (decision.outcome != "deny" or decision != ask(())):
        return
    if decision.outcome == "ask":
        if not can_capture(act.service, act.model, act.protocol):
            raise _uncapturable(act)
        decision = await client.settle(acts(in_body), _shown(work), _fingerprint(work, body))
    work.record = dataclasses.replace(
        work.record, decision=decision.outcome, rule=decision.rule, reason=decision.reason
    )
    if decision.outcome != "allow":
        raise AwsRefusal("AccessDenied", refused(decision))
    if not can_capture(act.service, act.model, act.protocol):
        raise _uncapturable(act)
    if final:
        work.allowed, work.acts = act, acts(in_body)


def decide_urls(
    work: Work, client: Client, placeholder: AwsKeys, credential: str, now: datetime
) -> None:
    """Decide on the presigned URLs in a request that is allowed itself.

    Args:
        work: the request, with its body; gets ``embedded``.
        client: whose policy.
        placeholder: the keys that the request is signed with.
        credential: the vault entry.
        now: the time, with a time zone.

    Raises:
        AwsRefusal: one isn't understood, isn't allowed, or is worth nothing where it goes.
    """
    act = work.sendable()
    check_urls(act, lambda key: client.book.find(key) is not None)
    found = read_embedded(act, work.body or b"", placeholder, now)
    if found is None:
        return
    inner = found.inner
    decision = client.decide(_acts(inner, client, found.host, credential, ()))
    if decision.outcome != "allow":
        work.allowed = None
        work.record = dataclasses.replace(
            work.record,
            host=found.host,
            region=inner.region,
            decision=decision.outcome,
            rule=decision.rule,
            reason=decision.reason,
        )
        raise AwsRefusal("AccessDenied", refused(decision))
    work.embedded = found


def _uncapturable(act: Identified) -> AwsRefusal:
    return AwsRefusal(
        "AccessDenied",
        f"The answer of {act.operation} holds credentials, which can't be taken out of it in "
        "this protocol; use another client.",
    )


def _shown(work: Work) -> tuple[str, ...]:
    """The request as a person sees it, beside what it was understood to do."""
    request, body = work.request, work.body
    if body is not None:
        size = f"body of {len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}"
    elif request.length == 0:
        size = "no body"
    else:
        size = (
            "body of unknown content"
            if request.length is None
            else (f"body of {request.length} bytes, whose content isn't known")
        )
    # Signatures and tokens in a query are placeholders', and tell a person nothing.
    return request.method, f"{request.scheme}://{request.host}{work.parts.path}", size


def _fingerprint(work: Work, body: bytes | None) -> str:
    """Of a request that is known whole, apart from when it was signed."""
    request = work.request
    if body is None and request.length != 0:
        return ""
    parts = (request.method, request.host, request.target, hashlib.sha256(body or b"").hexdigest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def members_in_body(model: OperationModel) -> tuple[str, ...]:
    """The input members of a REST operation that stand in the body."""
    members = model.input_shape.members if model.input_shape is not None else {}
    return tuple(name for name, shape in members.items() if not shape.serialization.get("location"))


def call_of(model: OperationModel, flat: Mapping[str, str]) -> dict[str, Any]:
    """Parameters as a call has them, as far as they are plain, of the flat table of a request.

    Structures and maps become empty ones: they are given, and rules see nothing of them.
    """
    members = model.input_shape.members if model.input_shape is not None else {}
    call: dict[str, Any] = {}
    for path, text in flat.items():
        name, _, rest = path.partition(".")
        kind = members[name].type_name if name in members else ""
        if kind == "list" and rest.isdigit():
            call.setdefault(name, []).append(text)
        elif rest or kind in ("structure", "map", "list"):
            call[name] = {}
        else:
            call[name] = text
    return call


def wants_no_signature(act: Identified) -> bool:
    """Whether an operation is one that clients call without a signature."""
    kinds = act.model.auth or ([act.model.auth_type] if act.model.auth_type else [])
    return list(kinds) in (["none"], ["smithy.api#noAuth"])


def _acts(
    act: Identified, client: Client, host: str, credential: str, unknown: Collection[str]
) -> tuple[Act, ...]:
    """The acts that a command or a call for the same would be."""
    try:
        given = from_call(act.model, call_of(act.model, act.parameters))
    except NotInModel as error:
        raise AwsRefusal("AccessDenied", str(error)) from None
    return acts_for_aws(
        act.model,
        given,
        tool=client.tool,
        credential=credential,
        region=act.region,
        account=act.account,
        allow_operations=client.allow_operations,
        unknown=[name for name in unknown if name not in given.values],
        host=host,
        credential_kind="aws" if credential else "",
        # The sidecar's own calls have another delivery.
        **{"delivery": "proxy", **client.facts},
    )
