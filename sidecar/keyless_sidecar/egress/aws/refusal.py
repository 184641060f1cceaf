"""Why a request to AWS is not sent on: an error code as its service would answer, and a reason.

Raised by every module here; ``errors`` makes the answer of it.
"""

from __future__ import annotations

__all__ = ["AwsRefusal", "IdentifyError"]


class AwsRefusal(Exception):
    """The request is refused.

    Attributes:
        code: AWS's error code in its shortest form, ``AccessDenied``; ``errors`` gives it the form
            of the service.
        message: one sentence that says what is wrong and what helps.
        status: the HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class IdentifyError(AwsRefusal):
    """What the request does can't be said for certain, so it is not done."""

    def __init__(self, message: str) -> None:
        super().__init__("AccessDenied", message)
