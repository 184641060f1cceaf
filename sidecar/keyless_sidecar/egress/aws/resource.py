"""The resource that a request is about, where its ARN is plain from the parameters."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.model import OperationModel

from keyless_sidecar.egress.aws.endpoints import Endpoint

__all__ = ["resource_of"]

#: Members that name the resource, as the part of an ARN after the account.
_NAMED: Mapping[tuple[str, str], str] = {
    ("lambda", "FunctionName"): "function:{}",
    ("dynamodb", "TableName"): "table/{}",
    ("secretsmanager", "SecretId"): "secret:{}",
    ("ssm", "Name"): "parameter/{}",
    ("logs", "logGroupName"): "log-group:{}",
    ("sqs", "QueueName"): "{}",
    ("kinesis", "StreamName"): "stream/{}",
    ("ecr", "repositoryName"): "repository/{}",
    ("iam", "RoleName"): "role/{}",
    ("iam", "UserName"): "user/{}",
}
_GLOBAL = frozenset({"iam"})


def resource_of(
    model: OperationModel,
    parameters: Mapping[str, str],
    endpoint: Endpoint,
    region: str,
    account: str = "",
) -> str:
    """An ARN, empty where none can be told.

    Args:
        model: the operation.
        parameters: its parameters, flat.
        endpoint: where the request goes.
        region: the region that it is signed for.
        account: the account, where it is known; an ARN that needs it is empty without.
    """
    service = model.service_model.service_name
    if service == "s3" and "Bucket" in parameters:
        return _s3(parameters, endpoint)
    arns = [name for name, value in parameters.items() if value.startswith("arn:")]
    required = list(model.input_shape.required_members) if model.input_shape else []
    for name in required:
        if name in arns:
            return parameters[name]
    top = {parameters[name] for name in arns if "." not in name}
    for (of, member), form in _NAMED.items():
        value = parameters.get(member, "")
        if of == service and value:
            if value.startswith("arn:"):
                return value
            if account:
                where = "" if service in _GLOBAL else region
                name = form.format(value.lstrip("/") if service == "ssm" else value)
                return f"arn:{endpoint.partition}:{service}:{where}:{account}:{name}"
    return top.pop() if len(top) == 1 else ""


def _s3(parameters: Mapping[str, str], endpoint: Endpoint) -> str:
    bucket, key = parameters["Bucket"], parameters.get("Key", "")
    if endpoint.arn:
        return f"{endpoint.arn}/object/{key}" if key else endpoint.arn
    if bucket.startswith("arn:"):
        return f"{bucket}/object/{key}" if key else bucket
    kind = "s3express" if endpoint.kind == "express" else "s3"
    if kind == "s3express":
        return ""  # its ARN has the account in it
    return f"arn:{endpoint.partition}:{kind}:::{bucket}" + (f"/{key}" if key else "")
