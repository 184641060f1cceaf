"""What the page may ask of its server, and which kernel's control API answers it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from keyless.control_client import ControlClient, ControlError, ControlUnavailable
from keyless_sidecar.control.requests import Answer, Refusal, Request, Stream
from keyless_sidecar.page.kernels import Kernels
from keyless_sidecar.page.types import Approve, Deny, Stop

__all__ = ["PageRouter"]

#: Pages that may be open at once.
MOST_PAGES = 8
_JSON = re.compile(r"application/json(\s*;\s*charset=utf-8)?", re.IGNORECASE)
_T = TypeVar("_T", Approve, Deny, Stop)


class PageRouter:
    """Answers requests that may be made.

    Args:
        assets: the page's own files.
        kernels: finds them.
    """

    def __init__(self, assets: Mapping[str, Answer], kernels: Kernels) -> None:
        self._assets = assets
        self._kernels = kernels
        self._pages = 0
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Answer | Stream]]] = {
            ("GET", "/api/kernels"): self._states,
            ("GET", "/api/events"): self._events,
            ("GET", "/api/audit"): self._audit,
            ("POST", "/api/approve"): self._approve,
            ("POST", "/api/deny"): self._deny,
            ("POST", "/api/stop"): self._stop,
        }

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request.

        Raises:
            Refusal: it can't be served.
        """
        if request.method == "GET" and request.path in self._assets and not request.query:
            return self._assets[request.path]
        route = self._routes.get((request.method, request.path))
        if route is None:
            raise Refusal(404, "NotFound", "There is nothing at this address.")
        try:
            return await route(request)
        except ControlError as error:
            status = error.status if 400 <= error.status < 600 else 502
            raise Refusal(status, error.kind, error.message, error.record_id) from None
        except ControlUnavailable:
            raise Refusal(404, "KernelGone", "This kernel doesn't run any more.") from None

    async def _states(self, _: Request) -> Answer:
        return Answer.of({"kernels": await self._kernels.states()})

    async def _events(self, _: Request) -> Stream:
        if self._pages >= MOST_PAGES:
            raise Refusal(409, "Busy", f"{MOST_PAGES} pages are open already; close one.")
        return Stream(self._counted())

    async def _counted(self) -> Any:
        self._pages += 1
        news = self._kernels.news()
        try:
            async for part in news:
                yield part
        finally:
            self._pages -= 1
            await news.aclose()

    async def _audit(self, request: Request) -> Answer:
        query = dict(parse_qsl(request.query))
        limit = query.get("limit", "100")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:5]) <= 1000:
            raise Refusal(400, "InvalidRequest", "The limit is a number from 1 to 1000.")
        client = self._client(query.get("kernel", ""))
        return Answer.of({"records": await client.audit(int(limit))})

    async def _approve(self, request: Request) -> Answer:
        order = _decoded(request, Approve)
        await self._client(order.kernel).approve(order.id, order.minutes)
        return Answer.of({"ok": True})

    async def _deny(self, request: Request) -> Answer:
        order = _decoded(request, Deny)
        await self._client(order.kernel).deny(order.id, order.reason)
        return Answer.of({"ok": True})

    async def _stop(self, request: Request) -> Answer:
        order = _decoded(request, Stop)
        await self._client(order.kernel).stop(order.record_id)
        return Answer.of({"ok": True})

    def _client(self, kernel: str) -> ControlClient:
        client = self._kernels.client(kernel)
        if client is None:
            raise Refusal(404, "KernelGone", "This kernel doesn't run any more.")
        return client


def _decoded(request: Request, kind: type[_T]) -> _T:
    if not _JSON.fullmatch(request.content_type.strip()):
        raise Refusal(415, "InvalidRequest", "The body must be application/json.")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.MsgspecError as error:
        raise Refusal(400, "InvalidRequest", f"The body is wrong: {error}.") from None
