"""Makes one call through the sidecar, and its result or its exception.

Shared by the magic and the function API.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from keyless.magics.call_arguments import CallOptions
from keyless.magics.call_results import CallFacts, CallResult
from keyless.magics.call_values import coded
from keyless.magics.cell import cell_info
from keyless.magics.channel import Answer, Pending
from keyless.magics.checks import _check_name, _check_timeout, workspace_folder
from keyless.magics.client import SidecarClient, shared_client
from keyless.magics.function_api import current_folder
from keyless.magics.rendering import one_line
from keyless.magics.spinner import Spinner
from keyless.protocol.calls import SDK, Call, CallFinished, Piece, Progress
from keyless.protocol.errors import CallFailed, InvalidRequest, SidecarUnavailable, error_for
from keyless.protocol.messages import CellInfo, Failed, Request, Started

__all__ = ["CallRequest", "recorded_call", "run_call"]

_REASON = 1024


@dataclass(frozen=True)
class CallRequest:
    """One call as it will be asked for.

    Args:
        service: as written; the sidecar knows its names.
        operation: likewise.
        parameters: as `keyless.magics.call_values.coded` makes them.
        options: of the call.
        cwd: folder, relative to the workspace, that file names are relative to.
        cell: which cell asks, for the audit.
    """

    service: str
    operation: str
    parameters: dict[str, Any] = field(repr=False)
    options: CallOptions
    cwd: str = ""
    cell: CellInfo = field(default_factory=CellInfo)

    @classmethod
    def of(
        cls, service: str, operation: str, parameters: Mapping[str, Any], options: CallOptions
    ) -> CallRequest:
        """A request of the running cell.

        Raises:
            InvalidRequest: something in it can't be right.
        """
        _check_name("the service", service)
        _check_name("the operation", operation)
        _check_timeout(options.timeout)
        for name in options.credentials or ():
            _check_name("a credential", name)
        cwd = workspace_folder("", current_folder())
        return cls(service, operation, coded(parameters), options, cwd, cell_info())

    def messages(self, number: int) -> Iterator[Request]:
        """The message that asks for it."""
        options = self.options
        yield Call(
            id=number,
            service=self.service,
            operation=self.operation,
            parameters=self.parameters,
            credentials=None if options.credentials is None else list(options.credentials),
            region=options.region,
            timeout=None if options.timeout is None else float(options.timeout),
            paginate=options.paginate,
            wait=options.wait,
            save=dict(options.save),
            cwd=self.cwd,
            dry_run=options.dry_run,
            cell=self.cell,
        )


def run_call(
    client: SidecarClient,
    request: CallRequest,
    progress: Callable[[Progress], None] | None,
    spinner: Spinner | None = None,
) -> CallResult:
    """Make a call; blocks until it is over.

    Args:
        client: the connection.
        request: what to call.
        progress: told how far content has come.
        spinner: shows that it runs, until there is progress to show; closed at the end.

    Raises:
        CallFailed: the service answered with an error (unless ``raise_error`` is off).
        ExecError: the call was refused, or ended early.
    """
    query = _compiled(request.options.query)
    pending = Pending(request.messages)
    record_id = ""
    data = bytearray()

    def take(answer: Answer) -> tuple[CallFinished | Failed] | None:
        nonlocal record_id
        if isinstance(answer, Started):
            record_id = answer.record_id
        elif isinstance(answer, Piece):
            data.extend(answer.data)
            client.grant(pending, len(answer.data))
        elif isinstance(answer, Progress) and progress is not None:
            if spinner is not None:
                spinner.stop()
            progress(answer)
        return (answer,) if isinstance(answer, CallFinished | Failed) else None

    hear = None if spinner is None else lambda: spinner.next(pending)
    try:
        (reply,) = client.converse(pending, take, hear)
    finally:
        if spinner is not None:
            spinner.close()
    if isinstance(reply, Failed):
        raise error_for(reply.kind, reply.message, record_id=reply.record_id or record_id)
    result = _result(reply, bytes(data), dry_run=request.options.dry_run)
    error = reply.error
    if error is not None and request.options.raise_error:
        raise CallFailed(
            f"{reply.service}.{reply.operation}: {error.code}: {error.message}",
            record_id=reply.record_id,
            result=result,
            code=error.code,
            status=error.status,
            request_id=error.request_id,
        )
    if query is not None and error is None and reply.size:
        result.select(query)
    return result


@contextlib.contextmanager
def recorded_call(service: object, operation: object) -> Iterator[None]:
    """Give mistakes that are found before anything is sent their audit record too."""
    try:
        yield
    except InvalidRequest as error:
        if not error.record_id:
            reason = one_line(str(error), _REASON)
            cell = cell_info()

            def refusal(number: int) -> Iterator[Request]:
                yield Call(
                    id=number,
                    service=_known(service),
                    operation=_known(operation),
                    dry_run=True,
                    refused=reason,
                    cell=cell,
                )

            # Without a sidecar there is no record, and the mistake is still the better message.
            with contextlib.suppress(SidecarUnavailable):
                error.record_id = shared_client().record(refusal)
        raise


def _known(word: object) -> str:
    """A name as far as it is known, for the record."""
    return (one_line(word, 128) if isinstance(word, str) else "") or f"({SDK})"


def _compiled(query: str) -> Any:
    if not query:
        return None
    import jmespath

    try:
        return jmespath.compile(query)
    except (jmespath.exceptions.JMESPathError, RecursionError) as error:
        reason = one_line(str(error), 200)
        raise InvalidRequest(f"the query is no JMESPath expression: {reason}") from None


def _result(reply: CallFinished, data: bytes, *, dry_run: bool) -> CallResult:
    if len(data) != reply.size:
        raise SidecarUnavailable("the answer didn't come as a whole; restart the kernel")
    answer = msgspec.msgpack.decode(data) if data else {}
    return CallResult(
        answer,
        CallFacts(
            service=reply.service,
            operation=reply.operation,
            record_id=reply.record_id,
            duration=reply.duration,
            redactions=reply.redactions,
            files=tuple(reply.files),
            notes=tuple(reply.notes),
            error=reply.error,
            dry_run=dry_run,
        ),
    )
