"""A person's approval for a session, asked for as for a command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from keyless_sidecar.approvals import Approvals, Question
from keyless_sidecar.policy import KERNEL
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.sessions.deciding import Ask, NotGiven, Wanted

__all__ = ["asking"]


def asking(approvals: Approvals) -> Ask:
    """What :func:`keyless_sidecar.sessions.deciding.decide` asks a person by."""

    async def ask(
        wish: Wanted,
        acts: Sequence[Act],
        decision: Decision,
        record: str,
        cancelled: asyncio.Event,
    ) -> str:
        request = wish.request
        question = Question(
            KERNEL,
            # All that will be sent to STS, so that it is what the person agrees to.
            (
                "secure_session",
                request.credential,
                wish.options.role_arn,
                f"{request.seconds // 60} minutes",
                wish.document,
            ),
            tuple(acts),
            decision,
            record,
            {
                "cell_hash": request.cell.cell_hash,
                "execution_count": request.cell.execution_count,
            },
        )
        answer = await approvals.ask(question, cancelled)
        if not answer.approved:
            raise NotGiven(answer.kind, answer.reason, answer.rule)
        return answer.rule

    return ask
