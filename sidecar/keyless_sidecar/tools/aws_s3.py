"""The CLI's own ``aws s3`` commands: which options they have, and what they do.

They are no operations of a service model, so their tables stand here.  Called by ``aws_rules``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keyless_sidecar.tools.aws_files import Files
from keyless_sidecar.tools.aws_line import Given, Line
from keyless_sidecar.tools.aws_operations import OptionSpec
from keyless_sidecar.tools.verdict import Refused, shown

__all__ = ["REPEATABLE", "S3Command", "check_s3", "private_access", "s3_options"]

REPEATABLE = frozenset({"include", "exclude"})

_FILTER = (
    "include exclude page-size only-show-errors:flag quiet:flag dryrun:flag request-payer:maybe"
)
_TRANSFER = (
    f"{_FILTER} acl follow-symlinks:flag no-follow-symlinks:flag no-guess-mime-type:flag sse:maybe "
    "sse-c:maybe sse-c-key sse-kms-key-id sse-c-copy-source:maybe sse-c-copy-source-key "
    "storage-class grants:list website-redirect content-type cache-control content-disposition "
    "content-encoding content-language expires source-region no-progress:flag metadata "
    "metadata-directive ignore-glacier-warnings:flag force-glacier-transfer:flag checksum-mode "
    "checksum-algorithm case-conflict no-overwrite:flag copy-props"
)
_TABLES: Mapping[str, str] = {
    "ls": "recursive:flag page-size human-readable:flag summarize:flag request-payer:maybe "
    "bucket-name-prefix bucket-region",
    "cp": f"{_TRANSFER} recursive:flag expected-size",
    "mv": f"{_TRANSFER} recursive:flag validate-same-s3-paths:flag",
    "sync": f"{_TRANSFER} delete:flag size-only:flag exact-timestamps:flag",
    "rm": f"{_FILTER} recursive:flag",
    "mb": "",
    "rb": "force:flag",
    "website": "index-document error-document",
}
_PATHS = {"ls": (0, 1), "cp": (2, 2), "mv": (2, 2), "sync": (2, 2)}
_URI = re.compile(
    r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{0,254}|"
    r"arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:[0-9]*:[A-Za-z0-9/:._-]+?)(?:/(?P<key>.*))?",
    re.DOTALL,
)
#: Access that stays with the bucket's own account.
_PRIVATE = frozenset({"private", "bucket-owner-full-control", "bucket-owner-read"})


@dataclass(frozen=True)
class S3Command:
    """What an ``aws s3`` command does.

    Attributes:
        operation: canonical name; ``+`` joins the two parts of a move.
        mutating: whether it changes something in S3.
        words: the paths as the CLI gets them.
        options: added by the rules.
    """

    operation: str
    mutating: bool
    words: tuple[str, ...]
    options: tuple[Given, ...] = ()


def s3_options(command: str) -> Mapping[str, OptionSpec] | None:
    """The options of ``aws s3 <command>``; None where there is no such command."""
    table = _TABLES.get(command)
    if table is None:
        return None
    specs: dict[str, OptionSpec] = {}
    for entry in table.split():
        name, _, takes = entry.partition(":")
        complex_ = name in ("metadata", "grants")
        if takes == "flag":
            specs[name] = OptionSpec("flag")
        elif takes == "maybe":
            specs[name] = OptionSpec("maybe")
        elif takes == "list":
            specs[name] = OptionSpec("list", complex_)
        else:
            specs[name] = OptionSpec("value", complex_)
    return MappingProxyType(specs)


def private_access(value: str) -> bool:
    """Whether a canned access list keeps an object within the bucket's account."""
    return value in _PRIVATE


def check_s3(line: Line, files: Files, *, sharing: bool) -> S3Command:
    """Check the paths and the options that share.

    Args:
        line: the command line, its options known to exist.
        files: checks and rewrites local paths.
        sharing: a person allowed access lists and copies between buckets.

    Raises:
        Refused: a path is outside the workspace, no S3 URI, or lets others in.
    """
    command = line.operation
    least, most = _PATHS.get(command, (1, 1))
    if not least <= len(line.words) <= most:
        raise Refused(
            "InvalidRequest",
            f"aws s3 {command} takes {most} path{'s' if most > 1 else ''}, got {len(line.words)} "
            "words; options with values come as --option VALUE.",
            "aws.s3.paths",
        )
    given = {option.name: option for option in line.options}
    if "follow-symlinks" in given:
        raise Refused(
            "PolicyDenied",
            "The option --follow-symlinks is not allowed: links may lead out of the workspace; "
            "copy the files instead.",
            "aws.s3.symlinks",
        )
    if not sharing and ("grants" in given or not _is_private(given.get("acl"))):
        raise Refused(
            "PolicyDenied",
            "Access for others (--acl, --grants) is refused by default; leave the option out, or "
            "let a person add 's3:PutObjectAcl' to allow_operations.",
            "aws.sharing",
        )
    if command in ("cp", "mv", "sync"):
        return _transfer(line, given, files, sharing=sharing)
    for word in line.words:
        _bucket(word)
    operation, mutating = {
        "ls": ("ListObjectsV2" if line.words and _bucket(line.words[0]) else "ListBuckets", False),
        "rm": ("DeleteObject", True),
        "mb": ("CreateBucket", True),
        "rb": ("DeleteBucket", True),
        "website": ("PutBucketWebsite", True),
    }[command]
    return S3Command(operation, mutating, tuple(line.words))


def _transfer(line: Line, given: Mapping[str, Given], files: Files, *, sharing: bool) -> S3Command:
    source, target = line.words
    many = line.operation == "sync" or "recursive" in given
    remote = (source.startswith("s3://"), target.startswith("s3://"))
    moves = "+DeleteObject" if line.operation == "mv" or "delete" in given else ""
    if remote == (True, True):
        if _bucket(source) != _bucket(target) and not sharing:
            raise Refused(
                "PolicyDenied",
                "A copy from one bucket to another may leave the account and is refused by "
                "default; let a person add 's3:CopyObject' to allow_operations.",
                "aws.sharing",
            )
        return S3Command(f"CopyObject{moves}", True, (source, target))
    if remote == (False, False):
        raise Refused(
            "InvalidRequest",
            f"One of the two paths must start with s3://, such as aws s3 {line.operation} "
            "report.csv s3://BUCKET/report.csv.",
            "aws.s3.paths",
        )
    streams = line.operation == "cp" and not many
    if remote[1]:
        _bucket(target)
        words = (_local_source(source, files, many, streams), target)
        extra = () if "no-follow-symlinks" in given else (Given("no-follow-symlinks", ()),)
        deletes = "+DeleteObject" if "delete" in given else ""
        return S3Command(f"PutObject{deletes}", True, words, extra)
    _bucket(source)
    words = (source, _local_target(target, files, many, streams))
    removes = "+DeleteObject" if line.operation == "mv" else ""
    return S3Command(f"GetObject{removes}", bool(removes), words)


def _local_source(path: str, files: Files, many: bool, streams: bool) -> str:
    if path == "-" and streams:
        return path
    _check_local(path)
    if many or files.is_folder(path):
        return _keep_slash(path, files.folder(path))
    return files.read(path)


def _local_target(path: str, files: Files, many: bool, streams: bool) -> str:
    if path == "-" and streams:
        return path
    _check_local(path)
    if many or path.endswith("/") or files.is_folder(path):
        return _keep_slash(path, files.new_folder(path))
    return files.write(path)


def _check_local(path: str) -> None:
    """Paths go through the same reading of prefixes as options do."""
    if "://" in path:
        raise Refused(
            "InvalidRequest",
            f"{shown(path)} is neither s3://BUCKET/KEY nor a path in the workspace.",
            "aws.s3.paths",
        )


def _keep_slash(given: str, path: str) -> str:
    return f"{path}/" if given.endswith("/") else path


def _is_private(acl: Given | None) -> bool:
    return acl is None or private_access(acl.values[0])


def _bucket(uri: str) -> str:
    """The bucket of an S3 URI; ``""`` for ``s3://`` alone."""
    if uri == "s3://":
        return ""
    match = _URI.fullmatch(uri if uri.startswith("s3://") else f"s3://{uri}")
    if match is None or "://" in uri.removeprefix("s3://").split("/")[0]:
        raise Refused(
            "InvalidRequest",
            f"{shown(uri)} is no S3 path; write s3://BUCKET or s3://BUCKET/KEY (there is no shell: "
            "no pipes, variables or ';').",
            "aws.s3.paths",
        )
    return match.group("bucket")
