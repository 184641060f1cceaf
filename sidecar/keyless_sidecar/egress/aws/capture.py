"""Takes the credentials out of an AWS answer and puts placeholders in.  Pure, but for the book.

`handler` reads such an answer whole and hands it here.  What counts as a secret is decided by
`secrets_in_answers`; here the answer is parsed with botocore's own parser, the values go to the
book of placeholders, and the body is written anew with placeholders in their places.  The result is
parsed again, and searched in every encoding that the sanitizer knows: an answer in which a real
value remains never leaves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel
from botocore.parsers import PROTOCOL_PARSERS, ResponseParserError, create_parser

from keyless_sidecar.egress.aws.secrets_in_answers import Found, FoundKeys, find, may_hold
from keyless_sidecar.placeholders import Binding, PlaceholderBook
from keyless_sidecar.sanitize import Patterns, StreamSanitizer

__all__ = ["MAX_ANSWER", "CaptureError", "can_capture", "rewrite"]

#: Largest answer that is captured, in bytes.
MAX_ANSWER = 8 * 1024 * 1024

_JSON = frozenset({"json", "rest-json"})
_XML = frozenset({"query", "ec2", "rest-xml"})
_XML_PIECE = re.compile(r"<(/?)([^\s<>/!?]+)[^<>]*?(/?)>|<\?[^<>]*\?>|([^<>]+)")
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6})|(lt|gt|amp|quot|apos));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}

#: Wire name and value → what is written instead.
_Swaps = dict[tuple[str, str], str]


class CaptureError(Exception):
    """The answer can't be made safe, so it must not leave; the message is one sentence."""


def can_capture(service: str, model: OperationModel, protocol: str) -> bool:
    """Whether the answer can be captured in this protocol, if it needs to be at all."""
    return not may_hold(service, model) or protocol in _JSON | _XML


def rewrite(
    service: str,
    model: OperationModel,
    protocol: str,
    body: bytes,
    *,
    book: PlaceholderBook,
    parent: Binding,
    status: int = 200,
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """An answer's body with placeholders for its secrets.

    Args:
        service: name of the service model.
        model: the operation that is answered.
        protocol: botocore's name of the protocol in which the request came.
        body: whole, without a content coding.
        book: takes the real values.
        parent: with which the request was signed.
        status: of the answer; one of an error is returned as it is.
        headers: of the answer.

    Raises:
        CaptureError: it can't be read, or a secret can't be taken out of it.
    """
    if status >= 300 or not may_hold(service, model):
        return body
    if protocol not in PROTOCOL_PARSERS or not can_capture(service, model, protocol):
        raise CaptureError("an answer with credentials can't be read in this protocol")
    text = _decoded(body)
    if protocol in _JSON:
        _json(text)  # botocore's parser takes what isn't JSON for an answer without members
    found = find(service, model, _parse(model, protocol, status, headers, body))
    if not found:
        return body
    swaps: _Swaps = {}
    for item in found:
        swaps.update(_captured(service, model, item, book, parent))
    changed = _in_json(text, swaps) if protocol in _JSON else _in_xml(text, swaps)
    result = changed.encode()
    again = find(service, model, _parse(model, protocol, status, headers, result))
    if _left(again, set(swaps.values())) or _traces(found, result):
        raise CaptureError("a credential stands in the answer in a form that can't be replaced")
    return result


def _captured(
    service: str, model: OperationModel, item: Found, book: PlaceholderBook, parent: Binding
) -> _Swaps:
    if isinstance(item, FoundKeys):
        if book.find(item.keys.access_key_id) is not None:
            raise CaptureError("the answer's credentials are placeholders already")
        stand_in = book.capture(item.keys, parent)
        pairs = [
            (item.id_name, item.keys.access_key_id, stand_in.access_key_id),
            (item.secret_name, item.keys.secret_access_key, stand_in.secret_access_key),
            (item.token_name, item.keys.session_token, stand_in.session_token),
        ]
        return {(name, real): other for name, real, other in pairs if real}
    placeholder = book.capture_text(f"{service}:{model.name}", item.value, parent)
    return {(item.name, item.wire): item.written(placeholder)}


def _parse(
    model: OperationModel,
    protocol: str,
    status: int,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> Mapping[str, Any]:
    try:
        parsed = create_parser(protocol).parse(
            {"status_code": status, "headers": HeadersDict(headers), "body": body},
            model.output_shape,
        )
    except (ResponseParserError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise CaptureError("the answer isn't in the service's format") from None
    if not isinstance(parsed, dict):
        raise CaptureError("the answer isn't in the service's format")
    parsed.pop("ResponseMetadata", None)
    return parsed


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise CaptureError("the answer isn't valid UTF-8") from None


def _in_json(text: str, swaps: _Swaps) -> str:
    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: swaps.get((name, item), item) if isinstance(item, str) else changed(item)
                for name, item in value.items()
            }
        return [changed(item) for item in value] if isinstance(value, list) else value

    return json.dumps(changed(_json(text)), separators=(",", ":"))


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError
        return members

    try:
        return json.loads(text or "{}", object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise CaptureError("the answer isn't valid JSON") from None


def _in_xml(text: str, swaps: _Swaps) -> str:
    """Replace texts by the name of their element; everything else stays byte for byte."""
    out: list[str] = []
    element, end = "", 0
    for piece in _XML_PIECE.finditer(text.lstrip("\ufeff")):
        if piece.start() != end:
            break
        end = piece.end()
        closing, name, empty, content = piece.groups()
        if content is not None:
            other = swaps.get((element, _plain(content)))
            out.append(content if other is None else escape(other))
            continue
        if name is not None:
            element = "" if closing or empty else name.rpartition(":")[2]
        out.append(piece[0])
    if end != len(text.lstrip("\ufeff")):
        # Comments, CDATA and document types: AWS writes none, and they hide things.
        raise CaptureError("the answer is XML of an unknown form")
    return "".join(out)


def _plain(content: str) -> str:
    """The text that an XML parser reads: references resolved, line ends as they become."""

    def character(reference: re.Match[str]) -> str:
        decimal, hexadecimal, name = reference.groups()
        return _NAMED[name] if name else chr(int(decimal or hexadecimal, 10 if decimal else 16))

    try:
        return _REFERENCE.sub(character, content.replace("\r\n", "\n").replace("\r", "\n"))
    except ValueError:
        raise CaptureError("the answer isn't valid XML") from None


def _left(found: Sequence[Found], allowed: set[str]) -> bool:
    """Whether the changed answer, read again, still holds anything that isn't a placeholder."""
    for item in found:
        values = item.keys.values() if isinstance(item, FoundKeys) else [item.wire]
        if any(value not in allowed for value in values):
            return True
    return False


def _traces(found: Sequence[Found], body: bytes) -> bool:
    """Whether a real value is in the changed answer, in any encoding."""
    values = [
        ("captured", value.encode())
        for item in found
        for value in (item.keys.values() if isinstance(item, FoundKeys) else [item.value])
    ]
    # A short value (a PIN, say) may stand elsewhere by chance: there only the places count.
    if any(value in body for _, value in values if len(value) >= 12):
        return True
    stream = StreamSanitizer(Patterns.build(values, detect=False), detect=False)
    stream.feed(body)
    stream.finish()
    return bool(stream.redactions)
