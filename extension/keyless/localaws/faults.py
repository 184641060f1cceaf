"""Refusals in AWS's own words: the code, status and format that each protocol uses.

The front raises a :class:`Refusal`; :func:`render` turns it into the answer that the service itself
would give, so that the AWS CLI and the SDKs print it as usual.
"""

from __future__ import annotations

import json
from enum import Enum
from xml.sax.saxutils import escape

from keyless.localaws.http import HttpResponse


class Fault(Enum):
    """Why a request is refused, whatever the service calls it."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown key"
    BAD_TOKEN = "bad token"  # noqa: S105  (a kind of refusal, no token)
    EXPIRED_TOKEN = "expired token"  # noqa: S105
    BAD_SIGNATURE = "bad signature"
    BAD_BODY = "bad body"
    SKEWED = "skewed"
    EXPIRED_URL = "expired url"
    DENIED = "denied"
    UNKNOWN_OPERATION = "unknown operation"
    UNSUPPORTED = "unsupported"
    UNREACHABLE = "unreachable"


class Refusal(Exception):
    """A request that the front doesn't pass on.

    Args:
        fault: why.
        message: one sentence for the caller.
        protocol: botocore's name of the service's protocol, empty where no service is known.
    """

    def __init__(self, fault: Fault, message: str, protocol: str = "") -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.protocol = protocol


_QUERY = {
    Fault.UNSIGNED: (403, "MissingAuthenticationToken"),
    Fault.MALFORMED: (400, "IncompleteSignature"),
    Fault.UNKNOWN_KEY: (403, "InvalidClientTokenId"),
    Fault.BAD_TOKEN: (403, "InvalidClientTokenId"),
    Fault.EXPIRED_TOKEN: (403, "ExpiredToken"),
    Fault.BAD_SIGNATURE: (403, "SignatureDoesNotMatch"),
    Fault.BAD_BODY: (403, "SignatureDoesNotMatch"),
    Fault.SKEWED: (403, "SignatureDoesNotMatch"),
    Fault.EXPIRED_URL: (403, "SignatureDoesNotMatch"),
    Fault.DENIED: (403, "AccessDenied"),
    Fault.UNKNOWN_OPERATION: (400, "InvalidAction"),
    Fault.UNSUPPORTED: (400, "InvalidParameterValue"),
    Fault.UNREACHABLE: (503, "ServiceUnavailable"),
}
_S3 = _QUERY | {
    Fault.UNSIGNED: (403, "AccessDenied"),
    Fault.MALFORMED: (400, "AuthorizationHeaderMalformed"),
    Fault.UNKNOWN_KEY: (403, "InvalidAccessKeyId"),
    Fault.BAD_TOKEN: (400, "InvalidToken"),
    Fault.EXPIRED_TOKEN: (400, "ExpiredToken"),
    Fault.BAD_BODY: (400, "XAmzContentSHA256Mismatch"),
    Fault.SKEWED: (403, "RequestTimeTooSkewed"),
    Fault.EXPIRED_URL: (403, "AccessDenied"),
    Fault.UNKNOWN_OPERATION: (405, "MethodNotAllowed"),
    Fault.UNSUPPORTED: (501, "NotImplemented"),
}
_EC2 = _QUERY | {
    Fault.UNKNOWN_KEY: (401, "AuthFailure"),
    Fault.BAD_TOKEN: (401, "AuthFailure"),
    Fault.BAD_SIGNATURE: (401, "AuthFailure"),
    Fault.BAD_BODY: (401, "AuthFailure"),
    Fault.SKEWED: (401, "AuthFailure"),
    Fault.EXPIRED_URL: (401, "AuthFailure"),
    Fault.DENIED: (403, "UnauthorizedOperation"),
}
_JSON = {
    Fault.UNSIGNED: (403, "MissingAuthenticationTokenException"),
    Fault.MALFORMED: (403, "IncompleteSignatureException"),
    Fault.UNKNOWN_KEY: (403, "UnrecognizedClientException"),
    Fault.BAD_TOKEN: (403, "UnrecognizedClientException"),
    Fault.EXPIRED_TOKEN: (403, "ExpiredTokenException"),
    Fault.BAD_SIGNATURE: (403, "InvalidSignatureException"),
    Fault.BAD_BODY: (403, "InvalidSignatureException"),
    Fault.SKEWED: (403, "InvalidSignatureException"),
    Fault.EXPIRED_URL: (403, "InvalidSignatureException"),
    Fault.DENIED: (403, "AccessDeniedException"),
    Fault.UNKNOWN_OPERATION: (404, "UnknownOperationException"),
    Fault.UNSUPPORTED: (400, "InvalidParameterValueException"),
    Fault.UNREACHABLE: (503, "ServiceUnavailableException"),
}
_TABLES = {"rest-xml": _S3, "ec2": _EC2, "rest-json": _JSON, "json": _JSON}


def code_of(refusal: Refusal) -> str:
    """The error code that the service's own answer carries."""
    return _TABLES.get(refusal.protocol, _QUERY)[refusal.fault][1]


def render(refusal: Refusal, request_id: str) -> HttpResponse:
    """The answer that the service itself would give."""
    status, code = _TABLES.get(refusal.protocol, _QUERY)[refusal.fault]
    message = escape(refusal.message)
    ids: tuple[tuple[str, str], ...] = (
        ("x-amzn-RequestId", request_id),
        ("x-amz-request-id", request_id),
    )
    match refusal.protocol:
        case "rest-json":
            body = json.dumps(
                {"Type": "User", "message": refusal.message, "Message": refusal.message}
            )
            kind = "application/json"
            ids = (*ids, ("x-amzn-ErrorType", code))
        case "json":
            body = json.dumps({"__type": code, "message": refusal.message})
            kind = "application/x-amz-json-1.1"
        case "rest-xml":
            body = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
                f"<Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
            )
            kind = "application/xml"
        case "ec2":
            body = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
                f"<Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                f"<RequestID>{request_id}</RequestID></Response>"
            )
            kind = "text/xml"
        case _:
            body = (
                f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
                f"<Message>{message}</Message></Error>"
                f"<RequestId>{request_id}</RequestId></ErrorResponse>"
            )
            kind = "text/xml"
    return HttpResponse(status, (("Content-Type", kind), *ids), body.encode())
