"""``secure_call`` as a notebook uses it: a real kernel, its sidecar, and the local AWS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_core.utils import ensure_event_loop
from tests.support.kernels import Session, Stage, protected, stage


@pytest.fixture(scope="module")
def world() -> Iterator[Stage]:
    with stage() as made:
        made.configure({})
        yield made


@pytest.fixture(scope="module")
def kernel(world: Stage) -> Iterator[Session]:
    key = {
        "access_key_id": world.canaries.key_id,
        "secret_access_key": world.canaries.key,
        "region": world.aws.region,
    }
    entry = {"name": "cloud", "kind": "aws", "fields": key, "tools": ["sdk"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "credentials", lambda: [entry])
        session = protected(world)
    cell = session.run(
        "import os, zipfile\n"
        "from keyless import secure_call, CallFailed, PolicyDenied\n"
        "with zipfile.ZipFile('f.zip', 'w') as archive:\n"
        "    archive.writestr('a.py', 'def handler(event, context): return 1')\n"
        "open('big.bin', 'wb').write(os.urandom(160 << 20))\n"
        f"role = {world.aws.role_arn!r}"
    )
    assert not cell.error
    yield session
    session.stop()
    # Nothing of it was ever seen by the kernel's side.
    for secret in (world.canaries.key, world.canaries.key_id):
        assert secret not in str(session.messages)


def shown(session: Session, code: str) -> str:
    """What a cell shows as its result, as text."""
    cell = session.run(code)
    assert not cell.error, cell.error
    found = [m["content"]["data"] for m in cell.messages if m["msg_type"] == "execute_result"]
    assert all("text/plain" in data for data in found)
    return "\n".join(data["text/plain"] for data in found)


def test_a_notebook_deploys_a_function(kernel: Session) -> None:
    made = shown(
        kernel,
        "%%secure_call lambda create_function --out made\n"
        '{"FunctionName": "orders", "Runtime": "python3.12", "Handler": "a.handler",\n'
        ' "Role": role, "Code": {"ZipFile": "fileb://f.zip"}}',
    )
    assert made.startswith("lambda.CreateFunction: done, ")
    assert '"FunctionName": "orders"' in made
    updated = shown(
        kernel,
        "%%secure_call lambda update-function-code --wait function_updated_v2\n"
        '{"FunctionName": "orders", "ZipFile": "fileb://f.zip"}',
    )
    assert "lambda.UpdateFunctionCode: done" in updated
    assert shown(kernel, "made['CodeSize'] == os.path.getsize('f.zip')") == "True"


def test_the_function_api_gives_a_dictionary(kernel: Session, world: Stage) -> None:
    cell = kernel.run(
        "who = await secure_call('sts', 'get_caller_identity', query='Arn')\n"
        "print(who['Arn'] == who.selected, isinstance(who, dict), bool(who.record_id))\n"
        "put = secure_call('s3', 'put_object', Bucket='rt-bucket', Key='a', Body=b'hello')\n"
        "print(secure_call('s3', 'get_object', Bucket='rt-bucket', Key='a')['Body'])\n"
        "print(secure_call('s3', 'list_objects_v2', {'Bucket': 'rt-bucket'}, paginate=True,\n"
        "                  query='Contents[].Key').selected)"
    )
    assert cell.text.splitlines() == ["True True True", "b'hello'", "['a']"], cell.error


def test_errors_say_what_to_do(kernel: Session) -> None:
    for code, name, said in (
        ("%secure_call lambda invok", "InvalidRequest", "did you mean 'invoke'"),
        ('%secure_call lambda invoke {"Name": 1}', "InvalidRequest", "Unknown parameter in input"),
        ("%secure_call lambda list_functions", "PolicyDenied", "no-secrets"),
        ('%secure_call sts get_caller_identity --query "["', "InvalidRequest", "JMESPath"),
        ("%%secure_call lambda invoke\na: b", "InvalidRequest", "neither JSON nor"),
    ):
        error = kernel.run(code).error
        assert error.startswith(f"{name}: "), (code, error)
        assert said in error
    cell = kernel.run(
        "try:\n"
        "    secure_call('s3', 'get_object', Bucket='rt-bucket', Key='none')\n"
        "except CallFailed as error:\n"
        "    print(error.code, error.status, bool(error.record_id), bool(error.request_id))\n"
        "print(secure_call('s3', 'get_object', Bucket='rt-bucket', Key='none',\n"
        "                  raise_error=False).error.code)"
    )
    assert cell.text.splitlines() == ["NoSuchKey 404 True True", "NoSuchKey"]


def test_help_and_why(kernel: Session) -> None:
    told = shown(kernel, "%secure_call lambda update_function_code ?")
    assert "FunctionName (required)" in told
    why = shown(kernel, "%keyless why secure_call lambda list_functions")
    assert why.startswith("refused (PolicyDenied)")
    allowed = shown(kernel, "%secure_call --dry-run sts get_caller_identity")
    assert "allowed (dry run, nothing was called)" in allowed


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%secure_call lamb", "lambda"),
        ("%secure_call lambda update_function_c", "update_function_code"),
        ('%%secure_call lambda invoke\n{"Func', "FunctionName"),
        ("secure_call('sts', 'get_c", "get_caller_identity"),
    ],
)
def test_completion(kernel: Session, code: str, expected: str) -> None:
    client: Any = kernel._client
    client.complete(code, len(code))
    matches: list[str] = client.get_shell_msg(timeout=20)["content"]["matches"]
    assert expected in matches


def test_progress_is_shown_and_an_interrupt_leaves_no_half_file(kernel: Session) -> None:
    cell = kernel.run(
        "r = secure_call('s3', 'put_object', Bucket='rt-bucket', Key='big',\n"
        "                Body='fileb://big.bin', quiet=False)"
    )
    assert not cell.error
    here = sorted(path.name for path in kernel.workspace.iterdir())
    started = time.monotonic()

    def interrupt() -> None:
        try:
            kernel.manager.interrupt_kernel()
        finally:
            ensure_event_loop().close()  # the one that the blocking manager made for this thread

    timer = threading.Timer(0.6, interrupt)
    timer.start()
    cell = kernel.run(
        '%secure_call s3 get_object --save Body=half {"Bucket": "rt-bucket", "Key": "big"}'
    )
    timer.join()
    assert cell.error.startswith("KeyboardInterrupt"), cell.error
    assert time.monotonic() - started < 5
    bars = [m for m in cell.messages if m["msg_type"] == "display_data"]
    assert "half: " in bars[0]["content"]["data"]["text/plain"]
    assert sorted(path.name for path in kernel.workspace.iterdir()) == here
    assert "arn:aws" in shown(kernel, "secure_call('sts', 'get_caller_identity')")
