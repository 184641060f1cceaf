"""AWS through the proxy: what is signed with a placeholder is checked, decided, signed anew.

For each request: the host must be an endpoint of AWS; the signature must be that of a placeholder
of ours, over the request as it was sent; the operation is found in botocore's models; the policy
decides, before a large body is asked for; the real keys are fetched; the request is signed with
them; what the answer holds of real credentials is captured (`answers`).  Whatever is refused is
answered as the service itself would.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from keyless_sidecar.egress.aws import answers
from keyless_sidecar.egress.aws.catalog import catalog
from keyless_sidecar.egress.aws.chunks import ChunkResigner, resign_chunks
from keyless_sidecar.egress.aws.deciding import Work, begin, decide, decide_urls, wants_no_signature
from keyless_sidecar.egress.aws.endpoints import Endpoint, endpoints
from keyless_sidecar.egress.aws.errors import error_answer, guess_protocol
from keyless_sidecar.egress.aws.held import Held
from keyless_sidecar.egress.aws.identify import identify, protocol_of, wants_body
from keyless_sidecar.egress.aws.payload import payload_of
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.resign import resign
from keyless_sidecar.egress.aws.signature import Claim, moment, parse
from keyless_sidecar.egress.aws.verify import Verified, verify
from keyless_sidecar.egress.client import Client
from keyless_sidecar.egress.messages import (
    BodyTooLarge,
    Forward,
    Request,
    Response,
    UpstreamFailed,
    Whole,
)
from keyless_sidecar.execution.destinations import Destination
from keyless_sidecar.placeholders import AwsKeys, Binding

__all__ = ["MAX_BODY", "AwsHandler"]

#: Largest body that is held in memory; those of S3 and the like stream.
MAX_BODY = 64 * 1024 * 1024
#: A request that waited longer than this is dated anew.
_STALE = timedelta(minutes=2)
#: What unsigned requests count as: they have no credential, and what they are given has no entry.
_NOBODY = Binding(AwsKeys("", ""), "")


class AwsHandler:
    """Answers requests to AWS's hosts for one client.  Owned by the event loop's thread.

    Args:
        client: for whom.
        entries: names of the vault entries that it may use.
        data_path: folder of the service models; empty for those of the installed botocore.
        clock: gives the time, with a time zone.
    """

    def __init__(
        self,
        client: Client,
        entries: Collection[str],
        *,
        data_path: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._entries = frozenset(entries)
        self._models = catalog(data_path)
        self._endpoints = endpoints(data_path)
        self._clock = clock

    def claims(self, destination: Destination) -> bool:
        """Whether a destination is in AWS's domains; those that are no API are refused later."""
        return self._endpoints.is_aws(destination.host)

    async def handle(self, request: Request, forward: Forward) -> Response:
        """Answer one request; see the module."""
        work = begin(request, self._client.tool)
        try:
            return await self._handle(work, forward)
        except AwsRefusal as refusal:
            return await self._refuse(work, refusal)
        except BodyTooLarge:
            message = f"The body is larger than the {MAX_BODY} bytes that can be checked here."
            return await self._refuse(work, AwsRefusal("EntityTooLarge", message, 413))
        except UpstreamFailed as error:
            return await self._refuse(work, AwsRefusal("ServiceUnavailable", str(error), 503))

    # ------------------------------------------------------------------ inside

    async def _handle(self, work: Work, forward: Forward) -> Response:
        request, parts = work.request, work.parts.checked()
        endpoint = work.endpoint = self._endpoints.find(request.host)
        if request.scheme != "https" or request.port != 443:
            raise AwsRefusal("AccessDenied", "AWS is reached over https on port 443 only.")
        try:
            claim = parse(parts)
        except AwsRefusal as refusal:
            if refusal.code != "MissingAuthenticationToken":
                raise
            await self._decide_unsigned(work, endpoint, refusal)
            outgoing = self._plain(work)
            await self._client.record_all(work.records())
            return await self._send(work, outgoing, forward, _NOBODY, None)
        work.record = dataclasses.replace(work.record, region=claim.region)
        endpoint = work.endpoint = self._endpoints.check(endpoint, claim)
        binding = self._binding(claim)
        work.record = dataclasses.replace(work.record, credential=binding.entry)
        verified = await self._decide(work, endpoint, claim, binding)
        if not answers.streams(work.sendable()):
            verified = answers.uncompressed(verified)

        async def ready() -> tuple[Request, AwsKeys]:
            real = await self._real(binding)
            return self._signed(work, verified, binding, real), real

        kept = "" if isinstance(binding, Held) else binding.entry  # a session's keys are asked for
        outgoing, real = await self._client.recorded(work.records(), kept, ready())
        return await self._send(work, outgoing, forward, binding, real)

    def _binding(self, claim: Claim) -> Binding:
        """What the placeholder stands for.

        Raises:
            AwsRefusal: it is none, not for this client, or expired.
        """
        found = self._client.find(claim.access_key_id)
        if isinstance(found, Held):
            return found
        if found is None:
            raise AwsRefusal(
                "InvalidClientTokenId",
                "The access key is not a Keyless placeholder (or it has ended): use the "
                "credentials that are in the environment, without others.",
            )
        unowned = not found.entry and found.captured
        if found.entry not in self._entries and not unowned:
            raise AwsRefusal(
                "InvalidClientTokenId",
                f"The credential of this placeholder may not be used by {self._client.tool}.",
            )
        if found.expired(self._clock()):
            raise AwsRefusal("ExpiredToken", "The session of this placeholder has expired.")
        return found

    async def _decide(
        self, work: Work, endpoint: Endpoint, claim: Claim, binding: Binding
    ) -> Verified:
        """Ask the policy, first about what the head says, then about the whole request.

        Raises:
            AwsRefusal: denied, not understood, or the signature is wrong.
        """
        parts = work.parts

        async def ask(body: bytes | None, final: bool = True) -> None:
            await decide(
                work,
                endpoint,
                self._client,
                self._models,
                body,
                region=claim.region,
                credential=binding.entry,
                approved=binding.approved if isinstance(binding, Held) else (),
                final=final,
            )

        payload = payload_of(parts, claim)
        reads = wants_body(parts, endpoint, self._models) or payload.kind == "body"
        if not reads:
            verified = verify(parts, claim, binding.placeholder, self._clock())
            await ask(None)
            decide_urls(work, self._client, binding.placeholder, binding.entry, self._clock())
            return verified
        if protocol_of(parts, endpoint, self._models) == "rest":
            await ask(None, final=False)
        if payload.kind == "chunks":
            raise AwsRefusal("InvalidRequest", "This body can't be sent in signed chunks.", 400)
        work.body = await work.request.read(MAX_BODY)
        digest = hashlib.sha256(work.body).hexdigest()
        verified = verify(parts, claim, binding.placeholder, self._clock(), digest)
        await ask(work.body)
        decide_urls(work, self._client, binding.placeholder, binding.entry, self._clock())
        return verified

    async def _decide_unsigned(self, work: Work, endpoint: Endpoint, refusal: AwsRefusal) -> None:
        """The same for a request without a signature: for the few operations that want none."""
        parts = work.parts

        async def ask(body: bytes | None, final: bool) -> None:
            if not wants_no_signature(identify(parts, endpoint, body, models=self._models)):
                raise refusal
            await decide(
                work,
                endpoint,
                self._client,
                self._models,
                body,
                region=endpoint.region,
                credential="",
                final=final,
            )

        reads = wants_body(parts, endpoint, self._models)
        if protocol_of(parts, endpoint, self._models) == "rest":
            await ask(None, final=not reads)
        if reads:
            work.body = await work.request.read(MAX_BODY)
            await ask(work.body, final=True)

    async def _real(self, binding: Binding) -> AwsKeys:
        """The real keys, as they are now.

        Raises:
            AwsRefusal: the vault entry is gone; with it went everything captured by it.
        """
        if isinstance(binding, Held):
            return await binding.keys()
        entry = await self._client.entry(binding.entry) if binding.entry else None
        if binding.real is not None and (entry is not None or not binding.entry):
            return binding.real
        if entry is None or entry.kind != "aws":
            raise AwsRefusal(
                "InvalidClientTokenId",
                f"The credential {binding.entry} is not in the vault any more.",
            )
        fields = entry.fields
        token = fields.get("session_token", "")
        return AwsKeys(fields["access_key_id"], fields["secret_access_key"], token)

    def _signed(self, work: Work, verified: Verified, binding: Binding, real: AwsKeys) -> Request:
        now = self._clock()
        made = moment(verified.claim.timestamp)
        again = resign(
            verified, real, now if now - made > _STALE else None, work.sign_embedded(real)
        )
        work.signatures[again.signature] = verified.claim.signature
        outgoing = dataclasses.replace(
            work.request, target=again.target, headers=list(again.headers)
        )
        if work.body is not None:
            return outgoing.with_body(work.body)
        if verified.payload.kind == "chunks":
            chunks = ChunkResigner(verified, binding.placeholder, again, real)
            return dataclasses.replace(outgoing, body=resign_chunks(work.request.body, chunks))
        return outgoing

    def _plain(self, work: Work) -> Request:
        outgoing = work.request if work.body is None else work.request.with_body(work.body)
        if answers.streams(work.sendable()):
            return outgoing
        return dataclasses.replace(outgoing, headers=answers.plainly(outgoing.headers))

    async def _send(
        self,
        work: Work,
        outgoing: Request,
        forward: Forward,
        binding: Binding,
        real: AwsKeys | None,
    ) -> Response:
        act = work.sendable()
        self._client.done(work.acts)
        response = await forward(outgoing)
        try:
            await self._client.record(
                dataclasses.replace(work.record, stage="answer", status=response.status)
            )
        except BaseException:
            await response.close()
            raise
        book = self._client.book
        return await answers.safe(act, response, book, binding, real, work.signatures)

    async def _refuse(self, work: Work, refusal: AwsRefusal) -> Response:
        record = work.record
        if record.decision == "allow":
            record = dataclasses.replace(
                record, decision="refused", rule=f"egress.{refusal.code}", reason=refusal.message
            )
        await self._client.record(dataclasses.replace(record, status=refusal.status))
        if work.request.method == "HEAD":  # its answer has no body to say why in
            self._client.tell(record, refusal.message)
        return self._answer(work, refusal)

    def _answer(self, work: Work, refusal: AwsRefusal) -> Response:
        """The refusal as the service would say it, as far as the service is known."""
        services = work.endpoint.services if work.endpoint is not None else ()
        if work.act is not None:
            protocol = work.act.protocol
        else:
            protocols = tuple(p for name in services for p in self._models.heads[name].protocols)
            headers = {name.lower(): value for name, value in work.request.headers}
            protocol = guess_protocol(headers, protocols)
        said = error_answer(refusal, protocol, s3="s3" in services, method=work.request.method)
        return Response(
            said.status,
            http.HTTPStatus(said.status).phrase,
            list(said.headers),
            len(said.body),
            Whole(said.body),
        )
