"""Where an AWS operation's answer holds secrets: decided from botocore's models.  No I/O.

`capture` asks it which members of an answer to replace.  Three kinds are found:

- AWS credentials: a structure with a key id and a secret key, of whatever operation (STS, SSO,
  Cognito, Lake Formation, S3 access grants, new IAM keys, …).  The model is searched, so a new
  operation that hands out credentials is captured without being listed here.
- other secrets with a telling name (``SecretString``, ``authorizationToken``, ``DbPassword``,
  ``KeyMaterial``, KMS's ``Plaintext``), and a few that are listed since their name says nothing.
- parameters of Systems Manager, where the answer says that they are a ``SecureString``.

Not captured, with reason: random numbers and passwords (they open nothing), ``PasswordData`` of EC2
(encrypted for a key pair), presigned URLs (signed by no key of ours, so the proxy refuses them, and
the sanitizer hides them), and what services keep as free configuration (environments of functions
and containers, user data, templates): the policy's ``exposure`` says so, and denies it by default.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.model import OperationModel, Shape

from keyless_sidecar.placeholders import AwsKeys

__all__ = ["Found", "FoundKeys", "FoundText", "find", "may_hold"]

_KEY_ID = re.compile(r"(aws)?accesskeyid")
_SECRET_KEY = re.compile(r"(aws)?(secretaccesskey|secretkey)")
_SESSION = re.compile(r"(aws)?(sessiontoken|securitytoken)")
_EXPIRES = re.compile(r"expir(ation|ationtime|es|esat|y|ydate)")
_TEXT = re.compile(
    r"(secretaccesskey|sessiontoken|securitytoken|accesstoken|refreshtoken|idtoken|bearertoken|"
    r"authtoken|authorizationtoken|authenticationtoken|identitytoken|jointoken|participanttoken|"
    r"logintoken|clitoken|webtoken|tokenvalue|streamkey|privatekey|privatekeybase64|"
    r"privatekeyplaintext|keymaterial|presharedkey|sharedsecret|clientsecret|secretstring|"
    r"secretbinary|secretkey|accesskey|appskey|apikey|apisecret|password|passphrase|authcode|"
    r"plaintext|oauthtoken|credentialsecret|clientsecretvalue|secretvalue|secretcode|issuedtoken|"
    r"webhooksecret|mackey|basicauthcredentials|secrettoauthenticate(initiator|target)|"
    r"base32stringseed|qrcodepng|devicespecifickey)$|^secret$"
)
#: Services print stars instead of these, or take them in only.
_NO_SECRET = re.compile(
    r"(masteruserpassword|fsxadminpassword|randompassword|publickeymaterial|wrappedkeymaterial|"
    r"webidentitytoken\w+|tokenvaluetype)$"
)
_NOT_CAPTURED = frozenset(
    {
        "kms:GenerateRandom",  # opens nothing
        "quicksight:*",  # its PlainText is text of a dashboard
        "securityhub:GetFindings",  # a copy of a resource's description, keys left out
    }
)
#: Members whose name alone says nothing.
_LISTED: Mapping[str, frozenset[str]] = {
    "apigateway:CreateApiKey": frozenset({"value"}),
    "apigateway:GetApiKey": frozenset({"value"}),
    "apigateway:GetApiKeys": frozenset({"value"}),
    "apigateway:UpdateApiKey": frozenset({"value"}),
    "appsync:CreateApiKey": frozenset({"id"}),
    "appsync:ListApiKeys": frozenset({"id"}),
    "appsync:UpdateApiKey": frozenset({"id"}),
    "ivs:BatchGetStreamKey": frozenset({"value"}),
    "ivs:CreateChannel": frozenset({"value"}),
    "ivs:CreateStreamKey": frozenset({"value"}),
    "ivs:GetStreamKey": frozenset({"value"}),
    "lambda-microvms:CreateMicrovmAuthToken": frozenset({"authToken"}),
    "lambda-microvms:CreateMicrovmShellAuthToken": frozenset({"authToken"}),
    "location:CreateKey": frozenset({"Key"}),
    "location:DescribeKey": frozenset({"Key"}),
    "sts:GetWebIdentityToken": frozenset({"WebIdentityToken"}),
}
#: Parameters of Systems Manager say themselves whether they are secret.
_PARAMETERS = frozenset(
    {"ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath"}
)
_PAIRED = frozenset({"ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken"})


@dataclass(frozen=True)
class FoundKeys:
    """AWS credentials in an answer, and the names under which each part stands on the wire."""

    keys: AwsKeys
    id_name: str
    secret_name: str
    token_name: str


@dataclass(frozen=True)
class FoundText:
    """A secret text in an answer.

    Attributes:
        name: its name on the wire.
        value: the secret itself.
        wire: how it stands on the wire.
        form: ``text``, ``base64`` (a blob), or ``pair`` (base64 of ``user:value``).
    """

    name: str
    value: str = field(repr=False)
    wire: str = field(repr=False)
    form: str = "text"

    def written(self, placeholder: str) -> str:
        """The placeholder, written on the wire as the secret is."""
        if self.form == "text":
            return placeholder
        before = ""
        if self.form == "pair":
            before = base64.b64decode(self.wire).decode().partition(":")[0] + ":"
        return base64.b64encode((before + placeholder).encode()).decode()


Found = FoundKeys | FoundText


def may_hold(service: str, model: OperationModel) -> bool:
    """Whether an operation's answer may hold something that must be captured."""
    if _excluded(service, model.name) or model.output_shape is None:
        return False
    full = f"{service}:{model.name}"
    return full in _PARAMETERS or full in _LISTED or _reaches(model.output_shape)


def find(service: str, model: OperationModel, answer: Mapping[str, Any]) -> list[Found]:
    """The secrets in an answer, as botocore has parsed it."""
    if _excluded(service, model.name) or model.output_shape is None:
        return []
    found: list[Found] = []
    _walk(f"{service}:{model.name}", model.output_shape, answer, found)
    return found


def _excluded(service: str, operation: str) -> bool:
    return f"{service}:{operation}" in _NOT_CAPTURED or f"{service}:*" in _NOT_CAPTURED


def _walk(operation: str, shape: Shape, value: Any, found: list[Found]) -> None:
    if shape.type_name == "list" and isinstance(value, list):
        for item in value:
            _walk(operation, shape.member, item, found)
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, str) and _telling(name, shape.value):
                found.append(FoundText(name, item, item))
            _walk(operation, shape.value, item, found)
    elif shape.type_name == "structure" and isinstance(value, Mapping):
        keys = _keys_of(shape)
        taken: set[str] = set()
        if keys is not None:
            triple = _credentials(shape, keys, value)
            if triple is not None:
                found.append(triple)
                taken = {name for name in keys if name}
        for name, member in shape.members.items():
            item = value.get(name)
            if item is None or name in taken:
                continue
            if isinstance(item, str | bytes | bytearray):
                if _is_secret(operation, name, member, value) and item and set(item) != {"*"}:
                    found.append(_text(operation, _wire_name(name, member), item))
            elif name in _LISTED.get(operation, frozenset()) and isinstance(item, Mapping):
                found += [FoundText(k, v, v) for k, v in item.items() if isinstance(v, str)]
            else:
                _walk(operation, member, item, found)


def _is_secret(operation: str, name: str, member: Shape, parent: Mapping[str, Any]) -> bool:
    if operation in _PARAMETERS:
        return name == "Value" and parent.get("Type", "SecureString") == "SecureString"
    return name in _LISTED.get(operation, frozenset()) or _telling(name, member)


def _telling(name: str, shape: Shape) -> bool:
    key = _plain(name)
    if shape.type_name not in ("string", "blob") or getattr(shape, "enum", None):
        return False
    if key == "token":
        return bool(shape.metadata.get("sensitive"))  # many tokens are page marks
    return _TEXT.search(key) is not None and _NO_SECRET.search(key) is None


def _text(operation: str, name: str, item: str | bytes | bytearray) -> FoundText:
    if not isinstance(item, str):
        wire = base64.b64encode(bytes(item)).decode()
        # Bytes that are no text: their base64 is what is kept, and looked for.
        try:
            return FoundText(name, bytes(item).decode(), wire, "base64")
        except UnicodeDecodeError:
            return FoundText(name, wire, wire, "base64")
    if operation in _PAIRED:
        try:
            password = base64.b64decode(item, validate=True).decode().partition(":")[2]
        except ValueError:
            password = ""
        if password:
            return FoundText(name, password, item, "pair")
    return FoundText(name, item, item)


def _credentials(
    shape: Shape, keys: tuple[str, str, str, str], value: Mapping[str, Any]
) -> FoundKeys | None:
    key_id, secret, token, expires = keys
    if not value.get(key_id) or not value.get(secret):
        return None
    real = AwsKeys(
        str(value[key_id]),
        str(value[secret]),
        str(value.get(token) or "") if token else "",
        _time(value.get(expires)) if expires else None,
    )
    names = [_wire_name(name, shape.members[name]) if name else "" for name in keys[:3]]
    return FoundKeys(real, *names)


def _keys_of(shape: Shape) -> tuple[str, str, str, str] | None:
    """The members for id, secret, token and end of credentials; None where it holds none."""
    members = [(_plain(name), name) for name in shape.members]

    def named(pattern: re.Pattern[str]) -> str:
        return next((name for plain, name in members if pattern.fullmatch(plain)), "")

    key_id, secret = named(_KEY_ID), named(_SECRET_KEY)
    return (key_id, secret, named(_SESSION), named(_EXPIRES)) if key_id and secret else None


@functools.lru_cache(maxsize=512)
def _reaches(shape: Shape) -> bool:
    stack, seen = [shape], set()
    while stack:
        current = stack.pop()
        if current.name in seen:
            continue
        seen.add(current.name)
        if current.type_name == "structure":
            if _keys_of(current) or any(_telling(n, m) for n, m in current.members.items()):
                return True
            stack += current.members.values()
        elif current.type_name == "list":
            stack.append(current.member)
        elif current.type_name == "map":
            stack.append(current.value)
    return False


def _wire_name(name: str, member: Shape) -> str:
    return str(member.serialization.get("name", name))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and value > 0:
        # SSO counts milliseconds; no time in seconds has that many digits.
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    return None
