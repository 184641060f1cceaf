"""Where a call's requests go: through the egress proxy's handler for AWS, without the proxy.

They are signed with a placeholder, as a tool's are; the handler decides on them anew, has them
recorded, signs them with the real keys and captures credentials in the answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from keyless_sidecar.egress.aws.handler import AwsHandler
from keyless_sidecar.egress.client import Client, RequestRecord
from keyless_sidecar.egress.messages import DestinationRefused, Request, Response
from keyless_sidecar.egress.upstream import Forwarder
from keyless_sidecar.policy.acts import Act, Decision, Policy

__all__ = ["Outlet", "Refusal"]


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why the handler refused a request.

    Attributes:
        record: as the audit has it.
        decision: of the policy, where that is what refused.
        act: what it was asked.
    """

    record: RequestRecord
    decision: Decision | None = None
    act: Act | None = None


class Outlet:
    """Answers one call's requests.  Owned by the event loop's thread.

    Making one reads the service models, where nobody has yet: do it in a thread.

    Args:
        client: for whom.
        forwarder: sends what is allowed.
        entries: names of the vault entries that may be used.
    """

    def __init__(self, client: Client, forwarder: Forwarder, entries: Collection[str]) -> None:
        self._write = client.write
        self._policy = _Listening(client.policy)
        self._forwarder = forwarder
        self._handler = AwsHandler(
            dataclasses.replace(client, policy=self._policy, write=self._record), entries
        )
        #: Why the last request was refused; None where it was let through.
        self.refusal: Refusal | None = None

    async def exchange(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            EgressError: it goes nowhere, or its answer can't be understood.
        """
        self.refusal = None
        self._policy.refused = None
        self._forwarder.require(request.destination)
        if not self._handler.claims(request.destination):
            raise DestinationRefused(f"Keyless: {request.destination} is not a host of AWS.")
        return await self._handler.handle(request, self._forwarder)

    async def _record(self, record: RequestRecord) -> None:
        await self._write(record)
        if record.stage == "request" and record.status:
            asked = self._policy.refused
            by_policy = asked is not None and asked[0].rule == record.rule
            self.refusal = Refusal(record, *asked) if asked and by_policy else Refusal(record)


class _Listening:
    """A policy that remembers the last thing it didn't allow."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.refused: tuple[Decision, Act] | None = None

    def decide(self, act: Act) -> Decision:
        """See `keyless_sidecar.policy.acts.Policy`."""
        decision = self._policy.decide(act)
        if decision.outcome != "allow":
            self.refused = (decision, act)
        return decision
