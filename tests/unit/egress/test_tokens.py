"""Tokens go to their hosts, below their paths, in their places; never elsewhere."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyless_sidecar.egress.client import Client, RequestRecord, Unrecorded
from keyless_sidecar.egress.messages import Request, Response, Whole, values
from keyless_sidecar.egress.paths import AmbiguousPath, readings, under
from keyless_sidecar.egress.places import Place, find
from keyless_sidecar.egress.tokens import TokenBinding, TokenHandler
from keyless_sidecar.execution.destinations import Destination
from keyless_sidecar.placeholders import PlaceholderBook
from keyless_sidecar.policy.acts import Act, Decision
from keyless_sidecar.vault import Entry, EntryInfo, VaultError

REAL = "ghp_Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1u"


class Policies:
    """Allows, but for paths below /forbidden and methods that it is told."""

    def __init__(self, asks: tuple[str, ...] = ()) -> None:
        self.asks = asks
        self.acts: list[Act] = []

    def decide(self, act: Act) -> Decision:
        self.acts.append(act)
        if act.attributes.get("path", "/forbidden").startswith("/forbidden"):
            return Decision("deny", "policy.cedar:forbidden", "That path is off limits.")
        if act.attributes["method"] in self.asks:
            return Decision("ask", "default.changes", "It changes something.")
        return Decision("allow", "default.reads", "It only reads.")


class World:
    """A handler with everything around it; ``sent`` is what reached the real server."""

    def __init__(self, *bindings: dict[str, Any], asks: tuple[str, ...] = ()) -> None:
        self.entries = {"gh": Entry("gh", "token", {"value": REAL}, ("gh",), source="memory")}
        self.entries["reg"] = Entry(
            "reg", "basic", {"username": "bot", "password": REAL[4:]}, ("npm",), source="memory"
        )
        self.book = PlaceholderBook()
        self.policy = Policies(asks)
        self.records: list[RequestRecord] = []
        self.sent: list[Request] = []
        self.answer = Response.of(200, b"fine")
        self.kept = True  # on this machine
        client = Client(
            "gh", self.policy, self.book, self.fetch, self.record, kept=lambda _: self.kept
        )
        declared = bindings or ({"hosts": ["api.github.com"], "shape": "ghp_"},)
        self.bindings = [
            TokenBinding.of(
                dataclasses.replace(
                    self.info(b.get("entry", "gh")),
                    hosts=tuple(b.get("hosts", ())),
                    paths=tuple(b.get("paths", ())),
                    places=tuple(b.get("places", ())),
                ),
                b.get("shape", ""),
            )
            for b in declared
        ]
        self.handler = TokenHandler(client, self.bindings, {"*.local.test": "http://127.0.0.1:1"})

    def info(self, name: str) -> EntryInfo:
        return self.entries[name].info

    @property
    def token(self) -> str:
        return self.book.token_for(self.bindings[0].entry, self.bindings[0].shape)

    async def fetch(self, name: str) -> Entry:
        if name not in self.entries:
            raise VaultError("gone")
        return self.entries[name]

    async def record(self, record: RequestRecord) -> None:
        # What is recorded as sent must not have been sent yet.
        assert record.stage == "answer" or not self.sent
        self.records.append(record)

    async def forward(self, request: Request) -> Response:
        self.sent.append(request)
        return self.answer

    async def ask(
        self,
        target: str = "/user",
        method: str = "GET",
        host: str = "api.github.com",
        scheme: Any = "https",
        **headers: str,
    ) -> Response:
        request = Request(
            method,
            scheme,
            host,
            443 if scheme == "https" else 80,
            target,
            [("Host", host), *((k.replace("_", "-"), v) for k, v in headers.items())],
            4,
            Whole(b"body"),
        )
        return await self.handler.handle(request, self.forward)

    def header(self, name: str) -> str:
        return values(self.sent[0].headers, name)[0]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "token"])
async def test_the_real_token_goes_out_in_its_place(scheme: str) -> None:
    world = World()
    response = await world.ask(Authorization=f"{scheme} {world.token}")
    assert response.status == 200
    assert world.header("authorization") == f"{scheme} {REAL}"
    assert await world.sent[0].read(99) == b"body"
    (act,) = world.policy.acts
    assert (act.action, act.tool, act.credential, act.mutating) == ("http:GET", "gh", "gh", False)
    assert dict(act.attributes) == {
        "host": "api.github.com",
        "path": "/user",
        "method": "GET",
        "credential_kind": "token",
        "delivery": "proxy",
    }
    request, answer = world.records
    assert (request.stage, request.decision, request.rule) == ("request", "allow", "default.reads")
    assert (answer.stage, answer.status, answer.credential) == ("answer", 200, "gh")
    assert REAL not in repr(world.records) + repr(world.policy.acts)


@pytest.mark.parametrize("form", ["user:T", "x-access-token:T", "T:x-oauth-basic", "T:"])
async def test_git_and_curl_send_it_as_basic(form: str) -> None:
    world = World()
    user, _, password = form.replace("T", world.token).partition(":")
    await world.ask(Authorization=basic(user, password))
    told = base64.b64decode(world.header("authorization").partition(" ")[2]).decode()
    assert told == form.replace("T", REAL)


async def test_a_password_goes_with_its_own_user_name() -> None:
    world = World({"entry": "reg", "hosts": ["registry.example.com"]})
    await world.ask(host="registry.example.com", Authorization=basic("someone", world.token))
    told = base64.b64decode(world.header("authorization").partition(" ")[2]).decode()
    assert told == f"bot:{REAL[4:]}"


async def test_declared_headers_and_query_parameters() -> None:
    world = World(
        {"hosts": ["gitlab.example.com"], "places": ["header:PRIVATE-TOKEN", "query:private_token"]}
    )
    host = "gitlab.example.com"
    await world.ask("/x", host=host, private_token=world.token)
    assert world.header("private-token") == REAL
    world.sent.clear()
    await world.ask(f"/x?a=%20b&private_token={world.token}&c", host=host)
    assert world.sent[0].target == f"/x?a=%20b&private_token={REAL}&c"
    assert REAL not in repr(world.records)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda t: {"target": f"/user?access_token={t}"},
        lambda t: {"target": f"/{t}"},
        lambda t: {"X_Other": t},
        lambda t: {"Authorization": t},
        lambda t: {"Authorization": f"Bearer  {t}"},
        lambda t: {"Authorization": f"Bearer {t} "},
        lambda t: {"Authorization": f"Bearer x{t}"},
        lambda t: {"Authorization": f"Bearer {t[:-1]}"},
        lambda t: {"Authorization": f"Bearer {t.upper()}"},
        lambda t: {"Authorization": f"Basic {t}"},
        lambda t: {"Authorization": basic("a", f"{t}x")},
        lambda t: {"Authorization": f"Digest {t}"},
        lambda t: {"Cookie": f"token={t}"},
        lambda t: {"Referer": f"https://x/?t={t}"},
        lambda t: {"Proxy_Authorization": f"Bearer {t}"},
    ],
)
async def test_elsewhere_it_stays_a_worthless_placeholder(
    request_of: Callable[[str], dict[str, str]],
) -> None:
    world = World()
    await world.ask(**request_of(world.token))
    (sent,) = world.sent
    assert REAL not in repr([sent.target, sent.headers])
    assert "ghp_keyless" in (sent.target + repr(sent.headers)).replace(
        "GHP_KEYLESS", "ghp_keyless"
    ) or "Basic" in repr(sent.headers)
    assert world.records[0].credential == ""


async def test_a_token_of_one_host_is_not_swapped_for_another() -> None:
    world = World(
        {"hosts": ["api.github.com"], "shape": "ghp_"},
        {
            "entry": "reg",
            "hosts": ["registry.example.com"],
            "places": ["header:Authorization:Bearer"],
        },
    )
    await world.ask(host="registry.example.com", Authorization=f"Bearer {world.token}")
    assert world.header("authorization") == f"Bearer {world.token}"


async def test_a_header_sent_twice_is_not_filled() -> None:
    world = World()
    request = Request("GET", "https", "api.github.com", 443, "/", [], 0)
    request.headers = [("Authorization", f"Bearer {world.token}")] * 2
    await world.handler.handle(request, world.forward)
    assert REAL not in repr(world.sent[0].headers)


def test_only_bound_hosts_are_claimed() -> None:
    world = World({"hosts": ["api.github.com", "*.example.com:8443"]})

    def claims(host: str, port: int = 443) -> bool:
        return world.handler.claims(Destination(host, port))

    assert claims("api.github.com")
    assert claims("a.example.com", 8443)
    assert not claims("api.github.com", 80)
    assert not claims("api.github.com.evil.test")
    assert not claims("xapi.github.com")
    assert not claims("example.com", 8443)
    assert not claims("evilexample.com", 8443)
    assert not claims("a.example.com")


@pytest.mark.parametrize(
    ("target", "filled"),
    [
        ("/repos/me", True),
        ("/repos/me/x", True),
        ("/repos/me?x=1", True),
        ("/repos/m%65/x", True),
        ("/repos/me2", False),
        ("/repos", False),
        ("/", False),
        ("/repos%2Fme/x", False),
        ("/x/repos/me", False),
        ("//repos/me/x", False),
    ],
)
async def test_path_prefixes_count_whole_segments(target: str, filled: bool) -> None:
    world = World({"hosts": ["api.github.com"], "paths": ["/repos/me"]})
    await world.ask(target, Authorization=f"Bearer {world.token}")
    assert any(REAL in repr(sent.headers) for sent in world.sent) is filled
    assert (world.policy.acts[0].credential == "gh") is filled


@pytest.mark.parametrize(
    "target",
    [
        "/repos/me/../you",
        "/repos/me/%2e%2e/you",
        "/repos/me/%2E./you",
        "/repos/me/..%2Fyou",
        "/repos/me/..;x/you",
        "/repos/me/.",
        "/repos/me\\..\\you",
        "/repos/me/%5c..",
        "/repos/me/%252e%252e/you",
        "/repos/me/%00",
        "/repos/me/%0a",
        "/repos/me/%zz",
        "/repos/me/%",
        "/repos/me/%ff",
        "/repos/me#x",
    ],
)
async def test_paths_that_servers_read_differently_are_refused(target: str) -> None:
    world = World({"hosts": ["api.github.com"], "paths": ["/repos/me"]})
    response = await world.ask(target, Authorization=f"Bearer {world.token}")
    assert response.status == 400
    assert not world.sent
    assert world.records[0].decision == "refused"


@pytest.mark.parametrize(
    "target", ["/forbidden/x", "/forbidden%2Fx", "//forbidden/x", "/%66orbidden"]
)
async def test_a_denial_holds_for_each_reading_of_the_path(target: str) -> None:
    world = World()
    response = await world.ask(
        target, Authorization=f"Bearer {world.token}", Accept="application/vnd.github+json"
    )
    assert response.status == 403
    assert not world.sent
    told = json.loads(await response.read(999))
    assert told["rule"] == "policy.cedar:forbidden"
    assert "off limits" in told["message"]
    (record,) = world.records
    assert (record.decision, record.rule) == ("deny", "policy.cedar:forbidden")


async def test_what_needs_approval_is_said_in_text() -> None:
    world = World(asks=("DELETE",))
    response = await world.ask(method="DELETE", Authorization=f"Bearer {world.token}")
    assert not world.sent
    text = (await response.read(999)).decode()
    assert "needs a person's approval" in text
    assert "default.changes" in text
    assert world.policy.acts[0].mutating is None


async def test_the_real_token_goes_over_tls_only() -> None:
    world = World({"hosts": ["api.github.com:*", "git.local.test:*"]})
    response = await world.ask(scheme="http", Authorization=f"Bearer {world.token}")
    assert response.status == 403
    assert not world.sent
    assert "https" in (await response.read(999)).decode()
    await world.ask(scheme="http", host="git.local.test", Authorization=f"Bearer {world.token}")
    assert world.header("authorization") == f"Bearer {REAL}"


async def test_removal_and_rotation_count_from_the_next_request() -> None:
    world = World()
    token = world.token
    await world.ask(Authorization=f"Bearer {token}")
    world.sent.clear()
    world.entries["gh"] = Entry("gh", "token", {"value": "ghp_the-new-one-1234"}, ("gh",))
    await world.ask(Authorization=f"Bearer {token}")
    assert world.header("authorization") == "Bearer ghp_the-new-one-1234"
    world.sent.clear()
    del world.entries["gh"]
    response = await world.ask(Authorization=f"Bearer {token}")
    assert response.status == 403
    assert "not there any more" in (await response.read(999)).decode()
    assert not world.sent
    assert world.token != token


@pytest.mark.parametrize("kept", [True, False])
async def test_no_record_no_request(kept: bool) -> None:
    world = World()

    async def fails(_: RequestRecord) -> None:
        raise OSError("disk full")

    client = Client("gh", world.policy, world.book, world.fetch, fails, kept=lambda _: kept)
    world.handler = TokenHandler(client, world.bindings)
    with pytest.raises(Unrecorded):
        await world.ask(Authorization=f"Bearer {world.token}")
    assert not world.sent
    del world.entries["gh"]
    with pytest.raises(Unrecorded):
        await world.ask(Authorization=f"Bearer {world.token}")


async def test_a_request_is_made_while_its_record_is_written_and_sent_after() -> None:
    world = World()
    fetched, written = asyncio.Event(), asyncio.Event()

    async def fetch(name: str) -> Entry:
        fetched.set()
        return await world.fetch(name)

    async def slow(record: RequestRecord) -> None:
        await written.wait()
        await world.record(record)

    client = Client("gh", world.policy, world.book, fetch, slow, kept=lambda _: True)
    world.handler = TokenHandler(client, world.bindings)
    asking = asyncio.ensure_future(world.ask(Authorization=f"Bearer {world.token}"))
    await fetched.wait()
    await asyncio.sleep(0.02)
    assert not world.sent
    written.set()
    assert (await asking).status == 200
    assert world.header("authorization") == f"Bearer {REAL}"


async def test_a_token_from_elsewhere_is_recorded_once_it_is_known() -> None:
    world = World()
    world.kept = False
    del world.entries["gh"]
    assert (await world.ask(Authorization=f"Bearer {world.token}")).status == 403
    assert [record.decision for record in world.records] == ["refused"]


async def test_a_value_that_no_header_can_carry_is_not_sent() -> None:
    world = World()
    world.entries["gh"] = Entry("gh", "token", {"value": "abc\r\nX-Evil: 1"}, ("gh",))
    response = await world.ask(Authorization=f"Bearer {world.token}")
    assert response.status == 403
    assert not world.sent
    assert "X-Evil" not in (await response.read(999)).decode()


async def test_an_echo_of_the_real_value_is_masked() -> None:
    world = World()
    coded = base64.b64encode(f"u:{REAL}".encode()).decode()
    world.answer = Response.of(200, f"you sent {REAL} or {coded}".encode(), headers=[("X-T", REAL)])
    response = await world.ask(Authorization=basic("u", world.token))
    body = (await response.read(9999)).decode()
    assert REAL not in body + repr(response.headers)
    assert coded not in body
    assert world.token in body
    assert values(response.headers, "x-t") == [world.token]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "basic ",
        "X",
        "header:",
        "header:Host",
        "header:content-length:x",
        "header:a b",
        "header:X:a b",
        "query:",
        "query:a b",
        "header:X\n",
        "header:Transfer-Encoding",
    ],
)
def test_odd_places_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="place"):
        Place.parse(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hosts": []},
        {"hosts": ["com"]},
        {"hosts": ["*.com"]},
        {"hosts": ["http://x.example.com"]},
        {"hosts": ["x.example.com"], "paths": ["repos"]},
        {"hosts": ["x.example.com"], "paths": ["/a/../b"]},
        {"hosts": ["x.example.com"], "paths": ["/a%2Fb"]},
        {"hosts": ["x.example.com"], "places": ["nowhere"]},
    ],
)
def test_odd_bindings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, VaultError)):
        World(wrong)


async def test_a_generic_entry_has_one_secret_or_is_not_sent() -> None:
    world = World()
    world.entries["g"] = Entry("g", "generic", {"api_key": REAL}, ("x",))
    info = dataclasses.replace(world.info("g"), hosts=("api.github.com",))
    world.bindings = [TokenBinding.of(info)]
    world.handler = TokenHandler(
        Client("x", world.policy, world.book, world.fetch, world.record), world.bindings
    )
    await world.ask(Authorization=f"Bearer {world.token}")
    assert world.header("authorization") == f"Bearer {REAL}"
    world.sent.clear()
    world.entries["g"] = Entry("g", "generic", {"api_key": REAL, "other": REAL[::-1]}, ("x",))
    response = await world.ask(Authorization=f"Bearer {world.token}")
    assert (response.status, world.sent) == (403, [])
    aws = EntryInfo("a", "aws", (), hosts=("x.example.com",))
    with pytest.raises(ValueError, match="aws"):
        TokenBinding.of(aws)


@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_readings_never_hold_dot_segments(rest: str) -> None:
    try:
        found = readings("/" + rest)
    except AmbiguousPath:
        return
    for path in found:
        assert path.startswith("/")
        assert not {".", ".."} & set(path.split("/"))
        assert "\\" not in path
        if under(path, ("/safe",)):
            assert path == "/safe" or path.startswith("/safe/")


@given(st.text(max_size=40), st.text(max_size=10))
def test_no_header_but_the_whole_token_is_filled(before: str, after: str) -> None:
    place, token = Place.parse("header:Authorization:Bearer"), "ghp_keyless" + "a" * 29
    slot = find(place, token, "/", [("authorization", f"{before}{token}{after}")])
    assert (slot is not None) == (before.lower() == "bearer " and not after)


@pytest.mark.parametrize(
    "name",
    ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_Method_Override",
     "X-Original-URL", "X-Rewrite-Url", "X-Original-Method"],
)  # fmt: skip
async def test_a_header_that_changes_the_method_or_path_is_refused(name: str) -> None:
    world = World()
    response = await world.handler.handle(
        Request(
            "POST", "https", "api.github.com", 443, "/user",
            [("Host", "api.github.com"), (name, "DELETE"),
             ("Authorization", f"Bearer {world.token}")],
        ),
        world.forward,
    )  # fmt: skip
    assert response.status == 400
    said = (await response.read(999)).decode()
    assert f"{name} could change the method or path that is decided on" in said
    assert not world.sent
    assert world.records[0].rule == "egress.override"


@pytest.mark.parametrize(
    "query",
    ["_method=DELETE", "a=b&_METHOD=put", "%5Fmethod=DELETE", "a=b;_method=DELETE",
     "x-http-method-override=DELETE", "X-HTTP-Method=DELETE", "_method"],
)  # fmt: skip
async def test_a_parameter_that_changes_the_method_is_refused(query: str) -> None:
    world = World()
    response = await world.ask(f"/user?{query}", Authorization=f"Bearer {world.token}")
    assert (response.status, world.sent) == (400, [])


async def test_parameters_that_only_look_like_it_pass() -> None:
    world = World()
    response = await world.ask("/user?method=x&payment_method=_method")
    assert (response.status, len(world.sent)) == (200, 1)
