"""What is read while a kernel starts: hosts of AWS, the broker of databases."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Iterable, Sequence

from botocore.exceptions import BotoCoreError

from keyless.protocol.calls import SDK
from keyless_sidecar.egress.aws.endpoints import endpoints
from keyless_sidecar.memory import trim
from keyless_sidecar.vault import EntryInfo

__all__ = ["read_ahead"]


async def read_ahead(models: Iterable[str], infos: Sequence[EntryInfo]) -> None:
    """Read what the kernel's first command would have to wait for.

    One folder of models after the other, so that what is read takes its place once.

    Args:
        models: folders of the models that the AWS rules use.
        infos: the vault's entries.
    """
    if any(info.kind == "postgres" for info in infos):
        await asyncio.to_thread(importlib.import_module, "keyless_sidecar.postgres.broker")
    if any(info.kind == "aws" for info in infos):
        calls_too = any(info.allows(SDK) for info in infos)
        for path in (*sorted(models), *([""] if calls_too and "" not in models else [])):
            with contextlib.suppress(BotoCoreError, OSError, ValueError):  # who needs it will say
                await asyncio.to_thread(endpoints, path)
    trim()
