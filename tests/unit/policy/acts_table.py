"""Acts in two forms, and the answers to them: data of ``test_same_act_same_answer``.

Each row: a command of the AWS CLI, what boto3 is called with (or what was parsed from a request),
the canonical actions, and the answers of the built-in policy and of the three examples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

REGION = "eu-central-1"
ACCOUNT = "123456789012"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:orders-api"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:news"
QUEUE = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/jobs"

Call = tuple[str, str, dict[str, Any]]


class Row(NamedTuple):
    command: str
    calls: list[Call]
    actions: str
    answers: str  # of default, deploy-only, read-only, teaching: a, ? or d


def row(command: str, service: str, name: str, parameters: dict[str, Any], answers: str) -> Row:
    return Row(command, [(service, name, parameters)], f"aws:{service}:{name}", answers)


ORDERS = {"FunctionName": "orders-api"}
ROWS = [
    row("sts get-caller-identity", "sts", "GetCallerIdentity", {}, "aaaa"),
    row("s3api list-buckets", "s3", "ListBuckets", {}, "adaa"),
    row("s3 ls", "s3", "ListBuckets", {}, "adaa"),
    row(
        "s3 ls s3://data/in/",
        "s3",
        "ListObjectsV2",
        {"Bucket": "data", "Prefix": "in/", "Delimiter": "/"},
        "adaa",
    ),
    row(
        "s3api get-bucket-location --bucket data",
        "s3",
        "GetBucketLocation",
        {"Bucket": "data"},
        "adaa",
    ),
    row(
        "s3api get-object --bucket data --key a/b.csv out",
        "s3",
        "GetObject",
        {"Bucket": "data", "Key": "a/b.csv"},
        "adaa",
    ),
    row(
        "s3 cp s3://data/a/b.csv -", "s3", "GetObject", {"Bucket": "data", "Key": "a/b.csv"}, "adaa"
    ),
    row(
        "s3api put-object --bucket class-7 --key x --body a.csv",
        "s3",
        "PutObject",
        {"Bucket": "class-7", "Key": "x", "Body": b"1"},
        "?dda",
    ),
    row(
        "s3 cp a.csv s3://example-deployments/orders/",
        "s3",
        "PutObject",
        {"Bucket": "example-deployments", "Key": "orders/a.csv", "Body": b"1"},
        "?add",
    ),
    row(
        "s3 cp a.csv s3://data/x --storage-class STANDARD_IA",
        "s3",
        "PutObject",
        {"Bucket": "data", "Key": "x", "StorageClass": "STANDARD_IA", "Body": b"1"},
        "?ddd",
    ),
    row("s3 rm s3://class-7/x", "s3", "DeleteObject", {"Bucket": "class-7", "Key": "x"}, "?dda"),
    row("s3 mb s3://class-8", "s3", "CreateBucket", {"Bucket": "class-8"}, "?dda"),
    row("s3 rb s3://class-8", "s3", "DeleteBucket", {"Bucket": "class-8"}, "?ddd"),
    Row(
        "s3 mv s3://data/a s3://data/b",
        [
            (
                "s3",
                "CopyObject",
                {"Bucket": "data", "Key": "b", "CopySource": {"Bucket": "data", "Key": "a"}},
            ),
            ("s3", "DeleteObject", {"Bucket": "data", "Key": "a"}),
        ],
        "aws:s3:CopyObject aws:s3:GetObject aws:s3:DeleteObject",
        "?ddd",
    ),
    Row(
        "s3api copy-object --bucket data --key b --copy-source data/a",
        [("s3", "CopyObject", {"Bucket": "data", "Key": "b", "CopySource": "data/a"})],
        "aws:s3:CopyObject aws:s3:GetObject",
        "?ddd",
    ),
    Row(
        "s3api head-object --bucket data --key a",
        [("s3", "HeadObject", {"Bucket": "data", "Key": "a"})],
        "aws:s3:GetObject",
        "adaa",
    ),
    row(
        "lambda get-function-configuration --function-name orders-api",
        "lambda",
        "GetFunctionConfiguration",
        ORDERS,
        "aaaa",
    ),
    row(
        "lambda update-function-code --function-name orders-api --zip-file fileb://f.zip --publish",
        "lambda",
        "UpdateFunctionCode",
        {**ORDERS, "ZipFile": b"PK", "Publish": True},
        "?add",
    ),
    row(
        f"lambda update-function-code --function-name {FUNCTION} --zip-file fileb://f.zip",
        "lambda",
        "UpdateFunctionCode",
        {"FunctionName": FUNCTION, "ZipFile": b"PK"},
        "?add",
    ),
    row(
        f"lambda update-function-code --function-name {ACCOUNT}:function:billing "
        "--s3-bucket b --s3-key k",
        "lambda",
        "UpdateFunctionCode",
        {"FunctionName": f"{ACCOUNT}:function:billing", "S3Bucket": "b", "S3Key": "k"},
        "?ddd",
    ),
    row(
        "lambda update-function-configuration --function-name orders-api --timeout 30 "
        "--memory-size=256",
        "lambda",
        "UpdateFunctionConfiguration",
        {**ORDERS, "Timeout": 30, "MemorySize": 256},
        "??dd",
    ),
    row(
        "lambda create-function --function-name class-1 --role r --zip-file fileb://f.zip "
        "--handler a.b --runtime python3.12 --layers l1 l2",
        "lambda",
        "CreateFunction",
        {
            "FunctionName": "class-1",
            "Role": "r",
            "Code": {"ZipFile": b"PK"},
            "Handler": "a.b",
            "Runtime": "python3.12",
            "Layers": ["l1", "l2"],
        },
        "?dda",
    ),
    row(
        "lambda invoke --function-name class-1 --payload {} out",
        "lambda",
        "Invoke",
        {"FunctionName": "class-1", "Payload": b"{}"},
        "?ada",
    ),
    row(
        "lambda delete-function --function-name class-1:live",
        "lambda",
        "DeleteFunction",
        {"FunctionName": "class-1:live"},
        "?dda",
    ),
    row(
        "lambda get-alias --function-name orders-api --name live",
        "lambda",
        "GetAlias",
        {**ORDERS, "Name": "live"},
        "aaaa",
    ),
    row(
        "lambda get-function-configuration --region us-east-1 --function-name class-1",
        "lambda",
        "GetFunctionConfiguration",
        {"FunctionName": "class-1", "region": "us-east-1"},
        "aaaa",
    ),
    row(
        "lambda delete-function --region us-east-1 --function-name class-1",
        "lambda",
        "DeleteFunction",
        {"FunctionName": "class-1", "region": "us-east-1"},
        "?ddd",
    ),
    row(
        "ec2 describe-instances --instance-ids i-1 i-2 --no-dry-run --max-items 5",
        "ec2",
        "DescribeInstances",
        {"InstanceIds": ["i-1", "i-2"], "DryRun": False},
        "adaa",
    ),
    row(
        'ec2 describe-instances --instance-ids ["i-1","i-2"] --filters Name=a,Values=b',
        "ec2",
        "DescribeInstances",
        {"InstanceIds": ["i-1", "i-2"], "Filters": [{"Name": "a", "Values": ["b"]}]},
        "adaa",
    ),
    row(
        "ec2 terminate-instances --instance-ids i-1",
        "ec2",
        "TerminateInstances",
        {"InstanceIds": ["i-1"]},
        "?ddd",
    ),
    row(
        "dynamodb describe-table --table-name class-t",
        "dynamodb",
        "DescribeTable",
        {"TableName": "class-t"},
        "adaa",
    ),
    row(
        'dynamodb put-item --table-name class-t --item {"k":{"S":"v"}}',
        "dynamodb",
        "PutItem",
        {"TableName": "class-t", "Item": {"k": {"S": "v"}}},
        "?dda",
    ),
    row(
        f"dynamodb delete-table --table-name arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/class-t",
        "dynamodb",
        "DeleteTable",
        {"TableName": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/class-t"},
        "?dda",
    ),
    row(
        f"sqs send-message --queue-url {QUEUE} --message-body hi",
        "sqs",
        "SendMessage",
        {"QueueUrl": QUEUE, "MessageBody": "hi"},
        "?ddd",
    ),
    row(
        f'sns publish --cli-input-json {{"TopicArn":"{TOPIC}","Subject":"old"}} --subject new',
        "sns",
        "Publish",
        {"TopicArn": TOPIC, "Subject": "new"},
        "?ddd",
    ),
    row(
        "logs describe-log-groups --log-group-name-prefix g --limit 5",
        "logs",
        "DescribeLogGroups",
        {"logGroupNamePrefix": "g", "limit": 5},
        "adaa",
    ),
    row("iam get-role --role-name r", "iam", "GetRole", {"RoleName": "r"}, "adaa"),
    row("deploy list-applications", "codedeploy", "ListApplications", {}, "adaa"),
    row(
        "cloudformation describe-stacks --stack-name s",
        "cloudformation",
        "DescribeStacks",
        {"StackName": "s"},
        "adaa",
    ),
    row(
        "cloudformation delete-stack --stack-name s",
        "cloudformation",
        "DeleteStack",
        {"StackName": "s"},
        "?ddd",
    ),
]

#: What the rules of the tool refuse by themselves; as a call, every policy denies it.
REFUSED: list[tuple[str, Call]] = [
    (
        "sts assume-role --role-arn r --role-session-name s",
        ("sts", "AssumeRole", {"RoleArn": "r", "RoleSessionName": "s"}),
    ),
    ("sts get-session-token", ("sts", "GetSessionToken", {})),
    ("iam create-access-key", ("iam", "CreateAccessKey", {})),
    ("ecr get-authorization-token", ("ecr", "GetAuthorizationToken", {})),
    (
        "secretsmanager get-secret-value --secret-id s",
        ("secretsmanager", "GetSecretValue", {"SecretId": "s"}),
    ),
    ("ssm get-parameter --name p", ("ssm", "GetParameter", {"Name": "p"})),
    ("lambda get-function --function-name f", ("lambda", "GetFunction", {"FunctionName": "f"})),
    ("kms decrypt --ciphertext-blob eA==", ("kms", "Decrypt", {"CiphertextBlob": b"x"})),
    (
        "iam create-role --role-name r --assume-role-policy-document {}",
        ("iam", "CreateRole", {"RoleName": "r", "AssumeRolePolicyDocument": "{}"}),
    ),
    (
        "lambda add-permission --function-name f --statement-id s --action a --principal p",
        (
            "lambda",
            "AddPermission",
            {"FunctionName": "f", "StatementId": "s", "Action": "a", "Principal": "p"},
        ),
    ),
    (
        "s3api put-bucket-policy --bucket b --policy {}",
        ("s3", "PutBucketPolicy", {"Bucket": "b", "Policy": "{}"}),
    ),
    (
        "s3api put-object --bucket class-1 --key k --acl public-read",
        ("s3", "PutObject", {"Bucket": "class-1", "Key": "k", "ACL": "public-read"}),
    ),
    (
        "s3 cp a.csv s3://class-1/k --acl public-read",
        ("s3", "PutObject", {"Bucket": "class-1", "Key": "k", "ACL": "public-read", "Body": b""}),
    ),
    (
        "s3 cp s3://b/k s3://class-1/k",
        ("s3", "CopyObject", {"Bucket": "class-1", "Key": "k", "CopySource": "b/k"}),
    ),
    (
        "cloudformation create-stack --stack-name s --capabilities CAPABILITY_IAM",
        ("cloudformation", "CreateStack", {"StackName": "s", "Capabilities": ["CAPABILITY_IAM"]}),
    ),
]
