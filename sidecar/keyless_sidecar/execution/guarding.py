"""An answer to each request, whatever fails on the way; used by whoever serves requests."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from keyless.protocol.messages import Failed, Reply
from keyless_sidecar.audit import AuditUnavailable
from keyless_sidecar.vault import VaultError

__all__ = ["NO_VAULT", "guarded", "place"]

_log = logging.getLogger(__name__)

# The reasons themselves name host paths, which are none of the kernel side's business.
_NO_AUDIT = "The audit log can't be written, so nothing runs; the sidecar's own log says why."
NO_VAULT = "The vault can't be read, so nothing runs; the sidecar's own log says why."


async def guarded(request_id: int, answer: Awaitable[Reply]) -> Reply:
    """The answer, or the ``Failed`` that says why there is none."""
    try:
        return await answer
    except AuditUnavailable as error:
        _log.error("audit: %s", error)
        message = _NO_AUDIT
    except VaultError as error:
        _log.error("vault: %s", error)
        message = NO_VAULT
    except Exception as error:  # noqa: BLE001 - a fault of ours must not end other requests
        _log.error("request %d: %s at %s", request_id, type(error).__name__, place(error))
        message = f"The sidecar failed on this request ({type(error).__name__})."
    return Failed(id=request_id, kind="SidecarUnavailable", message=message)


def place(error: BaseException) -> str:
    """Where it was raised.  Never its message, which could quote a value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"
