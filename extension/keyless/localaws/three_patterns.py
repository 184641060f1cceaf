"""A Jupyter in which one Lambda can be deployed by each of the patterns.

Used by ``notebooks/02-three-patterns.ipynb`` and by the measurements of ``docs/patterns.md``.  It
is a person's configuration with everything switched on that is off by default: temporary
credentials, and a tool that holds its key itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keyless.localaws.policy import Document
from keyless.localaws.private_jupyter import PrivateJupyter
from keyless.localaws.server import LocalAws
from keyless.localaws.setup import role_arn

__all__ = ["FUNCTION", "LAMBDA", "POLICY", "ROLE", "USER", "configure", "local_aws"]

FUNCTION = "greeter"
#: Whose sessions cells may have.
ROLE = "deployer"

#: What that role may.
LAMBDA: Document = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}],
}
#: What the person's user may.
USER: Document = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["sts:GetCallerIdentity", "sts:AssumeRole", "sts:SetSourceIdentity"],
            "Resource": "*",
        },
        {"Effect": "Allow", "Action": "iam:PutRolePolicy", "Resource": role_arn(ROLE)},
    ],
}
#: What this person allows.  The built-in policy asks for most of it.
POLICY = """\
@id("deploy")
permit (
  principal,
  action in [Action::"aws:lambda", Action::"aws:sts"],
  resource
)
when { context.exposure == "" };

@id("tools")
permit (principal, action == Action::"exec", resource);

@id("sessions")
permit (principal, action == Action::"session", resource == Credential::"deploy");
"""


def local_aws() -> LocalAws:
    """An AWS whose user may deploy functions, and take the role that does so."""
    return LocalAws(user_policy=USER, roles={ROLE: LAMBDA})


def configure(
    jupyter: PrivateJupyter,
    workspace: Path | None,
    aws: LocalAws,
    *,
    policy: str = POLICY,
    more: str = "",
    tools: Sequence[str] = (),
) -> None:
    """Write configuration, policy and vault.

    Args:
        jupyter: private folders.
        workspace: that kernels work in; ``None`` gives each a fresh one of its own.
        aws: running.
        policy: text of ``policy.cedar``.
        more: further lines of the configuration.
        tools: further ones that may use the key by proxy.
    """
    session = {"role_arn": role_arn(ROLE), "to": ["kernel"], "revoke": True}
    jupyter.configure(
        workspace,
        aws.endpoint,
        policy=policy,
        more=(
            'c.Tools.declared = {"aws-held": {"rules": "aws", "delivery": "env"}}\n'
            f'c.Vault.sessions = {{"deploy": {session!r}}}\n' + more
        ),
    )
    key = (aws.access_key_id, aws.secret_access_key, aws.region)
    jupyter.store_aws_key(*key, name="deploy", tools=["aws", "sdk", "kernel", *tools])
    jupyter.store_aws_key(*key, name="held", tools=["aws-held"], delivery="env")
