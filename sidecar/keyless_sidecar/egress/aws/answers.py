"""What AWS answers, made safe for the tool: credentials captured, echoes put back to placeholders.

Called by `handler` with the answer's head just received.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self

from keyless_sidecar.egress.aws.capture import MAX_ANSWER, CaptureError, rewrite
from keyless_sidecar.egress.aws.identify import Identified
from keyless_sidecar.egress.aws.refusal import AwsRefusal
from keyless_sidecar.egress.aws.secrets_in_answers import may_hold
from keyless_sidecar.egress.aws.verify import Verified
from keyless_sidecar.egress.masking import Masks, Stream
from keyless_sidecar.egress.messages import (
    BodyTooLarge,
    Headers,
    Response,
    replaced,
    values,
    without,
)
from keyless_sidecar.placeholders import AwsKeys, Binding, PlaceholderBook

__all__ = ["must_read", "plainly", "safe", "streams", "uncompressed"]

#: Checksums of the answer's body; it has another after credentials were captured.
_CHECKSUMS = ("content-md5", "etag", "x-amz-crc32", "content-encoding")


def must_read(act: Identified) -> bool:
    """Whether an operation's answer is read whole, to capture what is in it."""
    return may_hold(act.service, act.model)


def plainly(headers: Sequence[tuple[str, str]]) -> Headers:
    """Headers that ask for an answer without compression."""
    return replaced(headers, "Accept-Encoding", "identity")


def uncompressed(verified: Verified) -> Verified:
    """A verified request that asks for an answer without compression; signed again afterwards."""
    signed = dict(verified.headers)
    if "accept-encoding" in signed:
        signed["accept-encoding"] = "identity"
    parts = dataclasses.replace(verified.parts, headers=tuple(plainly(verified.parts.headers)))
    return dataclasses.replace(verified, parts=parts, headers=signed)


async def safe(
    act: Identified,
    response: Response,
    book: PlaceholderBook,
    binding: Binding,
    real: AwsKeys | None,
    signatures: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """The answer as the tool may see it; closes the one that came where it raises.

    Args:
        act: what is answered.
        response: as it came.
        book: takes what is captured.
        binding: with which the request was signed.
        real: the keys that were used; None for an unsigned request.
        signatures: those that went out, and the tool's own, which stood in their place.

    Raises:
        AwsRefusal: credentials are in it that can't be taken out.
        UpstreamFailed: it can't be looked into.
    """
    echoes = _echoes(binding, real) | dict(signatures) if real is not None else {}
    try:
        if streams(act) and response.status < 300:
            return _streamed(response, echoes)
        if must_read(act) and response.status < 300 and not response.bodiless:
            response = await _captured(act, response, book, binding)
        # What AWS writes of a signature that it refuses holds all that was signed, dumped too.
        return Masks(echoes, dumps=response.status >= 400).apply(response)
    except BaseException:
        await response.close()
        raise


def streams(act: Identified) -> bool:
    """Whether an operation's answer is content of any size, such as an object of S3."""
    return bool(act.model.has_streaming_output or act.model.has_event_stream_output)


def _streamed(response: Response, echoes: dict[str, str]) -> Response:
    """Content keeps its length, its coding and its checksums: only a key itself is replaced."""
    masks = Masks(echoes)
    headers = [(name, masks.text(value)) for name, value in response.headers]
    if response.bodiless:
        return dataclasses.replace(response, headers=headers)
    pairs = {real.encode(): _as_long(other, len(real)) for real, other in echoes.items()}
    return dataclasses.replace(response, headers=headers, body=_Replaced(response, Stream(pairs)))


class _Replaced:
    """A body with some texts replaced by others of their length; closing it closes the answer."""

    def __init__(self, response: Response, stream: Stream) -> None:
        self._response = response
        self._stream = stream
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            try:
                data = self._stream.feed(await anext(self._response.body))
            except StopAsyncIteration:
                self._ended = True
                data = self._stream.end()
            if data:
                return data
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give up what is left."""
        await self._response.close()


def _as_long(text: str, length: int) -> bytes:
    return text.encode()[:length].ljust(length, b"=")


async def _captured(
    act: Identified, response: Response, book: PlaceholderBook, binding: Binding
) -> Response:
    try:
        if set(values(response.headers, "content-encoding")) - {"identity"}:
            raise CaptureError("it is compressed, though that was not asked for")
        body = await response.read(MAX_ANSWER)
        changed = rewrite(
            act.service,
            act.model,
            act.protocol,
            body,
            book=book,
            parent=binding,
            status=response.status,
            headers=response.headers,
        )
    except (CaptureError, BodyTooLarge) as error:
        # Not a server's error: clients would repeat the request, and make a second access key.
        raise AwsRefusal(
            "KeylessAnswerHeldBack",
            f"The answer of {act.operation} was held back, since its credentials can't be "
            f"captured: {str(error).rstrip('.')}.",
            400,
        ) from None
    checksums = [name for name, _ in response.headers if _is_checksum(name)]
    headers = without(response.headers, *checksums) if changed != body else response.headers
    return dataclasses.replace(response, headers=headers).with_body(changed)


def _is_checksum(name: str) -> bool:
    name = name.lower()
    return name in _CHECKSUMS or name.startswith("x-amz-checksum-")


def _echoes(binding: Binding, real: AwsKeys) -> dict[str, str]:
    """The values that went out with the request, and what the tool calls them."""
    stand_in = binding.placeholder
    echoes = {
        real.access_key_id: stand_in.access_key_id,
        real.secret_access_key: stand_in.secret_access_key,
    }
    if real.session_token:
        # An entry's placeholder has no token, whether the entry has one or not.
        echoes[real.session_token] = stand_in.session_token or "keylessplaceholder/"
    return echoes
