"""What every means of confinement offers to the supervisor and the sidecar."""

from __future__ import annotations

import abc
import resource
from collections.abc import Sequence

from keyless_kernel.confine import levels
from keyless_kernel.confine.process import Confined
from keyless_kernel.confine.sandbox import Limits, Sandbox


class Confiner(abc.ABC):
    """Starts sandboxes at one level.  :func:`keyless_kernel.confine.probe` makes it.

    Attributes:
        level: one of :data:`keyless_kernel.confine.levels.LEVELS`.
        uid, gid: host ids of sandboxed processes.
        overlay: whether ``WorkspaceMount(mode="overlay")`` works here.
        own_folders: whether a sandbox has a file system of its own; else paths are the host's,
            and the caller gives it a private folder.
        own_network: whether a sandbox has a network of its own; else the caller listens for it.
        guarantees: sentences on what holds at this level, and what does not.
    """

    own_folders = True
    own_network = True

    def __init__(self, *, level: str, uid: int, gid: int, overlay: bool) -> None:
        self.level = level
        self.uid = uid
        self.gid = gid
        self.overlay = overlay
        self.guarantees = levels.GUARANTEES[level]

    @abc.abstractmethod
    def spawn(
        self,
        spec: Sandbox,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        pass_fds: Sequence[int] = (),
    ) -> Confined:
        """Start a sandboxed command; returns when the sandbox exists.

        Args:
            spec: what to run in which sandbox.
            stdin, stdout, stderr: descriptors of the command.
            pass_fds: further descriptors that it inherits under the same numbers.

        Raises:
            ConfinementUnavailable: the sandbox could not be made.
        """

    @abc.abstractmethod
    def workspace_path(self, source: str) -> str:
        """Where sandboxed processes see the workspace.

        Args:
            source: its path on the host.
        """

    @abc.abstractmethod
    def home_path(self, spec_home: str, private: str) -> str:
        """Where HOME is for a sandbox with that ``home`` and that ``private`` folder."""

    @abc.abstractmethod
    def temporary_path(self, private: str) -> str:
        """Where TMPDIR is for a sandbox with that ``private`` folder."""


def rlimits(limits: Limits) -> list[tuple[int, int]]:
    """``setrlimit`` numbers and values, soft and hard alike."""
    wanted = [
        (resource.RLIMIT_CORE, limits.core),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ]
    if limits.processes:
        wanted.append((resource.RLIMIT_NPROC, limits.processes))
    if limits.memory:
        wanted.append((resource.RLIMIT_DATA, limits.memory))
    return [(number, lowered(number, value)) for number, value in wanted]


def lowered(limit: int, wanted: int) -> int:
    """``wanted``, or less where this process's own hard limit is lower: raising is not possible."""
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
