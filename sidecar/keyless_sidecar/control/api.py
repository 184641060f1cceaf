"""What the control API does, one method for each address; found by :class:`Router`'s table."""

from __future__ import annotations

import asyncio
import collections
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from keyless_sidecar.approvals import Approvals, NotPending
from keyless_sidecar.approvals.asking import Undecidable
from keyless_sidecar.audit import AuditLog, AuditUnavailable
from keyless_sidecar.audit.reading import read
from keyless_sidecar.control import types
from keyless_sidecar.control.executor import Executor
from keyless_sidecar.control.openapi import document
from keyless_sidecar.control.requests import Answer, Refusal, Request, Stream
from keyless_sidecar.control.routes import ROUTES, Route
from keyless_sidecar.control.stream import news
from keyless_sidecar.events import Events
from keyless_sidecar.execution.news import News
from keyless_sidecar.keeper import Keeper
from keyless_sidecar.printable import printable
from keyless_sidecar.status import StatusReporter
from keyless_sidecar.vault import Entry, NameTaken, VaultError
from keyless_sidecar.vault.bindings import require_reach

__all__ = ["ControlApi"]

_T = TypeVar("_T")
_JSON = re.compile(r'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)


class ControlApi:
    """Answers requests that may be made.  Owned by the event loop's thread.

    Args:
        approvals: takes answers.
        events: passes news on.
        news: knows what runs.
        keeper: the vault.
        executor: runs commands.
        reporter: knows the state.
        audit: records what changes, and is shown.
        notebook: path of the notebook, empty where it isn't known.
    """

    def __init__(
        self,
        *,
        approvals: Approvals,
        events: Events,
        news: News,
        keeper: Keeper,
        executor: Executor,
        reporter: StatusReporter,
        audit: AuditLog,
        notebook: str,
    ) -> None:
        self._approvals = approvals
        self._events = events
        self._news = news
        self._keeper = keeper
        self._executor = executor
        self._reporter = reporter
        self._audit = audit
        self._notebook = notebook

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request.

        Raises:
            Refusal: it can't be served.
        """
        route, name = _find(request)
        body = _decoded(request, route.body) if route.body is not None else None
        query = _query(request, route)
        handler: Callable[..., Awaitable[Answer | Stream]] = getattr(self, f"_{route.handler}")
        try:
            return await handler(request, body if body is not None else name, query)
        except AuditUnavailable:
            raise Refusal(
                503, "SidecarUnavailable", "The audit log can't be written, so nothing is done."
            ) from None

    # ------------------------------------------------------------------ looking

    async def _status(self, _: Request, __: Any, ___: Mapping[str, str]) -> Answer:
        status = await self._reporter.answer(0)
        known = {name: getattr(status, name) for name in status.__struct_fields__ if name != "id"}
        return Answer.of(
            types.KernelStatus(
                **known,
                notebook=printable(self._notebook),
                approvers=self._events.approvers,
                pending=len(self._approvals.pending()),
                running=[types.Running(**each) for each in self._news.running()],
            )
        )

    async def _pending_questions(self, _: Request, __: Any, ___: Mapping[str, str]) -> Answer:
        return Answer.of({"pending": self._approvals.pending()})

    async def _events_stream(self, _: Request, __: Any, query: Mapping[str, str]) -> Stream:
        approves = query.get("approves", "true") == "true"
        return Stream(news(self._events, self._approvals.pending(), approves=approves))

    async def _audit_records(self, _: Request, __: Any, query: Mapping[str, str]) -> Answer:
        limit = int(query.get("limit", "100"))
        try:
            records = await asyncio.to_thread(
                lambda: collections.deque(read(self._audit.path), limit)
            )
        except OSError:
            raise Refusal(
                503, "SidecarUnavailable", "The audit log can't be read at the moment."
            ) from None
        return Answer.of({"records": list(records)})

    async def _openapi(self, _: Request, __: Any, ___: Mapping[str, str]) -> Answer:
        return Answer(200, document())

    # ------------------------------------------------------------------ deciding

    async def _approve(self, request: Request, body: types.Approve, _: Any) -> Answer:
        await self._decide(request, body.id, body.via, approved=True, minutes=body.minutes)
        return Answer.of(types.Done())

    async def _deny(self, request: Request, body: types.Deny, _: Any) -> Answer:
        await self._decide(request, body.id, body.via, approved=False, reason=body.reason)
        return Answer.of(types.Done())

    async def _decide(self, request: Request, identity: str, via: str, **answer: Any) -> None:
        try:
            await self._approvals.answer(identity, by={"via": via, **request.peer}, **answer)
        except NotPending as error:
            raise Refusal(404, "NotPending", str(error)) from None
        except Undecidable as error:
            raise Refusal(409, "Undecidable", str(error)) from None

    async def _stop(self, request: Request, body: types.Stop, _: Any) -> Answer:
        if not self._news.runs(body.record_id):
            raise Refusal(404, "NotRunning", "No command of that record runs now.")
        by = {"via": body.via, **request.peer}
        await asyncio.to_thread(
            self._audit.append, "exec.stopped", {"request": body.record_id, "by": by}
        )
        self._news.stop(body.record_id)
        return Answer.of(types.Done())

    # ------------------------------------------------------------------ the vault

    async def _store(self, request: Request, body: types.Store, _: Any) -> Answer:
        try:
            entry = Entry(
                body.name,
                body.kind,
                body.fields,
                tuple(body.tools),
                body.delivery,
                "memory",
                hosts=tuple(body.hosts),
                paths=tuple(body.paths),
                places=tuple(body.places),
                file=body.file,
            )
            require_reach(entry.name, entry.kind, entry.delivery, entry.hosts)
            entry.require_strong()
        except VaultError as error:
            raise Refusal(400, "InvalidRequest", _sentence(error)) from None
        info = entry.info
        await self._recorded(
            "vault.stored",
            request,
            name=info.name,
            credential_kind=info.kind,
            tools=list(info.tools),
            delivery=info.delivery,
            hosts=list(info.hosts),
        )
        try:
            await self._keeper.store(entry)
        except NameTaken as error:
            raise Refusal(409, "NameTaken", _sentence(error)) from None
        except VaultError as error:
            raise Refusal(503, "SidecarUnavailable", _sentence(error)) from None
        return Answer.of(types.Stored(entry.name))

    async def _remove(self, request: Request, name: str, _: Any) -> Answer:
        try:
            known = any(
                info.name == name and info.source == "memory" for info in await self._keeper.infos()
            )
        except VaultError as error:
            raise Refusal(503, "SidecarUnavailable", _sentence(error)) from None
        if not known:
            raise Refusal(404, "NotFound", "No credential of that name was registered here.")
        await self._recorded("vault.removed", request, name=name)
        try:
            await self._keeper.remove(name)
        except VaultError:  # somebody else was faster
            raise Refusal(404, "NotFound", "No credential of that name is there now.") from None
        return Answer.of(types.Done())

    async def _recorded(self, kind: str, request: Request, **fields: Any) -> None:
        await asyncio.to_thread(self._audit.append, kind, {**fields, "by": dict(request.peer)})

    # ------------------------------------------------------------------ commands

    async def _vault_exec(self, request: Request, body: types.VaultExec, _: Any) -> Answer:
        return Answer.of(await self._executor.vault(body, request.gone))

    async def _platform_exec(self, request: Request, body: types.PlatformExec, _: Any) -> Answer:
        return Answer.of(await self._executor.platform(body, request.gone))

    async def _jit_exec(self, request: Request, body: types.JitExec, _: Any) -> Answer:
        return Answer.of(await self._executor.jit(body, request.gone))


def _find(request: Request) -> tuple[Route, str]:
    """The route, and what stands in its path."""
    others = []
    # An address that is written out is never one with a name in it.
    exact = any(route.path == request.path for route in ROUTES)
    for route in ROUTES:
        if exact and route.path != request.path:
            continue
        pattern = re.escape(route.path).replace(r"\{name\}", r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
        match = re.fullmatch(pattern, request.path)
        if match is None:
            continue
        if route.method == request.method:
            return route, match[1] if match.groups() else ""
        others.append(route.method)
    if others:
        allowed = ", ".join(sorted(others))
        raise Refusal(
            405, "WrongMethod", f"This address takes {allowed}.", headers=(("Allow", allowed),)
        )
    raise Refusal(404, "NotFound", "There is no such address; /openapi.json lists them.")


def _decoded(request: Request, kind: type[_T]) -> _T:
    if not _JSON.fullmatch(request.content_type):
        raise Refusal(415, "InvalidRequest", "A body is JSON, with Content-Type application/json.")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as error:
        # Names the place and the types; a value only where it is one of a few known words.
        reason = re.sub(
            r"(?s)Invalid enum value .*? - at", "Not one of the known words - at", str(error)
        )
        raise Refusal(400, "InvalidRequest", f"{reason[:300]}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        raise Refusal(400, "InvalidRequest", "The body is no JSON.") from None


def _query(request: Request, route: Route) -> dict[str, str]:
    """The parameters in the query, each once and as its schema wants it."""
    schemas = {name: schema for name, place, schema in route.parameters if place == "query"}
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, strict_parsing=bool(request.query))
    except ValueError:
        raise Refusal(400, "InvalidRequest", "The query can't be read.") from None
    for name, value in pairs:
        schema = schemas.get(name)
        if schema is None or name in found or not _fits(value, schema):
            raise Refusal(400, "InvalidRequest", "The query has a parameter that makes no sense.")
        found[name] = value
    return found


def _fits(value: str, schema: Mapping[str, Any]) -> bool:
    if schema["type"] == "integer":
        plain = re.fullmatch(r"[1-9][0-9]{0,8}", value) is not None
        return plain and schema["minimum"] <= int(value) <= schema["maximum"]
    return value in schema["enum"]


def _sentence(error: VaultError) -> str:
    return str(error).rstrip(".") + "."
