"""The files that an AWS command names: each is looked up in the workspace, and its path rewritten.

The CLI reads ``file://`` and ``fileb://`` values, expands ``~`` and ``$VARIABLE`` in them, reads
further references inside shorthand, and fetches ``http://`` values.  What the rules let through is
the plain absolute path that was checked, in the sandbox's own view.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat

from keyless_sidecar.tools.aws_operations import OptionSpec
from keyless_sidecar.tools.verdict import CheckedFile, Refused, shown
from keyless_sidecar.workspace import WorkspaceError, WorkspaceRoot

__all__ = ["Files"]

_PREFIXES = ("fileb://", "file://")
_REMOTE = ("http://", "https://")
_REFERENCE = re.compile(r"fileb?://")
#: A reference inside shorthand that can be read in one way only.
_INSIDE = re.compile(r"(=\s*)(fileb?://)([A-Za-z0-9_./+-]+)(?=[,}\]]|$)")
_HEAD = 4096


class Files:
    """Checks and rewrites the paths of one command.

    Args:
        workspace: where files are looked up.
        cwd: the command's folder, relative to the workspace.
    """

    def __init__(self, workspace: WorkspaceRoot, cwd: str) -> None:
        self._workspace = workspace
        self._cwd = cwd
        self._found: dict[tuple[str, str], CheckedFile] = {}

    def found(self) -> tuple[CheckedFile, ...]:
        """All that was checked."""
        return tuple(self._found.values())

    def value(self, option: str, value: str, spec: OptionSpec, *, url: bool = False) -> str:
        """Check an option's value; returns it as the CLI is to get it.

        Args:
            option: name without dashes, for messages.
            value: as it was given.
            spec: what the option takes.
            url: the value is a URL that the CLI passes on.

        Raises:
            Refused: it names a file that can't be used, or something to fetch.
        """
        if spec.path:
            if value.startswith((*_PREFIXES, *_REMOTE)):
                raise Refused(
                    "InvalidRequest",
                    f"--{option} takes the path itself, without {value.split('/')[0]}//.",
                    "files.prefix",
                )
            return self.read(value)
        for prefix in _PREFIXES:
            if value.startswith(prefix):
                path = self.read(value[len(prefix) :])
                if spec.complex:
                    self._check_json(option, path)
                return prefix + path
        if value.lower().startswith(_REMOTE) and not url:
            raise Refused(
                "InvalidRequest",
                f"--{option} starts with http:// or https://, which the AWS CLI would fetch; put "
                "the content into a workspace file and write file://NAME.",
                "files.remote",
            )
        if spec.complex and _REFERENCE.search(value) and not _is_json(value):
            return self._inside(option, value)
        return value

    def read(self, path: str) -> str:
        """Check a file that the CLI reads; returns its absolute path in the sandbox."""
        rel = self._relative(path)
        try:
            fd = self._workspace.open_read(rel)
            try:
                size = os.fstat(fd).st_size
            finally:
                os.close(fd)
        except WorkspaceError as error:
            raise _refused(path, error) from error
        known = self._found.get(("read", rel))
        return self._note(rel, CheckedFile(rel, "read", size, known is not None and known.json))

    def write(self, path: str) -> str:
        """Check a file that the CLI writes; returns its absolute path in the sandbox."""
        rel = self._relative(path)
        if not rel or path.endswith("/"):
            raise Refused(
                "InvalidRequest", f"{shown(path)} is a folder; name a file.", "files.kind"
            )
        try:
            self._workspace.check_output(rel)
        except WorkspaceError as error:
            raise _refused(path, error) from error
        return self._note(rel, CheckedFile(rel, "write"))

    def folder(self, path: str) -> str:
        """Check a folder that exists; returns its absolute path in the sandbox."""
        rel = self._relative(path)
        try:
            os.close(self._workspace.folder(rel))
        except WorkspaceError as error:
            raise _refused(path, error) from error
        return self._note(rel, CheckedFile(rel, "folder"))

    def new_folder(self, path: str) -> str:
        """Check a folder that the CLI fills and may make; returns its path in the sandbox."""
        if self.is_folder(path):
            return self.folder(path)
        rel = self._relative(path)
        try:
            self._workspace.check_output(rel)
        except WorkspaceError as error:
            raise _refused(path, error) from error
        return self._note(rel, CheckedFile(rel, "folder"))

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there now."""
        try:
            return stat.S_ISDIR(self._workspace.stat(self._relative(path)).st_mode)
        except WorkspaceError:
            return False

    # ------------------------------------------------------------------ inside

    def _relative(self, path: str) -> str:
        if "$" in path or path.startswith("~"):
            raise Refused(
                "InvalidRequest",
                f"The path {shown(path)} holds '$' or starts with '~', which are not expanded; "
                "write the path in the workspace.",
                "files.expansion",
            )
        try:
            return self._workspace.relative(path, self._cwd)
        except WorkspaceError as error:
            raise _refused(path, error) from error

    def _note(self, rel: str, file: CheckedFile) -> str:
        self._found[file.use, rel] = file
        inside = self._workspace.inside
        return f"{inside}/{rel}" if rel else inside

    def _check_json(self, option: str, path: str) -> None:
        """Content that is not JSON would be read as shorthand, with references of its own."""
        rel = path[len(self._workspace.inside) + 1 :]
        try:
            fd = self._workspace.open_read(rel)
            try:
                head = os.read(fd, _HEAD)
            finally:
                os.close(fd)
        except WorkspaceError as error:
            raise _refused(path, error) from error
        if head.lstrip()[:1] not in (b"{", b"["):
            raise Refused(
                "InvalidRequest",
                f"The file for --{option} must hold JSON (an object or a list).",
                "files.json",
            )
        self._found["read", rel] = dataclasses.replace(self._found["read", rel], json=True)

    def _inside(self, option: str, value: str) -> str:
        """Rewrite the references inside shorthand."""
        if len(_REFERENCE.findall(value)) != len(_INSIDE.findall(value)):
            raise Refused(
                "InvalidRequest",
                f"The file references inside --{option} can't be read safely; give the value as "
                "JSON, or write Key@=file://NAME with a plain name.",
                "files.shorthand",
            )
        return _INSIDE.sub(
            lambda match: match.group(1) + match.group(2) + self.read(match.group(3)), value
        )


def _is_json(value: str) -> bool:
    if value.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _refused(path: str, error: WorkspaceError) -> Refused:
    advice = {
        "missing": "check the name, which is relative to the command's folder",
        "not-regular": "name a regular file",
        "symlink": "copy the file into the workspace",
        "outside": "copy the file into the workspace",
        "links": "copy it and use the copy",
    }.get(error.reason, "use another file")
    return Refused(
        "InvalidRequest",
        f"The file {shown(path)} {error.message}; {advice}.",
        f"files.{error.reason}",
    )
