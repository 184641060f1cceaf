"""Which AWS operations hand out secrets, or change who may do what.  Decided from the models.

While answers that carry credentials aren't captured, such operations are refused unless a person
names them in ``allow_operations``.  The models mark sensitive members of answers; what they forget
is found by the members' names, and a short list holds what neither shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from botocore.model import OperationModel, Shape

from keyless_sidecar.tools.aws_operations import is_mutating

__all__ = ["changes_access", "exposed_member", "exposure_of", "guarded_members"]

#: Sensitive to the models, but no key to anything: identifiers, names, addresses, free text; and
#: passwords that the services themselves mask.
_HARMLESS = re.compile(
    r"(arn|id|ids|name|names|description|comment|comments|email|emails|username|usernames|type|"
    r"status|statusmessage|message|title|ipaddress|phonenumber|phonenumbers|address|masterkeyid|"
    r"encryptioncontext|nexttoken|ownerinformation|contacts|kmskeyarn|tags|"
    r"masteruserpassword|fsxadminpassword|initquery)$"
)
#: Secret whatever the model says.
_SECRET = re.compile(
    r"(secretaccesskey|sessiontoken|securitytoken|accesstoken|refreshtoken|idtoken|bearertoken|"
    r"authtoken|authorizationtoken|authenticationtoken|identitytoken|jointoken|participanttoken|"
    r"logintoken|clitoken|webtoken|tokenvalue|streamkey|streamkeys|privatekey|privatekeybase64|"
    r"keymaterial|presharedkey|sharedsecret|clientsecret|secretstring|secretbinary|secretkey|"
    r"accesskey|appskey|apikey|apisecret|password|passphrase|authcode|presignedurl|signedurl|"
    r"presignedlogurl|authorizedurl|streamingurl|embedurl|downloadurl|userdata|templatebody|"
    r"environmentvariables|optionsettings|containerdefinitions)$"
    r"|^(secret|environment|variables|envvars)$"
)
#: ``environment`` and the like are secret as a map or list of values, not as a name.
_COLLECTIONS = frozenset({"environment", "variables", "envvars", "optionsettings"})
#: Structures count too for these: EC2 wraps user data in one.
_WRAPPED = frozenset({"userdata"})

#: Answers that hold secrets under names that say nothing.
_EXPOSING = frozenset(
    {
        "apigateway:CreateApiKey",
        "apigateway:GetApiKey",
        "apigateway:GetApiKeys",
        "apigateway:UpdateApiKey",
        "appsync:CreateApiKey",
        "appsync:ListApiKeys",
        "appsync:UpdateApiKey",
        "datapipeline:GetPipelineDefinition",
        "ec2:DescribeInstanceAttribute",
        "ec2:GetConsoleOutput",
        "ec2:GetConsoleScreenshot",
        "emr:ListSteps",
        "emr:DescribeStep",
        "glue:BatchGetJobs",
        "glue:GetConnection",
        "glue:GetConnections",
        "glue:GetDevEndpoint",
        "glue:GetDevEndpoints",
        "glue:GetJob",
        "glue:GetJobRun",
        "glue:GetJobRuns",
        "glue:GetJobs",
        "lambda:GetLayerVersion",
        "lambda:GetLayerVersionByArn",
        "lightsail:DownloadDefaultKeyPair",
        "lightsail:GetRelationalDatabaseMasterUserPassword",
        "secretsmanager:BatchGetSecretValue",
        "secretsmanager:GetSecretValue",
        "ssm:GetParameter",
        "ssm:GetParameterHistory",
        "ssm:GetParameters",
        "ssm:GetParametersByPath",
        "wafv2:CreateAPIKey",
        "wafv2:GetDecryptedAPIKey",
        "wafv2:ListAPIKeys",
    }
)
#: Flagged by the model, and allowed all the same.  A function's own configuration is part of its
#: deployment: it shows that function's environment variables.
_ALLOWED = frozenset(
    {
        "bedrock-runtime:ApplyGuardrail",
        "bedrock-runtime:Converse",
        "bedrock-runtime:InvokeModel",
        "lambda:CreateFunction",
        "lambda:GetFunctionConfiguration",
        "lambda:Invoke",
        "lambda:PublishVersion",
        "lambda:UpdateFunctionCode",
        "lambda:UpdateFunctionConfiguration",
    }
)

#: Services that are about who may do what: only reading is allowed.
_IDENTITY = frozenset(
    {"account", "iam", "identitystore", "organizations", "ram", "rolesanywhere", "sso-admin"}
)
_IDENTITY_READS = ("Get", "List", "Describe", "Simulate", "Generate", "BatchGet")
#: Changes that let others in, by name.
_SHARING = re.compile(
    r"(Put|Set|Add|Attach|Create|Update|Modify|Authorize|Associate|Grant|Enable|Replace)\w*"
    r"(?:(?<!Scaling)(?<!Lifecycle)(?<!Retention)(?<!Traffic)(?<!Stickiness)(?<!Cache)"
    r"(?<!Request)(?<!Headers)(?<!Backup)(?<!Replication)(?<!Data)Policy|Permissions?|Acl|ACL|"
    r"Grants?|Share|Shares|Sharing|CrossAccountAttachment)"
)
_SHARING_NAMES = frozenset(
    {
        "ec2:ModifyFpgaImageAttribute",
        "ec2:ModifyImageAttribute",
        "ec2:ModifySnapshotAttribute",
        "ec2-instance-connect:SendSSHPublicKey",
        "ec2-instance-connect:SendSerialConsoleSSHPublicKey",
        "docdb:ModifyDBClusterSnapshotAttribute",
        "kms:CreateGrant",
        "kms:ReplicateKey",
        "lambda:CreateFunctionUrlConfig",
        "lambda:UpdateFunctionUrlConfig",
        "logs:PutSubscriptionFilter",
        "neptune:ModifyDBClusterSnapshotAttribute",
        "rds:ModifyDBClusterSnapshotAttribute",
        "rds:ModifyDBSnapshotAttribute",
        "redshift:AuthorizeDataShare",
        "redshift:AuthorizeEndpointAccess",
        "redshift:AuthorizeSnapshotAccess",
        "s3:DeletePublicAccessBlock",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketReplication",
        "s3:PutPublicAccessBlock",
        "s3control:DeletePublicAccessBlock",
        "s3control:PutPublicAccessBlock",
        "sns:SetTopicAttributes",
        "sqs:SetQueueAttributes",
    }
)

#: Answers whose secret is a credential to AWS, or to a service that takes AWS's word for it.
_CREDENTIALS = re.compile(
    r"sts:(?!GetCallerIdentity|GetAccessKeyInfo|DecodeAuthorizationMessage)\w+|"
    r"iam:Create(AccessKey|ServiceSpecificCredential|LoginProfile)|"
    r"iam:ResetServiceSpecificCredential|"
    r"sso:GetRoleCredentials|s3:CreateSession|s3control:GetDataAccess|"
    r"ecr(-public)?:GetAuthorizationToken|codeartifact:GetAuthorizationToken|"
    r"redshift:Get(ClusterCredentials|ClusterCredentialsWithIAM|IdentityCenterAuthToken)|"
    r"redshift-serverless:GetCredentials|"
    r"cognito-identity:Get(CredentialsForIdentity|OpenIdToken|OpenIdTokenForDeveloperIdentity)|"
    r"(sso-oidc|signin):CreateToken\w*|"
    r"gamelift:(GetComputeAccess|GetInstanceAccess|RequestUploadCredentials)|"
    r"connect:GetFederationToken|ssm:(GetAccessToken|StartSession|ResumeSession)"
)
_CREDENTIAL_MEMBERS = re.compile(r"(?i)(secretaccesskey|sessiontoken|securitytoken|credentials)$")


def exposed_member(service: str, model: OperationModel) -> str:
    """The part of an operation's answer that may hold a secret.

    Args:
        service: name of the service model.
        model: the operation.

    Returns:
        The member's name; ``""`` where the answer holds none.
    """
    full = f"{service}:{model.name}"
    if full in _ALLOWED:
        return ""
    if full in _EXPOSING:
        return "stored values"
    for name, shape in _reachable(model.output_shape):
        key = re.sub(r"[^a-z0-9]", "", name.lower())
        if shape.metadata.get("sensitive"):
            if not _HARMLESS.search(key):
                return name
        elif _SECRET.search(key) and _holds_text(key, shape):
            return name
    return ""


def changes_access(service: str, model: OperationModel) -> bool:
    """Whether an operation changes identities, permissions, or what others may reach."""
    if service in _IDENTITY:
        return not model.name.startswith(_IDENTITY_READS)
    if f"{service}:{model.name}" in _SHARING_NAMES:
        return True
    return is_mutating(model) and _SHARING.fullmatch(model.name) is not None


def exposure_of(service: str, model: OperationModel) -> str:
    """What an operation gives away, in the policy's word for it.

    Args:
        service: name of the service model.
        model: the operation.

    Returns:
        ``credentials`` (its answer holds some), ``secrets`` (its answer may hold some), ``iam`` (it
        changes who may do what), or ``""``.
    """
    if _CREDENTIALS.fullmatch(f"{service}:{model.name}"):
        return "credentials"
    member = exposed_member(service, model)
    if member:
        return "credentials" if _CREDENTIAL_MEMBERS.search(member) else "secrets"
    return "iam" if changes_access(service, model) else ""


def guarded_members(service: str, model: OperationModel) -> frozenset[str]:
    """Input members that must be seen on the command line, because their value decides.

    S3's canned access lists and grants, the source of a copy, and the capabilities with which a
    stack makes roles.
    """
    if model.input_shape is None:
        return frozenset()
    members = model.input_shape.members
    if service == "cloudformation":
        return frozenset({"Capabilities"} & set(members))
    if service != "s3":
        return frozenset()
    return frozenset(
        member
        for member in members
        if member in ("ACL", "CopySource") or member.startswith("Grant")
    )


def _holds_text(key: str, shape: Shape) -> bool:
    """Whether a member of a secret's name is one that holds values."""
    kind = shape.type_name
    if key in _COLLECTIONS:
        return kind in ("map", "list")
    return kind in ("string", "blob", "map", "list") or (key in _WRAPPED and kind == "structure")


def _reachable(shape: Shape | None) -> Iterator[tuple[str, Shape]]:
    """All members of an answer with their names, at any depth, each shape once."""
    stack = [shape] if shape is not None else []
    seen = set()
    while stack:
        current = stack.pop()
        if current.name in seen:
            continue
        seen.add(current.name)
        children: list[tuple[str, Shape]] = []
        if current.type_name == "structure":
            children = list(current.members.items())
        elif current.type_name == "list":
            children = [(current.name, current.member)]
        elif current.type_name == "map":
            children = [(current.name, current.value)]
        yield from children
        stack += [child for _, child in children]
