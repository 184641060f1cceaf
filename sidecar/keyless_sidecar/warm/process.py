"""One running zygote, as the sidecar holds it.  Owned by the event loop's thread."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time

from keyless_kernel.confine import Confined, Sandbox, joining
from keyless_sidecar.execution.budget import Budget
from keyless_sidecar.warm.packages import Packages

#: Files that a zygote has open beside devices: standard error and its control socket.
_OPEN_FILES = 2


class Zygote:
    """One running zygote.

    Args:
        confined: its sandbox.
        control: socket to it.
        budget: its limits.
        packages: the files that it has loaded, as they were.
        own_user: whether its sandbox has a user namespace of its own.
    """

    def __init__(
        self,
        confined: Confined,
        control: socket.socket,
        budget: Budget,
        packages: Packages,
        *,
        own_user: bool,
    ) -> None:
        self._confined = confined
        self._control = control
        self._budget = budget
        self.packages = packages
        self.pid = joining.first_child(confined.init_pid)
        self._above = joining.above(self.pid, user=own_user)
        self._descriptors = joining.descriptors(self.pid)
        self._users = 0
        self._retired = False
        self.used = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it can be forked."""
        return not self._retired and self._confined.process.poll() is None

    @property
    def users(self) -> int:
        """Sandboxes below it."""
        return self._users

    def fork(self, channel: socket.socket) -> None:
        """Let it fork a process that has the other end of ``channel``.

        Raises:
            OSError: it is gone, or doesn't answer.
        """
        socket.send_fds(self._control, [b"f"], [channel.fileno()])
        self.used = time.monotonic()

    def below(self, spec: Sandbox) -> Sandbox:
        """A sandbox that its forks can enter."""
        return dataclasses.replace(spec, above=self._above)

    def surplus(self, pid: int) -> str:
        """What a fork holds that it shouldn't; empty where there is nothing.

        Raises:
            OSError: it is gone.
        """
        # Its channel takes the place of the zygote's control socket.
        extra = joining.descriptors(pid) - self._descriptors
        return f"{extra} open files too many" if extra > 0 else ""

    def common(self) -> str:
        """What its forks would have in common, or lack, by the tool's fault; empty: nothing.

        Raises:
            OSError: it is gone.
        """
        if joining.threads(self.pid) != 1:
            return "starts threads"
        if (further := joining.open_files(self.pid) - _OPEN_FILES) > 0:
            return f"keeps {further} files open"
        return "shares memory" if joining.shares_memory(self.pid) else ""

    def take(self) -> None:
        """A sandbox below it begins: it must not be ended before :meth:`leave`."""
        self._users += 1

    def leave(self) -> None:
        """That sandbox has ended."""
        self._users -= 1
        self.used = time.monotonic()
        if self._retired and self._users == 0:
            self.close()

    def retire(self) -> None:
        """Fork it no more; it ends with the last sandbox below it."""
        self._retired = True
        if self._users == 0:
            self.close()

    def close(self) -> None:
        """End it, with whatever is below it."""
        self._retired = True
        self._control.close()
        self._confined.close()
        for descriptor in (self._above.pid, self._above.user):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._above = dataclasses.replace(self._above, pid=-1, user=None)
        self._budget.close()
