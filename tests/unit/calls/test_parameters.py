"""What a call's parameters may be in the sidecar: plain values, files of the workspace only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyless.protocol.calls import file_reference
from keyless_sidecar.calls import parameters as module
from keyless_sidecar.calls.content import Owner, Upload
from keyless_sidecar.calls.naming import find_operation, find_service, find_waiter
from keyless_sidecar.calls.parameters import resolve, validate
from keyless_sidecar.policy.aws_parameters import NotInModel
from keyless_sidecar.tools import Refused
from keyless_sidecar.workspace import WorkspaceRoot

OWNER = Owner(0, 0)
PUT = find_operation("s3", "put_object")
UPDATE = find_operation("lambda", "update-function-code")
CREATE = find_operation("lambda", "CreateFunction")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[WorkspaceRoot]:
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "secret").write_text("outside")
    (folder / "f.zip").write_bytes(b"PK")
    (folder / "note.txt").write_text("héllo")
    (folder / "other.txt").write_text("héllo")
    (folder / "layers.json").write_text('["a", "b"]')
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    os.link(folder / "note.txt", folder / "hard")
    os.mkfifo(folder / "pipe")
    with WorkspaceRoot(folder) as opened:
        yield opened


def resolved(root: WorkspaceRoot, model: Any, given: dict[str, Any], cwd: str = "") -> Any:
    uploads: list[Upload] = []
    try:
        return resolve(model, given, root, cwd, OWNER, uploads.append)
    finally:
        for upload in uploads:
            upload.close()


def test_a_file_becomes_what_its_parameter_needs(root: WorkspaceRoot) -> None:
    assert resolved(root, UPDATE, {"ZipFile": file_reference("f.zip", text=False)}) == {
        "ZipFile": b"PK"
    }
    code = {"Code": {"ZipFile": file_reference("/workspace/f.zip", text=False)}}
    assert resolved(root, CREATE, code) == {"Code": {"ZipFile": b"PK"}}
    note = {"Description": file_reference("../other.txt", text=True)}
    assert resolved(root, CREATE, note, "sub") == {"Description": "héllo"}
    layers = {"Layers": file_reference("layers.json", text=True)}
    assert resolved(root, CREATE, layers) == {"Layers": ["a", "b"]}


def test_content_streams_from_the_file(root: WorkspaceRoot) -> None:
    uploads: list[Upload] = []
    given = {"Body": file_reference("f.zip", text=False)}
    body = resolve(PUT, given, root, "", OWNER, uploads.append)["Body"]
    assert [body] == uploads
    moved: list[int] = []
    body.moved = moved.append
    assert (body.read(1), body.read(5), body.read(5)) == (b"P", b"K", b"")
    assert body.seek(0) == 0
    assert body.read() == b"PK"
    assert moved == [1, 2, 2, 2]
    body.close()
    with pytest.raises(OSError, match="closed"):
        body.read(1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("link", "symbolic link"),
        ("hard", "hard link"),
        ("pipe", "FIFO"),
        ("sub", "folder"),
        ("none", "does not exist"),
        ("../secret", "outside the workspace"),
        ("/etc/passwd", "outside the workspace"),
        ("/workspace/../etc/passwd", "outside the workspace"),
        ("a\0b", "usable path"),
    ],
)
@pytest.mark.parametrize("model", [PUT, UPDATE])
def test_no_file_but_a_plain_one_of_the_workspace(
    root: WorkspaceRoot, name: str, said: str, model: Any
) -> None:
    member = "Body" if model is PUT else "ZipFile"
    with pytest.raises(Refused, match=said):
        resolved(root, model, {member: file_reference(name, text=False)})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's file")
@pytest.mark.parametrize("model", [PUT, UPDATE])
def test_a_file_that_the_kernel_may_not_read_is_not_read_for_it(
    root: WorkspaceRoot, tmp_path: Path, model: Any
) -> None:
    member = "Body" if model is PUT else "ZipFile"
    tmp_path.chmod(0o755)
    (tmp_path / "work" / "f.zip").chmod(0o600)
    given = {member: file_reference("f.zip", text=False)}
    with pytest.raises(Refused, match="may not be opened"):
        resolve(model, given, root, "", Owner(61000, 61000), lambda _: None)


def test_wrong_content_is_said(root: WorkspaceRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="pass file://"):
        resolved(root, CREATE, {"Description": file_reference("f.zip", text=False)})
    with pytest.raises(Refused, match="no JSON"):
        resolved(root, CREATE, {"Layers": file_reference("other.txt", text=True)})
    monkeypatch.setattr(module, "MAX_CONTENT", 1)
    with pytest.raises(Refused, match="upload it to S3"):
        resolved(root, UPDATE, {"ZipFile": file_reference("f.zip", text=False)})


def test_a_text_is_never_taken_for_a_file(root: WorkspaceRoot) -> None:
    given = {"Description": "file://note.txt"}
    assert resolved(root, CREATE, given) == given


@pytest.mark.parametrize("value", [{1: 2}, {"a": {b"x": 1}}])
def test_names_are_texts(root: WorkspaceRoot, value: Any) -> None:
    with pytest.raises(Refused, match="must be texts"):
        resolved(root, CREATE, {"Tags": value})


def test_botocores_own_words_on_mistakes() -> None:
    with pytest.raises(Refused) as caught:
        validate(UPDATE, {"FunctionNam": "x", "Publish": "yes"})
    assert 'Missing required parameter in input: "FunctionName"' in caught.value.message
    assert 'Unknown parameter in input: "FunctionNam", must be one of' in caught.value.message
    assert "Invalid type for parameter Publish" in caught.value.message
    assert caught.value.kind == "InvalidRequest"


def test_what_botocore_fills_in_need_not_be_given() -> None:
    validate(find_operation("s3", "copy_object"), {
        "Bucket": "b", "Key": "k", "CopySource": {"Bucket": "b", "Key": "k"}
    })  # fmt: skip
    validate(find_operation("glacier", "list_vaults"), {})
    validate(find_operation("s3", "list_buckets"), {})


@pytest.mark.parametrize("word", ["update_function_code", "update-function-code"])
def test_each_spelling_is_one_operation(word: str) -> None:
    assert find_operation("lambda", word) is find_operation("lambda", "UpdateFunctionCode")


@pytest.mark.parametrize(
    ("service", "word", "said"),
    [
        ("lambda", "updatefunctioncode", "did you mean 'update_function_code'"),
        ("lambda", "UPDATE_FUNCTION_CODE", "no operation"),
        ("lambda", "__init__", "no operation"),
        ("lamda", "invoke", "did you mean 'lambda'"),
        ("../lambda", "invoke", "no service"),
        ("lambda\u200b", "invoke", "no service"),
    ],
)
def test_any_other_name_is_refused(service: str, word: str, said: str) -> None:
    with pytest.raises(NotInModel, match=said):
        find_operation(service, word)


def test_services_have_the_names_of_boto3_and_of_the_cli() -> None:
    assert find_service("s3api") is find_service("s3")
    assert find_waiter("lambda", "function-updated-v2")["name"] == "FunctionUpdatedV2"
    with pytest.raises(NotInModel, match="did you mean 'function_updated_v2'"):
        find_waiter("lambda", "function_updated_v3")
