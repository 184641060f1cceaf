"""The exceptions that a cell sees, in one place.

::

    ExecError                   anything that kept a command from doing its job
     ├── CommandFailed          it ran and ended with a non-zero exit code
     ├── CallFailed             a call was answered with an error
     ├── PolicyDenied           a rule says no
     ├── ApprovalTimeout        a person had to agree and did not in time
     ├── CommandTimeout         it was ended at its time limit
     ├── CommandCancelled       it was interrupted
     ├── ToolNotFound           no such declared tool
     ├── InvalidRequest         the request makes no sense, with what to do instead
     ├── OutputLimitExceeded    it printed more than the limit
     ├── LimitExceeded          it used more memory, processes or disk than it may
     └── SidecarUnavailable     the sidecar is gone or never was there
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ApprovalTimeout",
    "CallFailed",
    "CommandCancelled",
    "CommandFailed",
    "CommandTimeout",
    "ExecError",
    "InvalidRequest",
    "LimitExceeded",
    "OutputLimitExceeded",
    "PolicyDenied",
    "SidecarUnavailable",
    "ToolNotFound",
    "error_for",
]


class ExecError(Exception):
    """A secured command did not do its job.

    Args:
        message: one sentence that says what is wrong and what to do instead.
        record_id: the audit record, empty where the request never reached the sidecar.
        result: the :class:`~keyless.magics.results.ExecResult`, where the command ran.
    """

    def __init__(self, message: str, *, record_id: str = "", result: Any = None) -> None:
        super().__init__(message)
        self.record_id = record_id
        self.result = result

    def _render_traceback_(self) -> list[str]:
        """One line in the notebook: the frames behind it are ours and help nobody."""
        return [f"{type(self).__name__}: {self}"]


class CommandFailed(ExecError):
    """The command ran and ended with a non-zero exit code."""


class CallFailed(ExecError):
    """A service answered a call with an error.

    Args:
        code: the service's name for it, ``ResourceNotFoundException``.
        status: HTTP status; 0 where there was no answer.
        request_id: the service's own, for its support.

    The others are those of :class:`ExecError`.
    """

    def __init__(
        self,
        message: str,
        *,
        record_id: str = "",
        result: Any = None,
        code: str = "",
        status: int = 0,
        request_id: str = "",
    ) -> None:
        super().__init__(message, record_id=record_id, result=result)
        self.code = code
        self.status = status
        self.request_id = request_id


class PolicyDenied(ExecError):
    """A rule says no."""


class ApprovalTimeout(ExecError):
    """A person had to agree and did not in time."""


class CommandTimeout(ExecError):
    """The command was ended at its time limit."""


class CommandCancelled(ExecError):
    """The command was interrupted."""


class ToolNotFound(ExecError):
    """No such declared tool."""


class InvalidRequest(ExecError):
    """The request makes no sense as it stands."""


class OutputLimitExceeded(ExecError):
    """The command printed more than the limit."""


class LimitExceeded(ExecError):
    """The command used more memory, processes or disk than it may."""


class SidecarUnavailable(ExecError):
    """The sidecar is gone, or the code doesn't run in a Keyless kernel."""


_BY_NAME = {cls.__name__: cls for cls in ExecError.__subclasses__()}


def error_for(kind: str, message: str, *, record_id: str = "", result: Any = None) -> ExecError:
    """The exception for a ``Failed`` message's ``kind`` (an unknown one gives ``ExecError``)."""
    return _BY_NAME.get(kind, ExecError)(message, record_id=record_id, result=result)
