"""Many sandboxes deploy at once, each its own function; for the suite and the stress run."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass

from tests.support.functions import code_hash, make_function, owner
from tests.support.host_api import KEYLESS, World

from keyless.host import SecureSandbox

__all__ = ["Deployed", "deploy_all", "whole_chains", "wrong"]


@dataclass(frozen=True)
class Deployed:
    """What one sandbox did, and what it could see.

    Attributes:
        function: its name.
        expected: hash of the package that it made.
        answered: hash that its own command was told.
        files: in its workspace.
        functions: that its audit names.
    """

    function: str
    expected: str
    answered: str
    files: tuple[str, ...]
    functions: frozenset[str]


async def deploy_all(world: World, count: int) -> list[Deployed]:
    """Start so many sandboxes at once; none ends before all have deployed."""
    names = [f"function-{number}" for number in range(count)]
    for name in names:
        make_function(world.aws, name)
    barrier = asyncio.Barrier(count)
    return await asyncio.gather(*(_deploy(world, name, names, barrier) for name in names))


async def _deploy(world: World, name: str, names: list[str], barrier: asyncio.Barrier) -> Deployed:
    async with SecureSandbox(start_timeout=300) as sandbox:
        await sandbox.write_file("function.py", f"def handler(event, context): return {name!r}\n")
        packed = await sandbox.exec("python -m zipfile -c function.zip function.py")
        assert packed.ok, packed.stderr
        await sandbox.register_platform_credentials("aws", world.fields())
        await barrier.wait()
        command = f"aws lambda update-function-code --function-name {name}"
        result = await sandbox.exec_secure(f"{command} --zip-file fileb://function.zip")
        assert result.ok, result.stderr
        await barrier.wait()
        records = json.dumps(await sandbox.audit())
        return Deployed(
            function=name,
            expected=code_hash(await sandbox.read_file("function.zip")),
            answered=str(result.json()["CodeSha256"]),
            files=tuple(entry.name for entry in await sandbox.list_files()),
            functions=frozenset(n for n in names if f'"{n}"' in records or f" {n} " in records),
        )


def wrong(world: World, done: list[Deployed]) -> list[str]:
    """What isn't as it has to be; empty where there was no cross-talk."""
    found = []
    with owner(world.aws) as client:
        for each in done:
            there = client.get_function_configuration(FunctionName=each.function)["CodeSha256"]
            if not there == each.expected == each.answered:
                found.append(f"{each.function}: AWS has {there}, made was {each.expected}")
            if each.files != ("function.py", "function.zip"):
                found.append(f"{each.function}: its workspace holds {each.files}")
            if each.functions != {each.function}:
                found.append(f"{each.function}: its audit names {sorted(each.functions)}")
    if len({each.expected for each in done}) != len(done):
        found.append("packages are not all different")
    return found


def whole_chains() -> int:
    """Verify the audit as a person does; how many files there are.

    Raises:
        CalledProcessError: a chain is broken.
    """
    said = subprocess.run(
        [KEYLESS, "audit", "verify", "--json"], check=True, capture_output=True, text=True
    )
    return len(json.loads(said.stdout))
