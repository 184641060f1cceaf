"""The local AWS as its owner reaches it: boto3 with the key itself, outside of every sandbox."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config

from keyless.localaws.server import LocalAws

__all__ = ["owner"]


@contextlib.contextmanager
def owner(aws: LocalAws, service: str, **settings: Any) -> Iterator[Any]:
    """A client of one service; closed at the end.

    Args:
        aws: running.
        service: boto3's name of it.
        settings: further ones of botocore's ``Config``.
    """
    client = boto3.client(
        service,
        endpoint_url=aws.endpoint,
        region_name=aws.region,
        aws_access_key_id=aws.access_key_id,
        aws_secret_access_key=aws.secret_access_key,
        config=Config(proxies={}, retries={"max_attempts": 0}, **settings),
    )
    try:
        yield client
    finally:
        client.close()
