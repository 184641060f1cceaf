"""AWS's part of a session: AssumeRole, and revoking what a role's sessions may do.

Both are called with the entry's own keys, by the vault's botocore sessions: its upstreams, time
limits and bounds count here too.  They block; :mod:`keyless_sidecar.sessions.service` calls them in
threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from keyless_sidecar.placeholders import AwsKeys
from keyless_sidecar.vault import Entry, VaultError
from keyless_sidecar.vault.deadline import within
from keyless_sidecar.vault.session_options import SessionOptions
from keyless_sidecar.vault.surroundings import Surroundings

__all__ = ["REVOCATION", "Assumed", "assume", "revocation", "revoke"]

#: The name that AWS's own console gives to the policy.
REVOCATION = "AWSRevokeOlderSessions"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Assumed:
    """What STS gave.

    Attributes:
        keys: with their end.
        arn: of the session.
    """

    keys: AwsKeys = field(repr=False)
    arn: str


def assume(
    entry: Entry,
    options: SessionOptions,
    surroundings: Surroundings,
    *,
    name: str,
    seconds: int,
    policy: str,
) -> Assumed:
    """Assume the role that a person named for an entry.

    Args:
        entry: of kind ``aws``, with its values.
        options: of the entry.
        surroundings: network rules of the vault.
        name: role session name and source identity.
        seconds: how long the session is valid.
        policy: the session policy as JSON.

    Raises:
        VaultError: AWS doesn't give it; the message says why, without what others said.
    """
    request: dict[str, Any] = {
        "RoleArn": options.role_arn,
        "RoleSessionName": name,
        "DurationSeconds": seconds,
        "Policy": policy,
    }
    if options.source_identity:
        request["SourceIdentity"] = name
    if options.external_id:
        request["ExternalId"] = options.external_id

    def call(sts: Any) -> Assumed:
        answer = sts.assume_role(**request)
        given = answer["Credentials"]
        end = given["Expiration"]
        if not isinstance(end, datetime) or end.tzinfo is None:
            raise VaultError(f"{entry.name}: STS gave keys without an end")
        keys = AwsKeys(
            str(given["AccessKeyId"]),
            str(given["SecretAccessKey"]),
            str(given["SessionToken"]),
            end.astimezone(UTC),
        )
        return Assumed(keys, str(answer["AssumedRoleUser"]["Arn"]))

    return _asked(entry, surroundings, "sts", "assume the role", call)


def revocation(until: datetime) -> str:
    """The policy that takes everything from a role's sessions that began before a moment."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Deny",
                    "Action": ["*"],
                    "Resource": ["*"],
                    "Condition": {"DateLessThan": {"aws:TokenIssueTime": _moment(until)}},
                }
            ],
        }
    )


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def revoke(
    entry: Entry, options: SessionOptions, surroundings: Surroundings, until: datetime
) -> None:
    """Put that policy on the role.

    Raises:
        VaultError: AWS doesn't take it.
    """

    def call(iam: Any) -> None:
        iam.put_role_policy(
            RoleName=options.role_name, PolicyName=REVOCATION, PolicyDocument=revocation(until)
        )

    _asked(entry, surroundings, "iam", "revoke the role's sessions", call)


def _asked(
    entry: Entry, surroundings: Surroundings, service: str, what: str, call: Callable[[Any], _T]
) -> _T:
    # botocore is slow to import, hence late.
    from keyless_sidecar.vault.aws_session import AWS_TIMEOUT, keys_session, make_client, said

    def work() -> _T:
        session = keys_session(entry.name, entry.fields, surroundings)
        client = make_client(session, entry.name, service, entry.fields.get("region", "us-east-1"))
        try:
            return call(client)
        except VaultError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's parsers fail in any way on odd answers
            raise VaultError(f"{entry.name}: AWS doesn't {what}: {said(error)}") from None
        finally:
            client.close()

    return within(AWS_TIMEOUT, entry.name, work)
