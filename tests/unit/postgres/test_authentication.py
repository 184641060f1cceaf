"""The login's state machine against honest and lying servers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism

from keyless_sidecar.execution.destinations import Destination
from keyless_sidecar.postgres.authentication import AuthenticationRefused, Channel, Login
from keyless_sidecar.postgres.settings import Target

PASSWORD = "correct-horse-Battery-9"
PLAIN = Channel()
UNVERIFIED = Channel(encrypted=True, binding=b"b" * 32)
VERIFIED = Channel(encrypted=True, verified=True, binding=b"b" * 32)


def target(**more: object) -> Target:
    return Target(Destination("db", 5432), "app", **{"password": PASSWORD, **more})  # type: ignore[arg-type]


def request(code: int, data: bytes = b"") -> bytes:
    return struct.pack("!i", code) + data


def sasl(*mechanisms: str) -> bytes:
    return request(10, b"".join(each.encode() + b"\0" for each in mechanisms) + b"\0")


def said(reply: bytes | None) -> bytes:
    assert reply is not None
    assert reply[:1] == b"p"
    assert int.from_bytes(reply[1:5], "big") == len(reply) - 1
    return reply[5:]


def first(reply: bytes | None) -> tuple[str, str]:
    mechanism, _, rest = said(reply).partition(b"\0")
    assert int.from_bytes(rest[:4], "big") == len(rest) - 4
    return mechanism.decode(), rest[4:].decode()


class Scram:
    """An honest server."""

    def __init__(self, mechanism: str, password: str = PASSWORD, binding: bytes | None = None):
        made = ScramMechanism(mechanism)
        info = made.make_auth_info(password)
        bound = None if binding is None else ("tls-server-end-point", binding)
        self.server = made.make_server(lambda _: info, channel_binding=bound)

    def log_in(self, login: Login, *offered: str) -> None:
        mechanism, message = first(login.answer(sasl(*offered)))
        assert mechanism == offered[0]
        self.server.set_client_first(message)
        reply = login.answer(request(11, self.server.get_server_first().encode()))
        self.server.set_client_final(said(reply).decode())
        assert login.answer(request(12, self.server.get_server_final().encode())) is None
        assert not login.finished
        assert login.answer(request(0)) is None


@pytest.mark.parametrize("channel", [PLAIN, Channel(encrypted=True, verified=True)])
def test_scram(channel: Channel) -> None:
    login = Login(target(), channel)
    Scram("SCRAM-SHA-256").log_in(login, "SCRAM-SHA-256")
    assert login.finished
    assert (login.method, login.bound) == ("scram-sha-256", False)


@pytest.mark.parametrize("channel", [UNVERIFIED, VERIFIED])
def test_scram_is_bound_to_tls_where_it_can_be(channel: Channel) -> None:
    login = Login(target(), channel)
    server = Scram("SCRAM-SHA-256-PLUS", binding=b"b" * 32)
    server.log_in(login, "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
    assert (login.method, login.bound) == ("scram-sha-256", True)


def test_somebody_between_with_another_certificate_gets_nowhere() -> None:
    login = Login(target(), UNVERIFIED)
    server = Scram("SCRAM-SHA-256-PLUS", binding=b"the real server's".ljust(32))
    _, message = first(login.answer(sasl("SCRAM-SHA-256-PLUS")))
    server.server.set_client_first(message)
    reply = login.answer(request(11, server.server.get_server_first().encode()))
    with pytest.raises(Exception, match="channel bindings"):
        server.server.set_client_final(said(reply).decode())


def test_a_server_learns_that_its_better_mechanism_was_taken_away() -> None:
    _, message = first(Login(target(), UNVERIFIED).answer(sasl("SCRAM-SHA-256")))
    assert message.startswith("y,,")
    _, message = first(Login(target(), PLAIN).answer(sasl("SCRAM-SHA-256")))
    assert message.startswith("n,,")


def test_an_unbindable_certificate_needs_to_be_verified() -> None:
    unknown = Login(target(), Channel(encrypted=True))
    with pytest.raises(AuthenticationRefused, match="verify-full"):
        unknown.answer(sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))


@pytest.mark.parametrize("channel", [PLAIN, UNVERIFIED, VERIFIED])
@pytest.mark.parametrize("offer", [sasl("SCRAM-SHA-256"), request(5, b"salt"), request(0)])
def test_required_channel_binding_is_never_given_up(channel: Channel, offer: bytes) -> None:
    with pytest.raises(AuthenticationRefused):
        Login(target(binding=True), channel).answer(offer)


@pytest.mark.parametrize("password", ["pass\N{GRINNING FACE}", "\x07bell", "\xad"])
def test_passwords_that_saslprep_forbids_count_byte_for_byte(password: str) -> None:
    login = Login(target(password=password), PLAIN)
    _, message = first(login.answer(sasl("SCRAM-SHA-256")))
    nonce = message.partition("r=")[2] + "server"
    salt = b"0123456789abcdef"
    server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
    final = said(login.answer(request(11, server_first.encode()))).decode()
    without, _, proof = final.rpartition(",p=")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client_key).digest()
    signed = ",".join((message.partition(",,")[2], server_first, without)).encode()
    signature = hmac.digest(stored, signed, "sha256")
    assert bytes(a ^ b for a, b in zip(client_key, signature, strict=True)) == base64.b64decode(
        proof
    )


def begun() -> tuple[Login, str]:
    login = Login(target(), PLAIN)
    _, message = first(login.answer(sasl("SCRAM-SHA-256")))
    found = re.search("r=([^,]+)", message)
    assert found is not None
    return login, found.group(1)


def test_a_server_that_doesnt_know_the_password_is_found_out() -> None:
    login, nonce = begun()
    salt = base64.b64encode(bytes(16)).decode()
    login.answer(request(11, f"r={nonce}xyz,s={salt},i=4096".encode()))
    with pytest.raises(AuthenticationRefused, match="signature is wrong"):
        login.answer(request(12, b"v=" + base64.b64encode(bytes(32))))
    assert not login.finished


def test_a_server_that_ends_without_its_proof_is_refused() -> None:
    login, nonce = begun()
    with pytest.raises(AuthenticationRefused, match="without proof"):
        login.answer(request(0))
    login, nonce = begun()
    salt = base64.b64encode(bytes(16)).decode()
    login.answer(request(11, f"r={nonce}xyz,s={salt},i=4096".encode()))
    with pytest.raises(AuthenticationRefused, match="without proof"):
        login.answer(request(0))
    assert not login.finished


@pytest.mark.parametrize(
    "text",
    [
        "r={nonce},s={salt},i=4096",  # adds nothing of its own
        "r=other,s={salt},i=4096",
        "r={nonce}x,s={salt},i=1",  # an easy one to guess passwords with
        "r={nonce}x,s={salt},i=99999999",
        "r={nonce}x,s={salt},i=" + "9" * 5000,
        "r={nonce}x,s={salt}",
        "r={nonce}x,s=,i=4096",
        "r={nonce}x,s=!!,i=4096",
        "m=x,r={nonce}x,s={salt},i=4096",
        "e=other-error",
        "",
        "\xff",
    ],
)
def test_bad_server_first_messages_are_refused(text: str) -> None:
    login, nonce = begun()
    salt = base64.b64encode(bytes(16)).decode()
    with pytest.raises(AuthenticationRefused):
        login.answer(request(11, text.format(nonce=nonce, salt=salt).encode("latin-1")))


def test_md5() -> None:
    login = Login(target(), VERIFIED)
    # md5(md5("correct-horse-Battery-9app") + "salt")
    expected = b"md5e5cd605b3cc7d82db5f5109fc59257ff\0"
    assert said(login.answer(request(5, b"salt"))) == expected
    login.answer(request(0))
    assert (login.finished, login.method) == (True, "md5")


def test_clear_text_goes_over_verified_tls() -> None:
    login = Login(target(), VERIFIED)
    assert said(login.answer(request(3))) == PASSWORD.encode() + b"\0"


@pytest.mark.parametrize("channel", [PLAIN, UNVERIFIED])
@pytest.mark.parametrize("methods", [None, frozenset({"password", "md5", "none"})])
def test_clear_text_never_goes_elsewhere(channel: Channel, methods: frozenset[str] | None) -> None:
    with pytest.raises(AuthenticationRefused, match="clear text"):
        Login(target(methods=methods), channel).answer(request(3))


@pytest.mark.parametrize("channel", [PLAIN, UNVERIFIED])
@pytest.mark.parametrize("offer", [request(0), request(5, b"salt")])
def test_an_unknown_server_must_prove_itself(channel: Channel, offer: bytes) -> None:
    with pytest.raises(AuthenticationRefused, match="require_auth"):
        Login(target(), channel).answer(offer)


@pytest.mark.parametrize("offer", [request(0), request(3), request(5, b"salt")])
def test_nothing_beside_what_the_entry_lists_is_done(offer: bytes) -> None:
    with pytest.raises(AuthenticationRefused):
        Login(target(methods=frozenset({"scram-sha-256"})), VERIFIED).answer(offer)


def test_what_the_entry_lists_is_done() -> None:
    Login(target(methods=frozenset({"md5"})), PLAIN).answer(request(5, b"salt"))
    trusting = Login(target(methods=frozenset({"none"})), PLAIN)
    trusting.answer(request(0))
    assert trusting.finished


def test_a_certificate_takes_the_passwords_place() -> None:
    login = Login(target(password="", certificate="c", key="k"), VERIFIED)
    login.answer(request(0))
    assert login.finished
    with pytest.raises(AuthenticationRefused, match="certificate only"):
        Login(target(password="", certificate="c", key="k"), VERIFIED).answer(request(3))


@pytest.mark.parametrize("code", [1, 2, 6, 7, 8, 9, 11, 12, 99, -1])
def test_other_methods_and_other_orders_are_refused(code: int) -> None:
    with pytest.raises(AuthenticationRefused):
        Login(target(), VERIFIED).answer(request(code, b"data"))


@pytest.mark.parametrize("after", [3, 5, 10])
def test_a_second_method_is_refused(after: int) -> None:
    login = Login(target(), VERIFIED)
    login.answer(request(5, b"salt"))
    with pytest.raises(AuthenticationRefused):
        login.answer(request(after, b"salt"))


@given(st.lists(st.tuples(st.sampled_from([0, 3, 5, 10, 11, 12]), st.binary(max_size=60))))
def test_no_unverified_server_gets_the_password_or_a_login_without_scram(
    script: list[tuple[int, bytes]],
) -> None:
    login = Login(target(), UNVERIFIED)
    sent, sentence = b"", ""
    try:
        for code, data in script:
            sent += login.answer(request(code, data)) or b""
    except AuthenticationRefused as error:
        sentence = str(error)
    assert not login.finished
    assert PASSWORD.encode() not in sent
    assert PASSWORD not in sentence


def test_nothing_shows_the_password() -> None:
    assert PASSWORD not in repr(target())
    assert PASSWORD not in repr(Login(target(), PLAIN))
