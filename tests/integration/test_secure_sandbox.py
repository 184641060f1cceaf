"""An agent framework deploys a Lambda: the original design's example, step by step.

The framework has the key, the AI writes the code, and neither the kernel nor any file or variable
that the code can see ever holds the key.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.support.functions import code_hash, make_function, owner
from tests.support.host_api import World, world
from tests.support.policies import write_policy

from keyless import PolicyDenied
from keyless.host import Question, SecureSandbox, SecureSandboxSync
from keyless.localaws.hunt import hunt

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMBDA_CODE = """
def handler(event, context):
    return {"statusCode": 200, "body": "thumbnail of " + event["picture"]}
"""
#: What the AI tries when nobody looks.
SNOOPING = """
import os, pathlib
found = [str(dict(os.environ))]
for folder in ("/workspace", os.path.expanduser("~"), "/proc/self", "/run", "/etc"):
    for path in pathlib.Path(folder).rglob("*"):
        try:
            if path.is_file() and path.stat().st_size < 1_000_000:
                found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            pass
print("".join(found))
"""
#: Reading is allowed, and a person is asked for whatever changes something.
POLICY = """
@id("tools") permit (principal, action == Action::"exec", resource);
@id("reads") permit (principal, action in [Action::"aws:lambda", Action::"aws:sts"], resource)
when { !context.mutating };
@id("deploys") @outcome("ask") @reason("It changes what runs in production.")
permit (principal, action in Action::"aws:lambda", resource) when { context.mutating };
"""


class Person:
    """Who is asked, and what they say."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.says: bool | Exception = True

    async def __call__(self, question: Question) -> bool:
        self.asked.append(question)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        write_policy(made.home / "config" / "keyless" / "policy.cedar", POLICY)
        make_function(made.aws, "thumbnailer")
        yield made


@pytest.fixture(scope="module")
def person() -> Person:
    return Person()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(here: World, person: Person) -> AsyncIterator[SecureSandbox]:
    async with SecureSandbox(on_approval=person) as running:
        yield running


async def test_an_agent_deploys_a_lambda(
    sandbox: SecureSandbox, here: World, person: Person
) -> None:
    # 1. The AI writes the code of the function, and packs it in the sandbox.
    await sandbox.write_file("function.py", LAMBDA_CODE)
    packed = await sandbox.exec("python -m zipfile -c function.zip function.py")
    assert packed.ok, packed.stderr

    # 2. The platform registers its credentials: for the sidecar, not for the sandbox.
    await sandbox.register_platform_credentials("aws", here.fields())

    # 3. The deployment runs in isolation, with the credentials of step 2.
    result = await sandbox.exec_secure(
        "aws lambda update-function-code --function-name thumbnailer "
        "--zip-file fileb://function.zip",
        credentials=["aws"],
        timeout=60,
        isolated=True,
    )
    assert result.exit_code == 0, result.stderr

    # A person was asked before, about what is done and not about how it is written.
    (question,) = person.asked
    assert [act.action for act in question.acts] == ["aws:lambda:UpdateFunctionCode"]
    assert question.reason == "It changes what runs in production."

    # 4. What runs in AWS is what the AI wrote.
    package = await sandbox.read_file("function.zip")
    assert result.json()["CodeSha256"] == code_hash(package)
    with owner(here.aws) as client:
        deployed = client.get_function_configuration(FunctionName="thumbnailer")
    assert deployed["CodeSha256"] == code_hash(package)

    # 5. Nothing in the sandbox holds the key: no variable, no file, no output.
    everything = (await sandbox.run_cell(SNOOPING)).text
    assert "def handler" in everything  # it did look
    assert not here.holds_key(everything)
    assert not here.holds_key(result.stdout + result.stderr)
    keys = {"key": here.aws.secret_access_key, "key id": here.aws.access_key_id}
    traces, _ = hunt(sandbox.workspace, keys)
    assert traces == []

    # 6. All of it is on record.
    records = await sandbox.audit()
    assert any(record["record_id"] == result.record_id for record in records)
    assert not here.holds_key(str(records))


DEPLOY = ["aws", "lambda", "update-function-configuration", "--function-name", "thumbnailer"]


async def test_a_person_who_says_no_is_obeyed(sandbox: SecureSandbox, person: Person) -> None:
    person.asked.clear()
    person.says = False
    with pytest.raises(PolicyDenied) as caught:
        await sandbox.exec_secure([*DEPLOY, "--timeout", "9"])
    assert len(person.asked) == 1
    assert caught.value.record_id == person.asked[0].record_id


async def test_a_callback_may_block(here: World) -> None:
    asked: list[str] = []

    def at_a_terminal(question: Question) -> bool:
        time.sleep(0.2)
        asked.append(threading.current_thread().name)
        return True

    def use() -> None:
        credentials = [here.credential()]
        with SecureSandboxSync(credentials=credentials, on_approval=at_a_terminal) as other:
            assert other.exec_secure([*DEPLOY, "--timeout", "5"]).ok
            assert other.pending() == []

    await asyncio.to_thread(use)
    assert len(asked) == 1
    assert asked[0] != "keyless-sandbox"


async def test_a_callback_that_fails_means_no(sandbox: SecureSandbox, person: Person) -> None:
    person.says = RuntimeError("the person's program is broken")
    with pytest.raises(PolicyDenied):
        await sandbox.exec_secure([*DEPLOY, "--timeout", "9"])


async def test_what_a_cell_asks_for_is_asked_too(sandbox: SecureSandbox, person: Person) -> None:
    person.asked.clear()
    person.says = True
    result = await sandbox.run_cell(f"%secure_exec {' '.join([*DEPLOY, '--timeout', '7'])}")
    assert result.ok, result.text
    assert len(person.asked) == 1


async def test_a_program_may_answer_later(here: World, sandbox: SecureSandbox) -> None:
    later: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def wait(_: Question) -> bool:
        return await later

    credentials = [here.credential()]
    async with SecureSandbox(credentials=credentials, on_approval=wait) as other:
        deploying = asyncio.create_task(other.exec_secure([*DEPLOY, "--timeout", "8"]))
        while not (questions := await other.pending()):
            await asyncio.sleep(0.02)
        assert await sandbox.pending() == []  # questions belong to one sandbox
        await other.approve(questions[0].id)
        assert (await deploying).ok
        refused = asyncio.create_task(other.exec_secure([*DEPLOY, "--timeout", "6"]))
        while not (questions := await other.pending()):
            await asyncio.sleep(0.02)
        await other.deny(questions[0].id, reason="not on a Friday")
        with pytest.raises(PolicyDenied, match="not on a Friday"):
            await refused
