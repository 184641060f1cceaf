"""Polls an operation until a waiter's state is reached, in a way that can be ended at any moment.

botocore's own loop sleeps where nothing can wake it; the matching of answers is botocore's.
"""

from __future__ import annotations

import threading
from typing import Any

from botocore import xform_name
from botocore.waiter import NormalizedOperationMethod, SingleWaiterConfig, is_valid_waiter_error

from keyless_sidecar.calls.bridge import Abandoned
from keyless_sidecar.calls.planning import Waiting
from keyless_sidecar.calls.progress import Meter

__all__ = ["NotReached", "wait"]


class NotReached(Exception):
    """The state can't be reached any more, or wasn't in time; the message is one sentence."""


def wait(client: Any, waiting: Waiting, ended: threading.Event, meter: Meter) -> None:
    """Poll until the state is reached; blocks.

    Args:
        client: botocore's.
        waiting: what is waited for.
        ended: set when the call is over.
        meter: told of each attempt.

    Raises:
        NotReached: as said.
        Abandoned: the call is over.
    """
    config = SingleWaiterConfig(waiting.config)
    poll = NormalizedOperationMethod(getattr(client, xform_name(waiting.operation.name)))
    for attempt in range(1, config.max_attempts + 1):
        answer = poll(**waiting.parameters)
        state, why = _state(config, answer)
        if state == "success":
            return
        if state == "failure":
            raise NotReached(f"{waiting.name}: {why}.")
        meter.tried(f"waiting for {waiting.name}", attempt, config.max_attempts)
        if attempt < config.max_attempts and ended.wait(config.delay):
            raise Abandoned
    raise NotReached(
        f"{waiting.name} was not reached in {config.max_attempts} attempts; wait once "
        "more, or look why."
    )


def _state(config: SingleWaiterConfig, answer: dict[str, Any]) -> tuple[str, str]:
    """``success``, ``failure`` or ``retry``, and why."""
    for acceptor in config.acceptors:
        if acceptor.matcher_func(answer):
            return acceptor.state, f"the waiter says so ({acceptor.explanation})"
    if is_valid_waiter_error(answer):
        error = answer["Error"]
        return "failure", f"{error.get('Code', 'Unknown')}: {error.get('Message', '')}".rstrip(".")
    return "retry", ""
