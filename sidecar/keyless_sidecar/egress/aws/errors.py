"""A refusal as the service would have written it, so that the AWS CLI and boto3 print it well."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from keyless_sidecar.egress.aws.refusal import AwsRefusal

__all__ = ["ErrorAnswer", "error_answer", "guess_protocol"]

#: Codes as JSON services write them, where that is another form.
_JSON: Mapping[str, str] = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "InvalidRequest": "ValidationException",
    "InvalidURI": "ValidationException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "RequestExpired": "InvalidSignatureException",
    "RequestTimeTooSkewed": "InvalidSignatureException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "XAmzContentSHA256Mismatch": "InvalidSignatureException",
}
_QUERY: Mapping[str, str] = {
    "InvalidRequest": "ValidationError",
    "InvalidURI": "ValidationError",
    "RequestTimeTooSkewed": "SignatureDoesNotMatch",
}
_EC2: Mapping[str, str] = {
    "AccessDenied": "UnauthorizedOperation",
    "InvalidClientTokenId": "AuthFailure",
    "SignatureDoesNotMatch": "AuthFailure",
    "IncompleteSignature": "AuthFailure",
    "MissingAuthenticationToken": "AuthFailure",
    "RequestTimeTooSkewed": "AuthFailure",
}
#: S3's clients follow AuthorizationHeaderMalformed to another region, so it isn't among these.
_S3: Mapping[str, str] = {
    "ExpiredToken": "ExpiredToken",
    "IncompleteSignature": "InvalidRequest",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "MissingAuthenticationToken": "AccessDenied",
    "RequestExpired": "AccessDenied",
}


@dataclass(frozen=True)
class ErrorAnswer:
    """A response without its framing."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def error_answer(
    refusal: AwsRefusal, protocol: str, *, s3: bool = False, method: str = "", request_id: str = ""
) -> ErrorAnswer:
    """Write a refusal.

    Args:
        refusal: what to say.
        protocol: of the request: ``json``, ``rest-json``, ``smithy-rpc-v2-cbor``, ``query``,
            ``ec2``, ``rest-xml``; anything else is answered as JSON.
        s3: the service is S3, whose XML is its own.
        method: of the request; ``HEAD`` is answered without a body.
        request_id: shown as the request's id; a new one without it.
    """
    request_id = request_id or str(uuid.uuid4())
    if protocol == "rest-xml" and s3:
        code = _S3.get(refusal.code, refusal.code)
        body = (
            f"<Error><Code>{escape(code)}</Code><Message>{_text(refusal.message)}</Message>"
            f"<RequestId>{request_id}</RequestId></Error>"
        )
        answer = _xml(refusal.status, body, (("x-amz-request-id", request_id),))
    elif protocol == "ec2":
        code = _EC2.get(refusal.code, refusal.code)
        body = (
            f"<Response><Errors><Error><Code>{escape(code)}</Code>"
            f"<Message>{_text(refusal.message)}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        answer = _xml(refusal.status, body, (("x-amzn-RequestId", request_id),))
    elif protocol in ("query", "rest-xml"):
        code = _QUERY.get(refusal.code, refusal.code)
        body = (
            "<ErrorResponse><Error><Type>Sender</Type>"
            f"<Code>{escape(code)}</Code><Message>{_text(refusal.message)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        answer = _xml(refusal.status, body, (("x-amzn-RequestId", request_id),))
    elif protocol == "smithy-rpc-v2-cbor":
        answer = _cbor(refusal, request_id)
    else:
        answer = _json(refusal, protocol, request_id)
    if method == "HEAD":
        return ErrorAnswer(answer.status, answer.headers, b"")
    return answer


def guess_protocol(headers: Mapping[str, str], protocols: tuple[str, ...]) -> str:
    """The protocol to answer in, where the operation couldn't be told.

    Args:
        headers: the request's, by their lower-case name.
        protocols: those of the services that may be meant; empty where none is known.
    """
    if "smithy-protocol" in headers:
        return "smithy-rpc-v2-cbor"
    if "x-amz-target" in headers:
        return "json"
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return "ec2" if "ec2" in protocols else "query"
    return next((p for p in protocols if p.startswith("rest-")), next(iter(protocols), "rest-json"))


def _xml(status: int, body: str, headers: tuple[tuple[str, str], ...]) -> ErrorAnswer:
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()
    return ErrorAnswer(status, (("Content-Type", "application/xml"), *headers), content)


def _json(refusal: AwsRefusal, protocol: str, request_id: str) -> ErrorAnswer:
    code = _JSON.get(refusal.code, refusal.code)
    content = {"message": refusal.message}
    kind = "application/json"
    if protocol == "json":
        kind = "application/x-amz-json-1.1"
        content = {"__type": code, "message": refusal.message}
    return ErrorAnswer(
        refusal.status,
        (
            ("Content-Type", kind),
            ("x-amzn-ErrorType", code),
            ("x-amzn-RequestId", request_id),
        ),
        json.dumps(content).encode(),
    )


def _cbor(refusal: AwsRefusal, request_id: str) -> ErrorAnswer:
    code = _JSON.get(refusal.code, refusal.code)
    items = (("__type", f"com.amazonaws#{code}"), ("message", refusal.message))
    content = bytes([0xA0 | len(items)])
    for name, value in items:
        content += _cbor_text(name) + _cbor_text(value)
    return ErrorAnswer(
        refusal.status,
        (
            ("Content-Type", "application/cbor"),
            ("smithy-protocol", "rpc-v2-cbor"),
            ("x-amzn-RequestId", request_id),
        ),
        content,
    )


def _cbor_text(text: str) -> bytes:
    raw = text.encode()
    return b"\x7a" + len(raw).to_bytes(4, "big") + raw


def _text(message: str) -> str:
    """A sentence as XML content; what XML can't hold is replaced."""
    return escape("".join(c if c >= " " and c not in "\ufffe\uffff" else " " for c in message))
