"""``from keyless import secure_call``: call AWS's operations with keys that this kernel never sees.

::

    from keyless import secure_call
    secure_call("sts", "get_caller_identity")["Arn"]
    secure_call("lambda", "update_function_code", FunctionName="orders", ZipFile="fileb://f.zip")
    names = secure_call("lambda", "list_functions", paginate=True,
                        query="Functions[].FunctionName").selected
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keyless.magics.call_arguments import CallOptions
from keyless.magics.call_help import describe_view
from keyless.magics.call_progress import ProgressBar
from keyless.magics.call_results import CallResult
from keyless.magics.calling import CallRequest, recorded_call, run_call
from keyless.magics.client import shared_client
from keyless.magics.spinner import spinner_for
from keyless.magics.views import View
from keyless.protocol.errors import InvalidRequest

__all__ = ["SecureCall", "make_call", "secure_call"]


class SecureCall:
    """Call one operation of an AWS service; the sidecar makes the call.

    ``secure_call(service, operation, **parameters)`` blocks until the call is over; the result can
    also be awaited.  ``secure_call.help(service, operation)`` shows the documentation.
    """

    __name__ = "secure_call"

    def __call__(
        self,
        service: str,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        /,
        *,
        region: str = "",
        credentials: str | Iterable[str] | None = None,
        timeout: float | None = None,
        paginate: bool = False,
        wait: str = "",
        query: str = "",
        save: Mapping[str, str] | None = None,
        raise_error: bool = True,
        quiet: bool = True,
        dry_run: bool = False,
        **named: Any,
    ) -> CallResult:
        """Make a call.

        Args:
            service: as boto3 names it, ``lambda``.
            operation: ``update_function_code``, ``update-function-code`` or
                ``UpdateFunctionCode``.
            parameters: of the operation, as boto3 takes them; also as keywords.  A text that
                begins with ``file://`` (text) or ``fileb://`` (bytes) names a workspace file, as a
                path does.
            region: empty: that of the credential.
            credentials: name of the vault entry; ``None`` means the one that is bound to ``sdk``.
            timeout: seconds until the call is given up; ``None`` means 300.
            paginate: follow all pages of the answer, and put them together.
            wait: a waiter of the service (``function_updated_v2``), polled after the call with the
                parameters that it takes.
            query: a JMESPath expression; its result is in the result's ``selected``.
            save: member of the answer → workspace file that its content goes to.
            raise_error: whether an error of the service raises.
            quiet: ``False`` shows progress.
            dry_run: only ask whether it would be allowed.
            named: further parameters.

        Raises:
            CallFailed: the service answered with an error.
            PolicyDenied: a rule says no.
            CommandTimeout: it took too long.
            InvalidRequest: the call makes no sense as it stands.
            SidecarUnavailable: this is no Keyless kernel, or its sidecar is gone.
        """
        with recorded_call(service, operation):
            options = CallOptions(
                region=_text(region, "region"),
                credentials=_names(credentials),
                timeout=timeout,
                paginate=bool(paginate),
                wait=_text(wait, "wait"),
                query=_text(query, "query"),
                save=_paths(save),
                dry_run=bool(dry_run),
                raise_error=bool(raise_error),
                quiet=bool(quiet),
            )
            both = sorted({*(parameters or {})} & {*named})
            if both:
                raise InvalidRequest(f"the parameter {both[0]} is given twice")
            return make_call(service, operation, {**(parameters or {}), **named}, options)

    def help(self, service: str = "", operation: str = "") -> View:
        """The documentation of an operation; without one, the operations of a service."""
        return describe_view(shared_client().describe(service, operation), service, operation)

    def __repr__(self) -> str:
        return "secure_call(service, operation, **parameters)"


def make_call(
    service: str, operation: str, parameters: Mapping[str, Any], options: CallOptions
) -> CallResult:
    """Make a call of the running cell, with its progress shown unless it is to be quiet."""
    request = CallRequest.of(service, operation, parameters, options)
    if options.quiet:
        return run_call(shared_client(), request, None)
    bar = ProgressBar()
    try:
        spinner = spinner_for(f"{service}.{operation}")
        return run_call(shared_client(), request, bar, spinner)
    finally:
        bar.close()


secure_call = SecureCall()


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is text, not {type(value).__name__}")
    return value


def _names(credentials: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if credentials is None:
        return None
    return (credentials,) if isinstance(credentials, str) else tuple(credentials)


def _paths(save: Mapping[str, str] | None) -> dict[str, str]:
    if save is None:
        return {}
    if not isinstance(save, Mapping):
        raise InvalidRequest('save is a dictionary such as {"Body": "data.csv"}')
    return {_text(name, "save"): str(path) for name, path in save.items()}
