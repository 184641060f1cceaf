"""Lambda functions of a local AWS, as their owner sees them."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from contextlib import AbstractContextManager
from typing import Any

from keyless.localaws import owner as localaws_owner
from keyless.localaws.server import LocalAws

__all__ = ["code_hash", "make_function", "owner", "zipped"]


def owner(aws: LocalAws) -> AbstractContextManager[Any]:
    """A client of Lambda, outside of every sandbox."""
    return localaws_owner.owner(aws, "lambda")


def make_function(aws: LocalAws, name: str) -> None:
    """Make a function that does nothing yet."""
    with owner(aws) as client:
        client.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=aws.role_arn,
            Handler="function.handler",
            Code={"ZipFile": zipped("def handler(event, context): return None\n")},
        )


def zipped(source: str) -> bytes:
    """A package with one module."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("function.py", source)
    return file.getvalue()


def code_hash(package: bytes) -> str:
    """What AWS says of a package: its SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(package).digest()).decode()
