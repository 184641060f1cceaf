"""Makes an allowed call with botocore, in a worker thread: pages, content, events, errors.

:mod:`keyless_sidecar.calls.runner` gives it a client whose requests go over a call's bridge.  It is
loaded for the first call, with the parts of botocore that nothing else needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EventStreamError,
    NoRegionError,
    ParamValidationError,
)
from botocore.model import OperationModel

from keyless.protocol.calls import ServiceError
from keyless_sidecar.calls.bridge import AnswerTooLarge
from keyless_sidecar.calls.clients import crossing
from keyless_sidecar.calls.content import Download, TooMuch
from keyless_sidecar.calls.made import Made, Means
from keyless_sidecar.calls.planning import CallPlan
from keyless_sidecar.calls.waiting import NotReached, wait
from keyless_sidecar.egress.messages import EgressError

__all__ = ["MAX_INLINE", "make"]

#: Largest content that stands in the answer itself.
MAX_INLINE = 256 * 1024
_CHUNK = 1 << 20
#: Bytes of an answer that is looked through in no time.
_SMALL = 4096
_KEPT = ("RequestId", "HTTPStatusCode", "RetryAttempts")


def make(plan: CallPlan, means: Means) -> Made:
    """Make the call; blocks until it is over.

    Raises:
        Abandoned: it was ended meanwhile.
    """
    made = Made()
    token = crossing.set(means.bridge)
    try:
        _make(plan, means, made)
    except ClientError as error:
        _refused(error, made)
    except (ParamValidationError, NoRegionError) as error:
        hint = " Name one with --region." if isinstance(error, NoRegionError) else ""
        made.failure = ("InvalidRequest", f"{plan.operation.name}: {error}{hint}")
    except (TooMuch, AnswerTooLarge) as error:
        text = str(error) or (
            "The answer is too large; ask for less of it, or save its content with --save."
        )
        made.failure = ("OutputLimitExceeded", text)
    except NotReached as error:
        made.error = ServiceError(code="WaiterError", message=str(error))
    except (BotoCoreError, EgressError) as error:
        made.error = ServiceError(code=type(error).__name__, message=str(error))
    except OSError as error:
        made.failure = ("InvalidRequest", f"A file could not be read or kept: {error.strerror}.")
    except BaseException:
        made.close()
        raise
    finally:
        crossing.reset(token)
    content = plan.operation.has_streaming_output or plan.operation.has_event_stream_output
    made.large = content or means.bridge.held > _SMALL
    return made


def _make(plan: CallPlan, means: Means, made: Made) -> None:
    client = means.client()
    if not plan.only_waits:
        made.answer = _answer(plan, client)
        _take_content(plan, means, made)
    if plan.waiting is not None:
        means.waits()
        wait(client, plan.waiting, means.bridge.closed, means.meter)


def _answer(plan: CallPlan, client: Any) -> dict[str, Any]:
    if plan.paginate:
        paginator = client.get_paginator(xform_name(plan.operation.name))
        whole: dict[str, Any] = paginator.paginate(**plan.parameters).build_full_result()
        return whole
    found: dict[str, Any] = getattr(client, xform_name(plan.operation.name))(**plan.parameters)
    metadata = found.get("ResponseMetadata", {})
    found["ResponseMetadata"] = {name: metadata[name] for name in _KEPT if name in metadata}
    return found


def _refused(error: ClientError, made: Made) -> None:
    response: Mapping[str, Any] = error.response
    said, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    made.error = ServiceError(
        code=str(said.get("Code", "Unknown"))[:200],
        message=str(said.get("Message", "")) or str(error),
        status=int(metadata.get("HTTPStatusCode", 0)),
        request_id=str(metadata.get("RequestId", ""))[:200],
    )
    # What an operation says beyond code and message (reasons of a cancelled transaction, say).
    made.answer = {name: value for name, value in response.items() if name != "ResponseMetadata"}


def _take_content(plan: CallPlan, means: Means, made: Made) -> None:
    """Content and events out of the answer, into files or into the answer itself."""
    model, answer = plan.operation, made.answer
    for member in [name for name, value in answer.items() if hasattr(value, "close")]:
        source = answer[member]
        try:
            if _is_events(model, member):
                answer[member] = _events(source, means)
            elif member in plan.save:
                _save(source, member, plan, means, made)
            else:
                answer[member] = _inline(source, member)
        finally:
            source.close()
    for member in plan.save:
        if member not in answer:
            if not any(download.member == member for download in made.downloads):
                made.notes.append(f"The answer has no {member}, so nothing was saved.")
            continue
        value = answer.pop(member)
        download = _download(member, plan, means, made)
        download.write(value.encode() if isinstance(value, str) else bytes(value))


def _save(source: Any, member: str, plan: CallPlan, means: Means, made: Made) -> None:
    download = _download(member, plan, means, made)
    size = _size(source)
    if size is not None:
        download.expect(size)
    done = 0
    while data := source.read(_CHUNK):
        download.write(data)
        done += len(data)
        means.meter.moved(download.target, done, size)
    del made.answer[member]


def _download(member: str, plan: CallPlan, means: Means, made: Made) -> Download:
    download = Download(means.scratch, member, plan.save[member], means.most, means.patterns)
    made.downloads.append(download)
    return download


def _inline(source: Any, member: str) -> bytes:
    size = _size(source)
    data = b""
    while size is None or size <= MAX_INLINE:
        piece: bytes = source.read(_CHUNK)
        data += piece
        if not piece:
            return data
        if len(data) > MAX_INLINE:
            break
    raise TooMuch(
        f"The answer's {member} is larger than {MAX_INLINE} bytes: save it into a workspace file "
        f"with --save {member}=FILE."
    )


def _events(source: Iterable[Any], means: Means) -> list[Any]:
    found: list[Any] = []
    try:
        for event in source:
            means.bridge.hold(len(repr(event)))
            found.append(event)
    except EventStreamError as error:
        found.append({"Error": dict(error.response.get("Error", {}))})
    return found


def _is_events(model: OperationModel, member: str) -> bool:
    stream = model.get_event_stream_output() if model.has_event_stream_output else None
    return stream is not None and model.output_shape.members.get(member) is stream


def _size(source: Any) -> int | None:
    """The announced length of a streaming body, where there is one."""
    length = getattr(source, "_content_length", None)
    return int(length) if length is not None else None
