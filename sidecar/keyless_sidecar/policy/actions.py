"""The names of actions: which are well formed, which groups they are in, which mean the same.

Pure text, used by the engine for each act and by the checks of a policy file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["GROUPS", "HTTP_METHODS", "SAME", "canonical", "groups_of", "is_action", "is_group"]

#: Groups that hold all actions of one kind.
GROUPS = ("aws", "http", "postgres")
#: The methods that a check knows; the engine takes any.
HTTP_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

_ACTION = re.compile(
    r"exec|session|postgres:connect|http:[A-Z]{1,32}|"
    r"aws:[a-z0-9][a-z0-9.-]{0,63}:[A-Za-z][A-Za-z0-9_]{0,127}"
)
_GROUP = re.compile(r"aws|http|postgres|aws:[a-z0-9][a-z0-9.-]{0,63}")

#: Operations that are another's parts or older forms.  They are decided under the other's name (IAM
#: does the same), so that a large upload meets the rules for an upload.
SAME: Mapping[str, str] = {
    "aws:s3:CreateMultipartUpload": "aws:s3:PutObject",
    "aws:s3:UploadPart": "aws:s3:PutObject",
    "aws:s3:CompleteMultipartUpload": "aws:s3:PutObject",
    "aws:s3:UploadPartCopy": "aws:s3:CopyObject",
    "aws:s3:HeadObject": "aws:s3:GetObject",
    "aws:s3:ListObjects": "aws:s3:ListObjectsV2",
    "aws:s3:DeleteObjects": "aws:s3:DeleteObject",
    "aws:lambda:InvokeAsync": "aws:lambda:Invoke",
}


def is_action(name: str) -> bool:
    """Whether a name has the form of an action; says nothing of whether AWS has the operation."""
    return _ACTION.fullmatch(name) is not None


def is_group(name: str) -> bool:
    """Whether a name has the form of a group: ``aws``, ``aws:lambda``, ``http``, ``postgres``."""
    return _GROUP.fullmatch(name) is not None


def groups_of(action: str) -> tuple[str, ...]:
    """The groups that an action is in: ``("aws:lambda", "aws")`` for a Lambda operation."""
    kind, _, rest = action.partition(":")
    if not rest:
        return ()
    if kind == "aws":
        return (action.rpartition(":")[0], "aws")
    return (kind,)


def canonical(action: str) -> str:
    """The name under which an action is decided."""
    return SAME.get(action, action)
