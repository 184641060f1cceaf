"""Lambda functions of a local AWS, as their owner sees them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config

from keyless.localaws.server import LocalAws

__all__ = ["code_hash", "make_function", "owner", "zipped"]


@contextlib.contextmanager
def owner(aws: LocalAws) -> Iterator[Any]:
    """A client of boto3, outside of every sandbox."""
    client = boto3.client(
        "lambda",
        endpoint_url=aws.endpoint,
        region_name=aws.region,
        aws_access_key_id=aws.access_key_id,
        aws_secret_access_key=aws.secret_access_key,
        config=Config(proxies={}, retries={"max_attempts": 0}),
    )
    try:
        yield client
    finally:
        client.close()


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
