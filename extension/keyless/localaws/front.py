"""The strict front: every request to the local AWS is checked here, then passed on to moto.

Why a front, when moto can check signatures and IAM by itself: moto 5.2 answers 500 to presigned
URLs, refuses body-less Lambda calls (get, list) with the right key, doesn't look at the clock or at
the body's hash, and forgets session policies.  So the front

1. reads the SigV4 claim (header or query), finds the principal, recomputes the signature with
   botocore's own signer, and checks clock and body (``sigv4``);
2. finds the operation from botocore's model (``operations``) and asks the identity's and the
   session's policies (``principals``, ``policy``);
3. signs the request *again*, with the same principal's key, in the one form that moto verifies
   rightly: a header signature with the body's hash in ``x-amz-content-sha256``.

moto's own IAM and signature checks stay on behind it, so a request has to pass both.

:class:`Front` runs on a thread of its own; :class:`~keyless.localaws.server.LocalAws` owns it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets

from keyless.localaws import sigv4
from keyless.localaws.faults import Fault, Refusal, code_of, render
from keyless.localaws.http import HttpRequest, HttpResponse
from keyless.localaws.operations import Call, Catalogue, path_style
from keyless.localaws.principals import Principal, Principals

#: Largest body, in bytes, both ways.  Lambda's own limit for a direct upload is 50 MB.
MAX_BODY = 256 * 1024 * 1024
_logger = logging.getLogger(__name__)
_HOP_BY_HOP = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass(frozen=True)
class LoggedCall:
    """One request that the local AWS saw."""

    #: Seconds since the epoch.
    time: float
    service: str
    operation: str
    resource: str
    #: ARN of the principal; empty where the signature proved none.
    principal: str
    allowed: bool
    status: int
    #: AWS's error code where the front refused.
    error: str = ""
    #: Who was set as the session's source, where the principal is a role's session.
    source_identity: str = ""


class Gatekeeper:
    """Decides about requests; no sockets."""

    def __init__(self, catalogue: Catalogue, principals: Principals) -> None:
        self.catalogue = catalogue
        self.principals = principals

    def decide(
        self, request: HttpRequest, now: datetime, note: Callable[..., None]
    ) -> tuple[Principal, sigv4.Claim, Call]:
        """Who asks for what.

        Args:
            note: told (service, operation, resource, principal) as far as they are known, for
                the log; the principal only once the signature has proved it.

        Raises:
            Refusal: with the protocol filled in.
        """
        protocol = ""
        try:
            claim = sigv4.parse(request)
            protocol = self.catalogue.protocol(claim.service)
            note(claim.service, "", "")
            principal = self.principals.find(claim, now)
            sigv4.verify(request, claim, principal.secret, now)
            note(claim.service, "", "", principal)
            call = self.catalogue.identify(request, claim.service, claim.region)
            resource = call.accesses[-1].resource
            note(claim.service, call.operation, resource, principal)
            for access in call.accesses:
                if not self.principals.may(principal, access):
                    raise Refusal(
                        Fault.DENIED,
                        f"User: {principal.arn} is not authorized to perform: {access.action}"
                        f" on resource: {access.resource}",
                    )
            self.principals.check(principal, call)
        except Refusal as refusal:
            refusal.protocol = refusal.protocol or protocol
            raise
        return principal, claim, call


class Front:
    """The HTTP server in front of moto.

    Args:
        gatekeeper: decides.
        upstream: moto's URL.
        secret: what moto asks of each request beside its signature (``moto_process``).
    """

    def __init__(self, gatekeeper: Gatekeeper, upstream: str, secret: str) -> None:
        self._gatekeeper = gatekeeper
        self._upstream = upstream
        self._secret = secret
        self._lock = threading.Lock()
        self._log: list[LoggedCall] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-aws-front", daemon=True)
        self.port = 0

    @property
    def log(self) -> tuple[LoggedCall, ...]:
        """Every request so far, in order of its end.  Any thread may ask."""
        with self._lock:
            return tuple(self._log)

    def start(self) -> None:
        """Serve on a free port of 127.0.0.1 (then in :attr:`port`).

        Raises:
            OSError: no port can be had.
        """
        self._thread.start()
        self._ready.wait()
        if not self.port:
            raise OSError("the front can't listen on 127.0.0.1")

    def stop(self) -> None:
        """Stop serving.  May be called twice."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()  # also where it never came up: the starter must not wait for ever

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        client = AsyncHTTPClient(
            force_instance=True,
            max_clients=64,
            max_body_size=MAX_BODY,
            max_buffer_size=MAX_BODY,
            defaults={"decompress_response": False, "follow_redirects": False},
        )
        tasks: set[asyncio.Task[None]] = set()

        def accept(request: HTTPServerRequest) -> None:
            task = asyncio.ensure_future(self._answer(request, client))
            tasks.add(task)
            task.add_done_callback(lambda task: ended(task, request))

        def ended(task: asyncio.Task[None], request: HTTPServerRequest) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                _logger.error("the front failed on a request", exc_info=error)
                tasks.add(asyncio.ensure_future(self._write(request, HttpResponse(500, ()))))

        server = HTTPServer(accept, max_body_size=MAX_BODY, max_buffer_size=MAX_BODY)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = int(sockets[0].getsockname()[1])
        server.add_sockets(sockets)
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            server.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.close_all_connections()
            client.close()

    async def _answer(self, incoming: HTTPServerRequest, client: AsyncHTTPClient) -> None:
        request = HttpRequest(
            incoming.method or "",
            incoming.uri or "/",
            tuple(incoming.headers.get_all()),
            incoming.body,
        )
        entry = LoggedCall(time.time(), "", "", "", "", allowed=False, status=0)

        def note(
            service: str, operation: str, resource: str, principal: Principal | None = None
        ) -> None:
            nonlocal entry
            entry = replace(
                entry,
                service=service,
                operation=operation,
                resource=resource,
                principal=principal.arn if principal else "",
                source_identity=principal.source_identity if principal else "",
            )

        try:
            principal, claim, call = self._gatekeeper.decide(request, datetime.now(UTC), note)
            response = self._gatekeeper.principals.answer(call)
            if response is None:
                response = await self._forward(request, claim, principal, client)
            if response.status < 300:
                learned = self._gatekeeper.principals.learn(principal, call, response.body)
                response = replace(response, body=learned)
            # behind the front moto decides once more; a 401 or 403 is its no
            entry = replace(
                entry, allowed=response.status not in (401, 403), status=response.status
            )
        except Refusal as refusal:
            response = render(refusal, str(uuid.uuid4()))
            entry = replace(entry, status=response.status, error=code_of(refusal))
        with self._lock:
            self._log.append(entry)
        await self._write(incoming, response)

    async def _forward(
        self,
        request: HttpRequest,
        claim: sigv4.Claim,
        principal: Principal,
        client: AsyncHTTPClient,
    ) -> HttpResponse:
        url, headers = sigv4.resign(
            path_style(request, claim.service), claim, principal.upstream, self._upstream
        )
        out = HTTPHeaders()
        for name, value in headers:
            out.add(name, value)
        out["X-Keyless-Front"] = self._secret
        body = request.body if request.body or request.method in ("POST", "PUT", "PATCH") else None
        try:
            answer = await client.fetch(
                HTTPRequest(
                    url,
                    request.method,
                    out,
                    body,
                    allow_nonstandard_methods=True,
                    request_timeout=120,
                ),
                raise_error=False,
            )
        except (HTTPError, OSError) as error:
            raise Refusal(
                Fault.UNREACHABLE,
                f"moto doesn't answer: {error}",
                self._gatekeeper.catalogue.protocol(claim.service),
            ) from None
        kept = tuple((k, v) for k, v in answer.headers.get_all() if k.lower() not in _HOP_BY_HOP)
        if request.method == "HEAD" and "Content-Length" in answer.headers:
            kept = (*kept, ("Content-Length", answer.headers["Content-Length"]))
        return HttpResponse(answer.code, kept, answer.body or b"")

    async def _write(self, incoming: HTTPServerRequest, response: HttpResponse) -> None:
        headers = HTTPHeaders()
        for name, value in response.headers:
            headers.add(name, value)
        empty = incoming.method == "HEAD" or response.status in (204, 304)
        if "Content-Length" not in headers and response.status != 204:
            headers["Content-Length"] = str(len(response.body))
        connection = incoming.connection
        if connection is None:
            return
        try:
            await connection.write_headers(
                ResponseStartLine("HTTP/1.1", response.status, ""),
                headers,
                b"" if empty else response.body,
            )
        except StreamClosedError:
            return  # the client went away; the log has the call
        connection.finish()
