"""``%secure_call`` and ``%%secure_call``: AWS operations by the sidecar, without holding a key."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from keyless.magics.call_arguments import CallLine, parse_call
from keyless.magics.call_function import make_call, secure_call
from keyless.magics.call_results import CallResult
from keyless.magics.call_values import read_parameters
from keyless.magics.calling import recorded_call
from keyless.magics.outs import bind, check_frame
from keyless.magics.results import current_execution_count
from keyless.magics.views import View, verdict_view
from keyless.protocol.errors import CallFailed, ExecError, InvalidRequest, SidecarUnavailable

__all__ = ["CallMagics", "why_call"]


@magics_class
class CallMagics(Magics):
    """The magics that call operations.  One per shell; called on its main thread."""

    shell: Any

    @line_cell_magic
    @no_var_expand
    def secure_call(self, line: str, cell: str | None = None) -> CallResult | View:
        """Call an operation of AWS with keys that this kernel never sees.

        ::

            %%secure_call SERVICE OPERATION [options]
            {"Parameter": "value", "ZipFile": "fileb://file-in-the-workspace.zip"}

            %secure_call SERVICE OPERATION [options] {"Parameter": "value"}
            %secure_call SERVICE OPERATION ?        documentation

        The parameters are JSON, or a Python dictionary that may use the notebook's variables.
        Options: --region NAME, --credentials NAME, --timeout SECONDS, --paginate, --wait WAITER,
        --query JMESPATH, --save MEMBER=FILE, --out NAME or NAME:df, --quiet, --dry-run, --no-raise.
        """
        words = line.split()
        try:
            with recorded_call(*[*words, "", ""][:2]):
                asked = parse_call(line)
                if asked.help:
                    return secure_call.help(asked.service, asked.operation)
                return self._call(asked, cell)
        except KeyboardInterrupt as interrupt:
            # One line, as for our own exceptions: the frames behind it help nobody.
            lines = [f"{type(interrupt).__name__}: the call was cancelled"]
            setattr(interrupt, "_render_traceback_", lambda: lines)  # noqa: B010
            raise

    def _call(self, asked: CallLine, cell: str | None) -> CallResult:
        options = asked.options
        if options.frame:
            check_frame()
        parameters = read_parameters(_body(asked, cell), self.shell.user_ns)
        try:
            result = make_call(asked.service, asked.operation, parameters, options)
        except CallFailed as error:
            if isinstance(error.result, CallResult):
                bind(self.shell.user_ns, options.out, error.result, frame=False)
            raise
        bind(self.shell.user_ns, options.out, result, frame=options.frame and result.ok)
        if options.quiet:
            result.hide_in(current_execution_count())
        return result


def why_call(text: str) -> View:
    """Would a call be allowed, and by which rule; nothing is called.

    Args:
        text: as behind ``%secure_call``.
    """
    words = text.split()
    with recorded_call(*[*words, "", ""][:2]):
        asked = parse_call(text)
        shown = [asked.service, asked.operation]
        parameters = read_parameters(asked.parameters)
        try:
            result = secure_call(
                asked.service,
                asked.operation,
                parameters,
                region=asked.options.region,
                credentials=asked.options.credentials,
                wait=asked.options.wait,
                paginate=asked.options.paginate,
                save=asked.options.save,
                dry_run=True,
            )
        except SidecarUnavailable:
            raise
        except ExecError as error:
            kind = type(error).__name__
            return verdict_view("secure_call", shown, kind, [str(error)], error.record_id)
        return verdict_view("secure_call", shown, "", result.notes, result.record_id)


def _body(asked: CallLine, cell: str | None) -> str:
    if cell is None or not cell.strip():
        return asked.parameters
    if asked.parameters:
        raise InvalidRequest("the parameters stand behind the operation or below it, not both")
    return cell
