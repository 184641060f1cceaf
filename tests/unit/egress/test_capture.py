"""Answers that carry credentials leave with placeholders only."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import pytest
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from keyless_sidecar.egress.aws.capture import CaptureError, can_capture, rewrite
from keyless_sidecar.egress.aws.secrets_in_answers import may_hold
from keyless_sidecar.placeholders import Binding, PlaceholderBook, is_placeholder
from keyless_sidecar.vault import EntryInfo

LOADER = Loader()
ID = "ASIAQ7ZK3M9XW2V5TB8N"
SECRET = "Zt8mQ1xV4kW7rB2nL9cY6hJ3pD5sF0gAeR1uI2oP"
TOKEN = "IQoJb3JpZ2luX2VjEJz" + "k8Fh2Lm9Qw4Rt7Yz" * 12 + "+/=="
END = "2026-01-01T12:00:00Z"


def model(service: str, operation: str) -> OperationModel:
    loaded = ServiceModel(LOADER.load_service_model(service, "service-2"), service)
    return loaded.operation_model(operation)


class Taken:
    """A rewritten answer with the book that took its secrets."""

    def __init__(
        self, service: str, operation: str, body: bytes | str, protocol: str = "", status: int = 200
    ) -> None:
        self.model = model(service, operation)
        self.protocol = protocol or str(self.model.service_model.metadata["protocol"])
        self.book = PlaceholderBook(lambda: datetime(2025, 6, 1, tzinfo=UTC))
        keys = self.book.for_entry(EntryInfo("prod", "aws", ("aws",), "env", "memory"))
        parent = self.book.find(keys.access_key_id)
        assert parent is not None
        self.body = rewrite(
            service,
            self.model,
            self.protocol,
            body if isinstance(body, bytes) else body.encode(),
            book=self.book,
            parent=parent,
            status=status,
        )

    @property
    def parsed(self) -> dict[str, Any]:
        answer: dict[str, Any] = create_parser(self.protocol).parse(
            {"status_code": 200, "headers": {}, "body": self.body}, self.model.output_shape
        )
        return answer

    def binding(self, key_id: str) -> Binding:
        found = self.book.find(key_id)
        assert found is not None
        return found


def triple() -> str:
    return (
        f"<Credentials><AccessKeyId>{ID}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
        f"<SessionToken>{escape(TOKEN)}</SessionToken><Expiration>{END}</Expiration></Credentials>"
    )


def test_an_assumed_role() -> None:
    taken = Taken(
        "sts",
        "AssumeRole",
        '<?xml version="1.0"?>\n'
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
        f"{triple()}<AssumedRoleUser><AssumedRoleId>AROA:me</AssumedRoleId>"
        "<Arn>arn:aws:sts::1:assumed-role/r/me</Arn></AssumedRoleUser></AssumeRoleResult>"
        "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>",
    )
    assert taken.body.startswith(b'<?xml version="1.0"?>\n<AssumeRoleResponse xmlns=')
    found = taken.parsed["Credentials"]
    binding = taken.binding(found["AccessKeyId"])
    assert binding.placeholder.secret_access_key == found["SecretAccessKey"]
    assert binding.placeholder.session_token == found["SessionToken"]
    assert binding.placeholder.expires == found["Expiration"]
    assert binding.real is not None
    assert binding.real.values() == [ID, SECRET, TOKEN]
    assert binding.entry == "prod"
    assert taken.parsed["AssumedRoleUser"]["Arn"] == "arn:aws:sts::1:assumed-role/r/me"
    for value in (ID, SECRET, TOKEN):
        assert value.encode() not in taken.body


def test_a_new_access_key_has_no_token_and_no_end() -> None:
    taken = Taken(
        "iam",
        "CreateAccessKey",
        '<CreateAccessKeyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        "<CreateAccessKeyResult><AccessKey><UserName>u</UserName>"
        f"<AccessKeyId>AKIAQ7ZK3M9XW2V5TB8N</AccessKeyId><Status>Active</Status>"
        f"<SecretAccessKey>{SECRET}</SecretAccessKey><CreateDate>{END}</CreateDate></AccessKey>"
        "</CreateAccessKeyResult></CreateAccessKeyResponse>",
    )
    key = taken.parsed["AccessKey"]
    binding = taken.binding(key["AccessKeyId"])
    assert key["AccessKeyId"].startswith("AKIAKEYLESS")
    assert (binding.placeholder.expires, binding.placeholder.session_token) == (None, "")
    assert key["UserName"] == "u"


@pytest.mark.parametrize(
    ("service", "operation", "body", "path"),
    [
        (
            "sso",
            "GetRoleCredentials",
            {
                "roleCredentials": {
                    "accessKeyId": ID,
                    "secretAccessKey": SECRET,
                    "sessionToken": TOKEN,
                    "expiration": 1767268800000,
                }
            },
            ("roleCredentials", "accessKeyId"),
        ),
        (
            "cognito-identity",
            "GetCredentialsForIdentity",
            {
                "IdentityId": "eu-west-1:x",
                "Credentials": {
                    "AccessKeyId": ID,
                    "SecretKey": SECRET,
                    "SessionToken": TOKEN,
                    "Expiration": 1767268800.0,
                },
            },
            ("Credentials", "AccessKeyId"),
        ),
    ],
)
def test_credentials_in_json(
    service: str, operation: str, body: dict[str, Any], path: tuple[str, str]
) -> None:
    taken = Taken(service, operation, json.dumps(body))
    answer = json.loads(taken.body)
    binding = taken.binding(answer[path[0]][path[1]])
    assert binding.real is not None
    assert binding.real.values() == [ID, SECRET, TOKEN]
    assert binding.placeholder.expires == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert SECRET.encode() not in taken.body


def test_s3s_session_is_captured() -> None:
    taken = Taken("s3", "CreateSession", f"<CreateSessionResult>{triple()}</CreateSessionResult>")
    assert taken.parsed["Credentials"]["AccessKeyId"].startswith("ASIAKEYLESS")


def test_escapes_do_not_hide_a_value() -> None:
    odd = 'a"b\\c\u00e9\n<&>' + SECRET
    told = json.dumps({"SecretString": odd, "Name": "n"}).replace("S", "\\u0053")
    taken = Taken("secretsmanager", "GetSecretValue", told)
    assert taken.parsed["Name"] == "n"
    assert is_placeholder(taken.parsed["SecretString"])
    assert taken.book.captured_values() == [("prod", odd.encode())]
    xml = Taken(
        "iam",
        "CreateServiceSpecificCredential",
        "<R><CreateServiceSpecificCredentialResult><ServiceSpecificCredential>"
        f"<ServicePassword>a&lt;&#x26;b{SECRET}</ServicePassword>"
        "<ServiceUserName>u&amp;v</ServiceUserName></ServiceSpecificCredential>"
        "</CreateServiceSpecificCredentialResult></R>",
    )
    credential = xml.parsed["ServiceSpecificCredential"]
    assert credential["ServiceUserName"] == "u&v"
    assert is_placeholder(credential["ServicePassword"])


def test_a_secret_value_that_is_short_is_taken_too() -> None:
    taken = Taken("secretsmanager", "GetSecretValue", '{"Name": "Name", "SecretString": "Name"}')
    assert taken.parsed["Name"] == "Name"
    assert is_placeholder(taken.parsed["SecretString"])


def test_a_secret_that_is_repeated_elsewhere_does_not_leave() -> None:
    body = json.dumps({"Name": f"x{SECRET}", "SecretString": SECRET})
    with pytest.raises(CaptureError):
        Taken("secretsmanager", "GetSecretValue", body)
    encoded = base64.b64encode(SECRET.encode()).decode()
    with pytest.raises(CaptureError):
        Taken("secretsmanager", "GetSecretValue", body.replace(f"x{SECRET}", encoded))


def test_blobs_are_taken_in_base64() -> None:
    for content in (b"plain text of a key", bytes(range(200, 250))):
        wire = base64.b64encode(content).decode()
        taken = Taken("kms", "Decrypt", json.dumps({"KeyId": "k", "Plaintext": wire}))
        assert is_placeholder(taken.parsed["Plaintext"].decode())
        assert wire.encode() not in taken.body
        assert taken.parsed["KeyId"] == "k"


def test_a_registry_token_keeps_its_user() -> None:
    wire = base64.b64encode(f"AWS:{SECRET}".encode()).decode()
    taken = Taken(
        "ecr",
        "GetAuthorizationToken",
        json.dumps(
            {"authorizationData": [{"authorizationToken": wire, "proxyEndpoint": "https://x"}]}
        ),
    )
    told = taken.parsed["authorizationData"][0]
    user, _, password = base64.b64decode(told["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert is_placeholder(password)
    assert taken.book.captured_values() == [("prod", SECRET.encode())]


def test_only_secure_parameters_are_taken() -> None:
    parameters = [
        {"Name": "a", "Type": "String", "Value": "plain"},
        {"Name": "b", "Type": "SecureString", "Value": SECRET},
        {"Name": "c", "Value": "of unknown type"},
    ]
    taken = Taken("ssm", "GetParametersByPath", json.dumps({"Parameters": parameters}))
    values = [parameter["Value"] for parameter in taken.parsed["Parameters"]]
    assert values[0] == "plain"
    assert is_placeholder(values[1])
    assert is_placeholder(values[2])


def test_what_holds_no_secret_stays_byte_for_byte() -> None:
    body = b'{"FunctionName" : "f", "MemorySize":128.0}'
    assert Taken("lambda", "GetFunctionConfiguration", body).body == body
    empty = b'{ "Parameters": [] }'
    assert Taken("ssm", "GetParameters", empty).body == empty
    error = b'{"__type":"AccessDenied"}'
    assert Taken("ssm", "GetParameters", error, status=400).body == error


@pytest.mark.parametrize(
    ("service", "operation", "body"),
    [
        ("secretsmanager", "GetSecretValue", b"\xff\xfe{}"),
        ("secretsmanager", "GetSecretValue", b"{"),
        ("secretsmanager", "GetSecretValue", b"[" * 100000),
        ("secretsmanager", "GetSecretValue", b'{"SecretBinary": "not base64"}'),
        ("sts", "AssumeRole", b"<x"),
        ("sts", "GetSessionToken", b"{}"),
        (
            "sts",
            "AssumeRole",
            f"<R><AssumeRoleResult>{triple()}<!-- {SECRET} --></AssumeRoleResult></R>".encode(),
        ),
        (
            "sts",
            "AssumeRole",
            f"<R><AssumeRoleResult>{triple()}</AssumeRoleResult></R>".replace(
                SECRET, f"<![CDATA[{SECRET}]]>"
            ).encode(),
        ),
        ("secretsmanager", "GetSecretValue", b'{"SecretString":"one-secret","SecretString":null}'),
        (
            "sts",
            "AssumeRole",
            f"<R><AssumeRoleResult>{triple()}<Other>{SECRET}</Other></AssumeRoleResult></R>".encode(),
        ),
    ],
)
def test_an_answer_that_cannot_be_read_does_not_leave(
    service: str, operation: str, body: bytes
) -> None:
    with pytest.raises(CaptureError) as caught:
        Taken(service, operation, body)
    assert SECRET not in str(caught.value)


def test_binary_json_is_said_to_be_out_of_reach() -> None:
    job = model("codepipeline", "GetJobDetails")
    assert can_capture("codepipeline", job, "json")
    assert not can_capture("codepipeline", job, "smithy-rpc-v2-cbor")
    assert can_capture("codepipeline", model("codepipeline", "ListPipelines"), "smithy-rpc-v2-cbor")


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=60))
def test_any_text_is_taken_or_refused(secret: str) -> None:
    body = json.dumps({"Name": "n", "SecretString": secret}, ensure_ascii=False)
    if set(secret) == {"*"}:
        return
    taken = Taken("secretsmanager", "GetSecretValue", body)
    assert is_placeholder(taken.parsed["SecretString"])
    assert taken.book.captured_values() == [("prod", secret.encode())]


def _operations() -> Iterator[tuple[str, OperationModel]]:
    for service in LOADER.list_available_services("service-2"):
        loaded = ServiceModel(LOADER.load_service_model(service, "service-2"), service)
        for name in loaded.operation_names:
            yield service, loaded.operation_model(name)


def _structures(shape: Shape | None) -> Iterator[Shape]:
    stack, seen = [shape] if shape else [], set()
    while stack:
        current = stack.pop()
        if current.name in seen:
            continue
        seen.add(current.name)
        if current.type_name == "structure":
            yield current
            stack += current.members.values()
        elif current.type_name in ("list", "map"):
            stack.append(current.member if current.type_name == "list" else current.value)


#: Every operation that hands out AWS credentials, by the models of botocore.  A new one shows here.
HANDING_OUT = """
account-access-runtime:GetRoleCredentials cloudwatchomni:GetSpaceCredentialsForOrganization
cloudwatchomni:GetSpaceDataAccess codepipeline:GetJobDetails codepipeline:GetThirdPartyJobDetails
codepipeline:PollForJobs cognito-identity:GetCredentialsForIdentity datazone:GetConnection
datazone:GetEnvironmentCredentials deadline:AssumeFleetRoleForRead deadline:AssumeFleetRoleForWorker
deadline:AssumeQueueRoleForRead deadline:AssumeQueueRoleForUser deadline:AssumeQueueRoleForWorker
eks-auth:AssumeRoleForPodIdentity gamelift:CreateBuild gamelift:GetComputeAccess
gamelift:RequestUploadCredentials iam:CreateAccessKey lakeformation:AssumeDecoratedRoleWithSAML
lakeformation:GetTemporaryDataLocationCredentials lakeformation:GetTemporaryGlueFunctionCredentials
lakeformation:GetTemporaryGluePartitionCredentials lakeformation:GetTemporaryGlueTableCredentials
lightsail:CreateBucketAccessKey lightsail:GetBucketAccessKeys s3:CreateSession
s3control:GetDataAccess signin:CreateOAuth2Token ssm:GetAccessToken sso:GetRoleCredentials
sts:AssumeRole sts:AssumeRoleWithSAML sts:AssumeRoleWithWebIdentity sts:AssumeRoot
sts:GetDelegatedAccessToken sts:GetFederationToken sts:GetScopedCredentials sts:GetSessionToken
"""

#: Asked for by name in the design: their answers hold other secrets.
OTHER_SECRETS = """
iam:CreateServiceSpecificCredential iam:ResetServiceSpecificCredential ecr:GetAuthorizationToken
ecr-public:GetAuthorizationToken codeartifact:GetAuthorizationToken redshift:GetClusterCredentials
redshift:GetClusterCredentialsWithIAM redshift-serverless:GetCredentials
secretsmanager:GetSecretValue secretsmanager:BatchGetSecretValue ssm:GetParameter ssm:GetParameters
ssm:GetParametersByPath ssm:GetParameterHistory kms:Decrypt kms:GenerateDataKey
kms:GenerateDataKeyPair kms:DeriveSharedSecret lightsail:GetInstanceAccessDetails
lightsail:CreateKeyPair lightsail:DownloadDefaultKeyPair ec2:CreateKeyPair acm:ExportCertificate
iot:CreateKeysAndCertificate sts:GetWebIdentityToken apigateway:GetApiKeys appsync:ListApiKeys
location:DescribeKey cognito-idp:InitiateAuth sso-oidc:CreateToken mwaa:CreateCliToken
gamelift:GetComputeAuthToken gamelift:GetInstanceAccess emr:GetClusterSessionCredentials
"""

#: Hold nothing that opens anything, or something encrypted.
NOTHING = """
kms:GenerateRandom secretsmanager:GetRandomPassword ec2:GetPasswordData s3:GetObject
lambda:GetFunctionConfiguration ec2:DescribeInstances iam:ListAccessKeys iam:CreateLoginProfile
sts:GetCallerIdentity kms:Encrypt secretsmanager:ListSecrets ssm:DescribeParameters
"""


@pytest.mark.timeout(300)
def test_every_operation_that_hands_out_credentials_is_captured() -> None:
    def norm(name: str) -> str:
        return "".join(c for c in name.lower() if c.isalnum())

    handing, may = set(), set()
    for service, operation in _operations():
        name = f"{service}:{operation.name}"
        if may_hold(service, operation):
            may.add(name)
        for shape in _structures(operation.output_shape):
            names = {norm(member) for member in shape.members}
            if {"accesskeyid", "secretaccesskey"} <= names or {"accesskeyid", "secretkey"} <= names:
                handing.add(name)
    assert handing == set(HANDING_OUT.split())
    assert handing <= may
    assert set(OTHER_SECRETS.split()) <= may
    assert not set(NOTHING.split()) & may
