"""A call's parameters: plain values checked, workspace files put in, validated by botocore's rules.

Called in a thread by :mod:`keyless_sidecar.calls.planning`, before anything is decided, so that
what is decided on is what will be sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator

from keyless.protocol.calls import MAX_NESTING, read_reference
from keyless_sidecar.calls.content import Owner, Upload
from keyless_sidecar.execution.acting import acting_as
from keyless_sidecar.tools.verdict import Refused, shown
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

__all__ = ["MAX_CONTENT", "MAX_TEXT", "resolve", "validate"]

#: Largest file that is sent within a request's text; one that streams has no limit here.
MAX_CONTENT = 40 * 1024 * 1024
#: Largest file that is read as text or JSON.
MAX_TEXT = 1024 * 1024
_PLAIN = (str, bool, int, float, bytes, datetime, type(None))
#: What botocore fills in itself after its own validation would complain.
_IMPLIED: Mapping[str, str] = {"glacier:accountId": "-"}


def resolve(
    model: OperationModel,
    parameters: Mapping[str, Any],
    workspace: WorkspaceRoot,
    cwd: str,
    reader: Owner,
    keep: Callable[[Upload], None],
) -> dict[str, Any]:
    """The parameters as botocore takes them.

    Args:
        model: of the operation.
        parameters: as they came; file references stand in them.
        workspace: where the files lie.
        cwd: folder that their names are relative to.
        reader: with whose rights files are opened: no more than the kernel side has.
        keep: gets each open file, at once; who called closes them.

    Raises:
        Refused: a value is of no known kind, too deep, or a file can't be used.
    """
    values = _Reader(model, workspace, cwd, reader, keep)
    shape = model.input_shape
    members: Mapping[str, Shape] = shape.members if shape is not None else {}
    return {
        name: values.value(value, members.get(name), name, 1) for name, value in parameters.items()
    }


def validate(model: OperationModel, parameters: Mapping[str, Any]) -> None:
    """Check names and types by the model.

    Raises:
        Refused: something is unknown, missing or of the wrong type; in botocore's words.
    """
    shape = model.input_shape
    if shape is None:
        if parameters:
            name = next(iter(parameters))
            raise _invalid(f"{model.name} takes no parameters, but {shown(name)} is given.")
        return
    given = dict(parameters)
    # botocore takes these in other forms too, or fills them in, before it validates.
    if isinstance(given.get("CopySource"), Mapping):
        given["CopySource"] = "-"
    for name in model.idempotent_members:
        given.setdefault(name, str(uuid.uuid4()))
    for full, value in _IMPLIED.items():
        service, _, name = full.partition(":")
        if service == model.service_model.service_name:
            given.setdefault(name, value)
    report = ParamValidator().validate(given, shape)
    if report.has_errors():
        raise _invalid(f"{model.name}: {report.generate_report()}")


class _Reader:
    """The state of one resolution."""

    def __init__(
        self,
        model: OperationModel,
        workspace: WorkspaceRoot,
        cwd: str,
        reader: Owner,
        keep: Callable[[Upload], None],
    ) -> None:
        self._workspace = workspace
        self._cwd = cwd
        self._reader = reader
        self._keep = keep
        self._streaming = model.get_streaming_input()
        self._left = MAX_CONTENT

    def value(self, value: Any, shape: Shape | None, place: str, depth: int) -> Any:
        """One value with all that is in it."""
        if depth > MAX_NESTING:
            raise _invalid(f"The parameters are nested deeper than {MAX_NESTING} levels.")
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, list):
            item = shape.member if shape is not None and shape.type_name == "list" else None
            return [
                self.value(each, item, f"{place}[{index}]", depth + 1)
                for index, each in enumerate(value)
            ]
        if isinstance(value, dict):
            return {
                self._key(name, place): self.value(
                    each, _member(shape, name), f"{place}.{name}", depth + 1
                )
                for name, each in value.items()
            }
        try:
            reference = read_reference(value)
        except UnicodeDecodeError:
            reference = None
        if reference is None:
            raise _invalid(f"The value of {shown(place)} is of no kind that can be sent.")
        return self._file(*reference, shape, place)

    def _key(self, name: Any, place: str) -> str:
        if not isinstance(name, str):
            raise _invalid(f"The names in {shown(place)} must be texts.")
        return name

    def _file(self, path: str, text: bool, shape: Shape | None, place: str) -> Any:
        try:
            rel = self._workspace.relative(path, self._cwd)
            streams = shape is not None and shape is self._streaming
            if streams:
                upload = Upload(self._open(rel), rel)
                self._keep(upload)
                return upload
            content = self._content(rel, MAX_TEXT if text else self._left)
        except WorkspaceError as error:
            hint = ""
            if error.reason == "too-large" and not text:
                hint = (
                    f" ({MAX_CONTENT} for all files together); {place} is sent within the "
                    "request, so upload it to S3 and name it there, where the operation can"
                )
            raise _invalid(f"The file {shown(path)} {error.message}{hint}.") from None
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise _invalid(f"The file {shown(path)} can't be read: {reason}.") from None
        kind = shape.type_name if shape is not None else "blob"
        if kind == "blob":
            self._left -= len(content)
            return content
        if not text:
            raise _invalid(f"{place} is text: pass file://{path}, not fileb://{path}.")
        try:
            decoded = content.decode()
            return decoded if kind == "string" else json.loads(decoded)
        except UnicodeDecodeError:
            raise _invalid(f"The file {shown(path)} is not UTF-8.") from None
        except (ValueError, RecursionError):
            raise _invalid(f"The file {shown(path)} holds no JSON, which {place} needs.") from None

    def _open(self, rel: str, most: int | None = None) -> int:
        with acting_as(self._reader.uid, self._reader.gid):
            return self._workspace.open_read(rel, max_size=most)

    def _content(self, rel: str, most: int) -> bytes:
        descriptor = self._open(rel, most)
        with contextlib.closing(os.fdopen(descriptor, "rb")) as file:
            # What grows meanwhile is cut, as a size that was checked must be.
            return file.read(most)


def _member(shape: Shape | None, name: Any) -> Shape | None:
    if shape is None:
        return None
    if shape.type_name == "structure":
        found: Shape | None = shape.members.get(name)
        return found
    return shape.value if shape.type_name == "map" else None


def _invalid(message: str) -> Refused:
    return Refused("InvalidRequest", message, "request.parameters")
