"""Who may act: the user with the fresh key, and the sessions that STS hands out.

Owned by the front, which runs on one thread.  moto makes temporary credentials but forgets their
session policy; :meth:`Principals.learn` keeps it, so that a session can do no more than both the
identity's and the session's policy allow.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.credentials import Credentials

from keyless.localaws import policy
from keyless.localaws.faults import Fault, Refusal
from keyless.localaws.http import HttpResponse
from keyless.localaws.operations import Access, Call
from keyless.localaws.sigv4 import Claim

_FIELD = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration|Arn)>([^<&]*)</")
_SESSIONS = ("AssumeRole", "GetSessionToken", "GetFederationToken")


@dataclass(frozen=True)
class Principal:
    """Someone with a key.  ``repr`` shows no secret."""

    arn: str
    access_key_id: str
    secret: str
    token: str
    #: Policies of the user or role.
    identity: tuple[policy.Document, ...]
    #: Policies that a session narrows them with; ``None`` where it is no narrowed session.
    session: tuple[policy.Document, ...] | None = None
    expires: datetime | None = None
    #: When STS made the keys; ``None`` for those that don't end.
    issued: datetime | None = None
    #: ARN of the role, for a role's session.
    role: str = ""
    source_identity: str = ""
    #: The key that moto knows for this principal, where it is another one.
    known_as: Credentials | None = None

    def __repr__(self) -> str:
        return f"Principal({self.arn}, {self.access_key_id})"

    @property
    def upstream(self) -> Credentials:
        """What the front signs with towards moto."""
        return self.known_as or Credentials(self.access_key_id, self.secret, self.token or None)

    def may(self, access: Access) -> bool:
        """Whether its own policies allow an access."""
        if access.action == "sts:GetCallerIdentity":
            return True  # AWS answers this whatever the policies say
        documents = [self.identity] + ([self.session] if self.session is not None else [])
        return all(policy.allowed(part, access.action, access.resource) for part in documents)


class Principals:
    """The table of keys.

    Args:
        roles: policies of the roles that may be assumed, by ARN.
    """

    def __init__(self, roles: Mapping[str, policy.Document]) -> None:
        self._roles = dict(roles)
        self._by_key: dict[str, Principal] = {}
        #: Role → since when its sessions count: ``AWSRevokeOlderSessions``.
        self._revoked: dict[str, datetime] = {}

    def add(self, principal: Principal) -> None:
        """Let someone in."""
        self._by_key[principal.access_key_id] = principal

    def find(self, claim: Claim, now: datetime) -> Principal:
        """The principal behind a claimed key (the signature is checked afterwards).

        Raises:
            Refusal: no such key, or its session token is wrong or past.
        """
        principal = self._by_key.get(claim.access_key_id)
        if principal is None:
            raise Refusal(
                Fault.UNKNOWN_KEY, "The security token included in the request is invalid."
            )
        if not hmac.compare_digest(principal.token.encode(), claim.token.encode()):
            raise Refusal(Fault.BAD_TOKEN, "The session token is not that of the key.")
        if principal.expires and now >= principal.expires:
            raise Refusal(Fault.EXPIRED_TOKEN, "The security token has expired.")
        return principal

    def may(self, principal: Principal, access: Access) -> bool:
        """Whether an access is allowed: by the principal's policies, and by no revocation."""
        since = self._revoked.get(principal.role)
        revoked = since is not None and principal.issued is not None and principal.issued < since
        if revoked and access.action != "sts:GetCallerIdentity":
            return False
        return principal.may(access)

    def answer(self, call: Call) -> HttpResponse | None:
        """Do what moto can't: it knows no conditions about dates, and would deny everything.

        Returns:
            The answer, or ``None`` for all calls but a revocation of a role's sessions.
        """
        if (call.service, call.operation) != ("iam", "PutRolePolicy"):
            return None
        since = policy.revocation(call.form.get("PolicyDocument", ""))
        if since is None:
            return None
        role = next((r for r in self._roles if r.endswith(f"/{call.form.get('RoleName')}")), "")
        if not role:
            raise Refusal(Fault.DENIED, f"No such role: {call.form.get('RoleName', '')}")
        self._revoked[role] = since
        body = (
            '<PutRolePolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            "<ResponseMetadata><RequestId>local</RequestId></ResponseMetadata>"
            "</PutRolePolicyResponse>"
        )
        return HttpResponse(200, (("Content-Type", "text/xml"),), body.encode())

    def check(self, parent: Principal, call: Call) -> None:
        """Refuse what :meth:`learn` could not keep track of.

        Raises:
            Refusal: the session would be wider than asked for, or AWS allows no such session.
        """
        if call.service != "sts" or call.operation not in _SESSIONS:
            return
        if any(name.startswith("PolicyArns") for name in call.form):
            raise Refusal(Fault.UNSUPPORTED, "The local AWS knows no managed session policies.")
        _session_policy(call)
        if call.operation != "AssumeRole" and parent.token:
            raise Refusal(Fault.DENIED, f"Cannot call {call.operation} with session credentials")
        if call.operation == "AssumeRole" and call.form.get("RoleArn") not in self._roles:
            raise Refusal(Fault.DENIED, f"No such role: {call.form.get('RoleArn', '')}")

    def learn(self, parent: Principal, call: Call, body: bytes) -> bytes:
        """Keep the credentials that STS just made for ``parent``.

        Returns:
            The answer for the caller.  moto hands out the same example key in each session and
            federation token; a fresh one takes its place.
        """
        if call.service != "sts" or call.operation not in _SESSIONS:
            return body
        text = body.decode()
        assumed = call.operation == "AssumeRole"
        if not assumed:
            for name, value in _fresh_key().items():
                text = re.sub(f"<{name}>[^<]*</", f"<{name}>{value}</", text)
        fields = dict(_FIELD.findall(text))
        try:
            expires = datetime.fromisoformat(fields["Expiration"]).astimezone(UTC)
            key, secret = fields["AccessKeyId"], fields["SecretAccessKey"]
            token = fields["SessionToken"]
        except (KeyError, ValueError) as error:
            raise Refusal(Fault.UNREACHABLE, f"moto's answer has no credentials: {error}") from None
        session = _session_policy(call)
        if call.operation == "GetFederationToken" and session is None:
            session = ()  # a federated user without a session policy may do nothing
        self.add(
            Principal(
                arn=fields.get("Arn", parent.arn),
                access_key_id=key,
                secret=secret,
                token=token,
                identity=(self._roles[call.form["RoleArn"]],) if assumed else parent.identity,
                session=session,
                expires=expires,
                issued=datetime.now(UTC),
                role=call.form["RoleArn"] if assumed else parent.role,
                # once set, it stays with all sessions that are made from this one
                source_identity=parent.source_identity or call.form.get("SourceIdentity", ""),
                # moto knows the keys of assumed roles, but not of the other two kinds of session
                known_as=None if assumed else parent.upstream,
            )
        )
        return text.encode()


def _fresh_key() -> dict[str, str]:
    """Temporary credentials in AWS's shape, by the names of the answer's elements."""
    letters = string.ascii_uppercase + string.digits

    def chosen(alphabet: str, count: int) -> str:
        return "".join(secrets.choice(alphabet) for _ in range(count))

    return {
        "AccessKeyId": "ASIA" + chosen(letters, 16),
        "SecretAccessKey": chosen(string.ascii_letters + string.digits + "+/", 40),
        "SessionToken": chosen(string.ascii_letters + string.digits + "+/", 300),
    }


def _session_policy(call: Call) -> tuple[policy.Document, ...] | None:
    text = call.form.get("Policy")
    if not text:
        return None
    try:
        return (policy.check_document(json.loads(text)),)
    except ValueError as error:
        raise Refusal(Fault.UNSUPPORTED, f"The session policy can't be used: {error}.") from None
