"""Making acts of a command that the rules of its tool have checked.

The checked words are read once more: they were written anew from what was understood, so they say
what the tool will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel

from keyless_sidecar.policy.acts import Act
from keyless_sidecar.policy.acts_from import acts_for_aws, operation_model
from keyless_sidecar.policy.aws_parameters import NotInModel, Parameters, from_options
from keyless_sidecar.tools.aws_line import Given, Line, read_line
from keyless_sidecar.tools.aws_operations import OptionSpec, models
from keyless_sidecar.tools.aws_s3 import REPEATABLE, s3_options
from keyless_sidecar.tools.declaration import Tool
from keyless_sidecar.tools.verdict import Checked

__all__ = ["acts_for_command"]

#: Options of ``aws s3`` that are members of the operations.
_S3_MEMBERS: Mapping[str, str] = {
    "acl": "ACL",
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-type": "ContentType",
    "request-payer": "RequestPayer",
    "sse": "ServerSideEncryption",
    "sse-kms-key-id": "SSEKMSKeyId",
    "storage-class": "StorageClass",
    "website-redirect": "WebsiteRedirectLocation",
    "metadata": "Metadata",
    "metadata-directive": "MetadataDirective",
    "expires": "Expires",
}


def acts_for_command(
    checked: Checked,
    tool: Tool,
    *,
    credential: str = "",
    region: str = "",
    account: str = "",
    **attributes: Any,
) -> tuple[Act, ...]:
    """The acts of a command; all of them must pass.

    Args:
        checked: what the rules of the tool made of it.
        tool: the tool.
        credential: the vault entry in use.
        region: the one in force where the command names none.
        account: whose credential it is, ``""`` where that isn't known.
        attributes: further facts (``isolated``, ``cell_hash`` …); ``delivery`` and ``argv`` are
            taken from the tool and the command where they aren't given.

    Raises:
        NotInModel: the operation is not in botocore's models.
    """
    facts = {"delivery": str(tool.delivery), "argv": list(checked.argv), **attributes}
    if tool.rules != "aws" or checked.operation == "aws:version":
        return (Act("exec", tool.name, credential, checked.mutating, facts),)
    line = read_line(checked.argv, _table(tool), repeatable=REPEATABLE)
    shared = {given.name: given.values[0] for given in line.shared if given.values}
    common: dict[str, Any] = {
        **facts,
        "tool": tool.name,
        "credential": credential,
        "region": shared.get("region", region),
        "account": account,
        "allow_operations": tool.allow_operations,
    }
    if line.command == "s3":
        return _s3_acts(line, common)
    kind, service, operation = checked.operation.split(":")
    if kind != "aws":
        raise NotInModel("The command is no operation of AWS.")
    model = operation_model(service, operation)
    return acts_for_aws(
        model, from_options(model, line.options), waits=line.operation == "wait", **common
    )


def _table(tool: Tool) -> Any:
    known = models(tool.model_path)

    def options(command: str, name: str, waiter: str) -> Mapping[str, OptionSpec]:
        if command == "s3":
            return s3_options(name) or {}
        found = known.waiter(command, waiter) if waiter else known.operation(command, name)
        return found.options if found is not None else {}

    return options


class _S3:
    """Collects the acts of an ``aws s3`` command."""

    def __init__(self, line: Line, common: Mapping[str, Any]) -> None:
        self.acts: list[Act] = []
        self._options = line.options
        self._common = common

    def add(self, operation: str, bucket: str, key: str | None = None, **more: str) -> None:
        """Add an act; a key of None: several, or one that isn't known."""
        model = operation_model("s3", operation)
        members = _members(model)
        found = Parameters()
        if bucket:
            found.put("Bucket", bucket)
        if "Key" in members:
            found.put("Key", key)
        for name, value in more.items():
            found.put(name, value)
        if operation in ("PutObject", "CopyObject"):
            self._add_options(found, members)
        if operation == "PutObject":
            found.put("Body", None)
        if "CopySource" in members and "CopySource" not in more:
            # Within one bucket, or allowed: the rules of the tool have seen to that.
            found.put("CopySource", f"{bucket}/?")
        self.acts += acts_for_aws(model, found, **self._common)

    def _add_options(self, found: Parameters, members: frozenset[str]) -> None:
        for given in self._options:
            member = _S3_MEMBERS.get(given.name)
            if member in members and member is not None:
                plain = given.values[0] if len(given.values) == 1 else None
                unclear = member in ("Metadata", "Expires", "SSEKMSKeyId") or plain is None
                found.put(member, None if unclear else plain)
            elif given.name == "grants":
                for name in members:
                    if name.startswith("Grant"):
                        found.put(name, None)


def _s3_acts(line: Line, common: Mapping[str, Any]) -> tuple[Act, ...]:
    command = _S3(line, common)
    given = {option.name: option for option in line.options}
    many = line.operation == "sync" or "recursive" in given
    if line.operation in ("cp", "mv", "sync"):
        _transfer(command, line, given, many)
        return tuple(command.acts)
    bucket, key = _split(line.words[0]) if line.words else ("", "")
    if line.operation == "ls":
        if bucket:
            more = {} if many else {"Delimiter": "/"}
            command.add("ListObjectsV2", bucket, Prefix=key, **more)
        else:
            command.add("ListBuckets", "")
    elif line.operation == "rm":
        command.add("DeleteObject", bucket, None if many else key)
    elif line.operation == "rb":
        command.add("DeleteBucket", bucket)
        if "force" in given:
            command.add("DeleteObject", bucket)
    else:
        command.add({"mb": "CreateBucket", "website": "PutBucketWebsite"}[line.operation], bucket)
    if (many and line.operation == "rm") or "force" in given:
        command.add("ListObjectsV2", bucket, Prefix=key)
    return tuple(command.acts)


def _transfer(command: _S3, line: Line, given: Mapping[str, Given], many: bool) -> None:
    source, target = line.words
    from_s3, to_s3 = source.startswith("s3://"), target.startswith("s3://")
    from_bucket, from_key = _split(source)
    to_bucket, to_key = _split(target)
    name = from_key.rpartition("/")[2] if from_s3 else source.rpartition("/")[2]
    if not to_key or to_key.endswith("/"):
        to_key += name
    if from_s3 and to_s3:
        where = f"{from_bucket}/{'?' if many else from_key}"
        command.add("CopyObject", to_bucket, None if many else to_key, CopySource=where)
    elif to_s3:
        command.add("PutObject", to_bucket, None if many else to_key)
    else:
        command.add("GetObject", from_bucket, None if many else from_key)
    if line.operation == "mv" and from_s3:
        command.add("DeleteObject", from_bucket, None if many else from_key)
    elif "delete" in given and to_s3:
        command.add("DeleteObject", to_bucket)
    if many and from_s3:
        command.add("ListObjectsV2", from_bucket, Prefix=from_key)
    if line.operation == "sync" and to_s3:
        command.add("ListObjectsV2", to_bucket, Prefix=to_key)


def _split(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 path; the bucket may be an ARN, which holds one slash."""
    path = uri.removeprefix("s3://")
    bucket, _, key = path.partition("/")
    if bucket.startswith("arn:"):
        name, _, key = key.partition("/")
        bucket = f"{bucket}/{name}"
    return bucket, key


def _members(model: OperationModel) -> frozenset[str]:
    return frozenset(model.input_shape.members if model.input_shape else ())
