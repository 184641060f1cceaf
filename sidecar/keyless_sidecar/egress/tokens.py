"""HTTP APIs with a token or password: the placeholder becomes the real one, for its hosts only.

A placeholder is swapped where its binding says: on its hosts, below its paths, in its places.
Anywhere else it goes out as the worthless text that it is.  The policy is asked about every request
to a bound host, with a placeholder or without, before its body is read.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Mapping, Sequence
from typing import Self

from keyless_sidecar.egress.client import Client, RequestRecord, refused
from keyless_sidecar.egress.masking import Masks, accept_decodable
from keyless_sidecar.egress.messages import Forward, Request, Response, values
from keyless_sidecar.egress.overrides import override
from keyless_sidecar.egress.paths import AmbiguousPath, readings, under
from keyless_sidecar.egress.places import Place, Slot, find
from keyless_sidecar.execution.destinations import BadDestination, Destination, split_pattern
from keyless_sidecar.policy.acts_from import act_for_http
from keyless_sidecar.vault import Entry, EntryInfo

__all__ = ["TokenBinding", "TokenHandler"]

#: Where a token or password may stand when nothing is declared.
DEFAULT_PLACES: Mapping[str, tuple[str, ...]] = {
    "token": ("header:Authorization:Bearer", "header:Authorization:token", "basic"),
    "basic": ("basic",),
    "generic": ("header:Authorization:Bearer",),
}
_FIELDS = {"token": "value", "basic": "password"}


@dataclasses.dataclass(frozen=True)
class TokenBinding:
    """Where one vault entry's token may go.

    Attributes:
        entry: the entry, without values.
        hosts: patterns and ports (``*.`` for subdomains, port 0 for any).
        paths: path prefixes, by whole segments.
        places: where in a request.
        shape: prefix of the placeholder, where clients look for one (``ghp_``).
    """

    entry: EntryInfo
    hosts: tuple[tuple[str, int], ...]
    paths: tuple[str, ...]
    places: tuple[Place, ...]
    shape: str = ""

    @classmethod
    def of(cls, entry: EntryInfo, shape: str = "") -> Self:
        """The binding that an entry declares with its ``hosts``, ``paths`` and ``places``.

        Args:
            entry: of kind ``token``, ``basic`` or ``generic``; no paths means all, no places the
                usual ones of its kind.
            shape: as the tool's placeholder was made with.

        Raises:
            ValueError: something isn't as it must be; one sentence.
        """
        if entry.kind not in DEFAULT_PLACES:
            raise ValueError(f"{entry.name}: a credential of kind {entry.kind} is no HTTP token")
        try:
            patterns = tuple(split_pattern(host) for host in entry.hosts)
        except BadDestination as error:
            raise ValueError(f"{entry.name}: {error}") from None
        if not patterns or any("." not in host.removeprefix("*.") for host, _ in patterns):
            raise ValueError(f"{entry.name}: a token needs hosts such as api.example.com")
        for path in entry.paths:
            if not path.startswith("/") or readings(path) != (path,) or "?" in path:
                raise ValueError(f"{entry.name}: a path prefix is a plain path such as /repos/me")
        declared = entry.places or DEFAULT_PLACES[entry.kind]
        places = tuple(Place.parse(text) for text in declared)
        return cls(entry, patterns, entry.paths or ("/",), places, shape)

    def covers(self, destination: Destination) -> bool:
        """Whether the token may go to a destination at all."""
        return any(
            port in (0, destination.port)
            and (
                destination.host.endswith(host[1:])
                if host.startswith("*.")
                else destination.host == host
            )
            for host, port in self.hosts
        )


class _Gone(Exception):
    """The entry isn't there any more."""


class TokenHandler:
    """Answers requests to the hosts of some bindings.  Owned by the event loop's thread.

    Args:
        client: for whom.
        bindings: of the entries that the client may use.
        upstreams: host patterns that are configured to go elsewhere (``c.Egress.upstreams``): plain
            HTTP is a person's choice there.
    """

    def __init__(
        self,
        client: Client,
        bindings: Sequence[TokenBinding],
        upstreams: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._bindings = tuple(bindings)
        self._upstreams = tuple(upstreams or ())

    def claims(self, destination: Destination) -> bool:
        """Whether some token is bound to a destination."""
        return any(binding.covers(destination) for binding in self._bindings)

    async def handle(self, request: Request, forward: Forward) -> Response:
        """Decide, put the real value in, forward, and take it out of the answer."""
        note = RequestRecord(
            "request",
            self._client.tool,
            f"http:{request.method}",
            request.host,
            request.method,
            request.target.partition("?")[0],
        )
        try:
            paths = readings(request.target)
        except AmbiguousPath as error:
            return await self._refuse(request, note, "path", f"Keyless: {error}.", 400)
        named = override(request.headers, request.target)
        if named:
            message = f"Keyless: {named} could change the method or path that is decided on."
            return await self._refuse(request, note, "override", message, 400)
        found = self._find(request, paths)
        if len({binding.entry.name for binding, _ in found}) > 1:
            return await self._refuse(
                request, note, "places", "Keyless: the request has several placeholders.", 400
            )
        name = found[0][0].entry.name if found else ""
        note = dataclasses.replace(note, credential=name)
        act = act_for_http(
            request.method,
            request.host,
            request.target,
            tool=self._client.tool,
            credential=name,
            credential_kind=found[0][0].entry.kind if found else "",
            **{"delivery": "proxy", **self._client.facts},
        )
        decision = await self._client.settle([act], *_described(request))
        note = dataclasses.replace(
            note, decision=decision.outcome, rule=decision.rule, reason=decision.reason
        )
        if decision.outcome != "allow":
            await self._client.record(note)
            self._client.tell(note, refused(decision))
            return _answer(request, refused(decision), decision.rule)
        if not found:
            await self._client.record(note)
            return await self._send(request, forward, note, Masks({}))
        if request.scheme != "https" and not self._redirected(request.host):
            return await self._refuse(
                request, note, "plain", f"Keyless: {name} goes over https only.", 403
            )

        async def ready() -> tuple[Request, Masks]:
            entry = await self._client.entry(name)
            if entry is None:
                raise _Gone
            return self._fill(request, found, entry)

        try:
            filled, masks = await self._client.recorded([note], name, ready())
        except _Gone:
            return await self._refuse(
                request, note, "gone", f"Keyless: the credential {name} is not there any more.", 403
            )
        except ValueError as error:
            return await self._refuse(
                request, note, "value", f"Keyless: {name} can't be sent: {error}.", 403
            )
        return await self._send(filled, forward, note, masks)

    # ------------------------------------------------------------------ inside

    def _find(self, request: Request, paths: tuple[str, ...]) -> list[tuple[TokenBinding, Place]]:
        return [
            (binding, place)
            for binding in self._bindings
            if binding.covers(request.destination)
            and all(under(path, binding.paths) for path in paths)
            for place in binding.places
            if self._slot(binding, place, request.target, request.headers)
        ]

    def _slot(
        self, binding: TokenBinding, place: Place, target: str, headers: Sequence[tuple[str, str]]
    ) -> Slot | None:
        placeholder = self._client.book.token_for(binding.entry, binding.shape)
        return find(place, placeholder, target, headers)

    def _fill(
        self, request: Request, found: Sequence[tuple[TokenBinding, Place]], entry: Entry
    ) -> tuple[Request, Masks]:
        masks: dict[str, str] = {}
        target, headers = request.target, request.headers
        for binding, place in found:
            # Looked up again: what was filled before has changed the request.
            slot = self._slot(binding, place, target, headers)
            if slot is None:
                continue
            value = _secret(entry)
            username = entry.fields["username"] if entry.kind == "basic" else ""
            before = headers
            target, headers = slot.fill(value, username)
            masks[value] = self._client.book.token_for(binding.entry, binding.shape)
            for (_, old), (_, new) in zip(before, headers, strict=True):
                if old != new and place.kind == "basic":  # its base64 form may be echoed
                    masks[new.partition(" ")[2]] = old.partition(" ")[2]
        headers = accept_decodable(headers)
        return dataclasses.replace(request, target=target, headers=headers), Masks(masks)

    async def _send(
        self, request: Request, forward: Forward, note: RequestRecord, masks: Masks
    ) -> Response:
        response = await forward(request)
        try:
            await self._client.record(
                dataclasses.replace(note, stage="answer", status=response.status)
            )
            return masks.apply(response)
        except BaseException:
            await response.close()
            raise

    def _redirected(self, host: str) -> bool:
        return any(fnmatch.fnmatchcase(host, pattern) for pattern in self._upstreams)

    async def _refuse(
        self, request: Request, note: RequestRecord, rule: str, message: str, status: int
    ) -> Response:
        await self._client.record(
            dataclasses.replace(note, decision="refused", rule=f"egress.{rule}", reason=message)
        )
        message = f"{message.rstrip('.')} (rule egress.{rule})."
        self._client.tell(note, message)
        return _answer(request, message, f"egress.{rule}", status)


def _described(request: Request) -> tuple[tuple[str, ...], str]:
    """A request as a person sees it, and its fingerprint where all of it is known.

    What it names in its query is shown; a body isn't read before it may be sent.
    """
    url = f"{request.scheme}://{request.host}:{request.port}{request.target}"
    if request.length == 0:
        return (request.method, url), f"{request.method} {url}"
    size = "some" if request.length is None else str(request.length)
    return (request.method, url, f"body of {size} bytes, whose content isn't known"), ""


def _secret(entry: Entry) -> str:
    """The one secret of an entry.

    Raises:
        ValueError: it has several, or isn't of the kind that it was.
    """
    fields = [_FIELDS[entry.kind]] if entry.kind in _FIELDS else entry.secret_fields()
    if len(fields) != 1 or entry.kind not in DEFAULT_PLACES:
        raise ValueError("it must have exactly one secret field")
    return entry.fields[fields[0]]


def _answer(request: Request, message: str, rule: str, status: int = 403) -> Response:
    """A refusal, in JSON where the client asks for it; the status line says why, too."""
    if any("json" in accepted.lower() for accepted in values(request.headers, "accept")):
        body = json.dumps({"message": message, "rule": rule}).encode()
        return Response.of(status, body, "application/json", said=message)
    return Response.of(status, message.encode() + b"\n", said=message)
