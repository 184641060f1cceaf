"""What must be true when the demo is over, judged from outside the kernel.

Nothing here believes the notebook: the hash in AWS comes from AWS, the local one from the file,
the principal from the local AWS's own log, and the key is looked for by ``hunt``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from keyless.localaws.front import LoggedCall
from keyless.localaws.headless import Attempt
from keyless.localaws.hunt import hunt
from keyless.localaws.owner import owner
from keyless.localaws.server import LocalAws

FUNCTION = "thumbnailer"
_DEPLOYS = ("CreateFunction", "UpdateFunctionCode")
_EXPECTED = {*_DEPLOYS, "GetCallerIdentity", "GetFunctionConfiguration", "GetFunction", "PutObject"}


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and what was seen."""

    name: str
    ok: bool
    seen: str


@dataclass(frozen=True)
class Hashes:
    """The two CodeSha256, empty where there is none."""

    local: str
    remote: str


def hashes(workspace: Path, aws: LocalAws) -> Hashes:
    """The hash of the zip in the workspace, and what AWS says of the function."""
    package = workspace / "function.zip"
    local = ""
    if package.is_file() and not package.is_symlink():
        local = base64.b64encode(hashlib.sha256(package.read_bytes()).digest()).decode()
    with owner(aws, "lambda") as client:
        try:
            remote = str(client.get_function_configuration(FunctionName=FUNCTION)["CodeSha256"])
        except ClientError:
            remote = ""
    return Hashes(local, remote)


def same_code(found: Hashes) -> Check:
    """AWS holds the bytes that lie in the workspace."""
    ok = bool(found.local) and found.local == found.remote
    seen = found.remote if ok else f"local {found.local or 'none'}, AWS {found.remote or 'none'}"
    return Check("The function in AWS is the local package", ok, seen)


def right_principal(log: Iterable[LoggedCall], user: str) -> Check:
    """The deploys were made by the user of the vault's key, and nothing unexpected was allowed."""
    allowed = [call for call in log if call.allowed]
    deploys = [call for call in allowed if call.operation in _DEPLOYS]
    foreign = [call for call in allowed if call.principal != user]
    strange = sorted({call.operation for call in allowed} - _EXPECTED)
    ok = {call.operation for call in deploys} == set(_DEPLOYS) and not foreign and not strange
    seen = f"{len(deploys)} deploys by {user.rpartition('/')[2]}, {len(allowed)} calls in all"
    if foreign or strange:
        seen = f"unexpected: {strange or [call.principal for call in foreign]}"
    return Check("AWS saw the right user", ok, seen)


def no_key(folder: Path, aws: LocalAws, token: str = "") -> Check:
    """No file below ``folder`` holds the key or its id, or a token, in any encoding."""
    secrets = {"key": aws.secret_access_key, "key id": aws.access_key_id}
    if token:
        secrets["token"] = token
    try:
        traces, count = hunt(folder, secrets)
    except OSError as error:
        return Check("No key in any file", False, f"can't look: {error}")
    seen = f"{count} files searched"
    if traces:
        seen = f"{traces[0].name} in {traces[0].path} ({traces[0].form}), {len(traces)} traces"
    return Check("No key in any file", not traces, seen)


def nothing_taken(tried: list[Attempt]) -> Check:
    """The agent tried, and by its own count got nothing."""
    keys = sum(attempt.keys for attempt in tried)
    return Check(
        "The agent got no key",
        len(tried) >= 15 and keys == 0,
        f"{len(tried)} attempts, {keys} keys",
    )
