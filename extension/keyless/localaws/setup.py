"""What the local AWS holds at its start: one user with one policy and a fresh key, one bucket.

Called by ``server.py`` while moto's authentication is still off; :func:`prepare` switches it on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import boto3
import urllib3
from botocore.config import Config
from botocore.session import Session as CoreSession

from keyless.localaws import policy

#: moto's account.
ACCOUNT = "123456789012"
REGION = "us-east-1"
USER = "lambda-deployer"
ROLE = "lambda-run"


def default_policy(bucket: str) -> policy.Document:
    """Lambda, one bucket, and who am I."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Lambda", "Effect": "Allow", "Action": "lambda:*", "Resource": "*"},
            {
                "Sid": "OneBucket",
                "Effect": "Allow",
                "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            },
            {
                "Sid": "WhoAmI",
                "Effect": "Allow",
                "Action": "sts:GetCallerIdentity",
                "Resource": "*",
            },
        ],
    }


@dataclass(frozen=True)
class Prepared:
    """The fresh user.  ``repr`` shows no secret."""

    arn: str
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"Prepared({self.arn}, {self.access_key_id})"


def prepare(
    url: str,
    front_secret: str,
    *,
    bucket: str,
    user_policy: policy.Document,
    roles: Mapping[str, policy.Document],
) -> Prepared:
    """Make user, policies, roles, key and bucket in a new moto, then switch authentication on.

    Args:
        url: moto's own address.
        front_secret: what moto asks of each request.
        bucket: name of the bucket that exists; a second one, ``<bucket>-private``, is there to be
            refused.
        user_policy: the user's only policy.
        roles: policies of the roles that the user may assume, by role name.
    """
    core = CoreSession()
    core.set_config_variable("profile", None)
    session = boto3.Session("setup", "setup", region_name=REGION, botocore_session=core)

    def add_secret(request: object, **_: object) -> None:
        request.headers["X-Keyless-Front"] = front_secret  # type: ignore[attr-defined]

    session.events.register("before-send.*", add_secret)
    config = Config(
        retries={"max_attempts": 0}, s3={"addressing_style": "path"}, proxies={}, read_timeout=30
    )
    iam = session.client("iam", endpoint_url=url, config=config)
    s3 = session.client("s3", endpoint_url=url, config=config)
    try:
        arn = iam.create_user(UserName=USER)["User"]["Arn"]
        iam.put_user_policy(
            UserName=USER, PolicyName="keyless", PolicyDocument=json.dumps(user_policy)
        )
        _role(iam, ROLE, {"Service": "lambda.amazonaws.com"}, None)
        for name, document in roles.items():
            _role(iam, name, {"AWS": arn}, document)
        key = iam.create_access_key(UserName=USER)["AccessKey"]
        for name in (bucket, f"{bucket}-private"):
            s3.create_bucket(Bucket=name)
    finally:
        iam.close()
        s3.close()
    with urllib3.PoolManager() as pool:
        answer = pool.request(
            "POST",
            f"{url}/moto-api/reset-auth",
            body=b"0",
            headers={"X-Keyless-Front": front_secret},
        )
    if answer.status != 200:
        raise RuntimeError(f"moto didn't switch authentication on (HTTP {answer.status})")
    return Prepared(str(arn), str(key["AccessKeyId"]), str(key["SecretAccessKey"]))


def role_arn(name: str) -> str:
    """The ARN of a role of the local account."""
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def _role(
    iam: object, name: str, principal: Mapping[str, str], document: policy.Document | None
) -> None:
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
    }
    iam.create_role(  # type: ignore[attr-defined]
        RoleName=name, AssumeRolePolicyDocument=json.dumps(trust)
    )
    if document is not None:
        iam.put_role_policy(  # type: ignore[attr-defined]
            RoleName=name, PolicyName="keyless", PolicyDocument=json.dumps(document)
        )
