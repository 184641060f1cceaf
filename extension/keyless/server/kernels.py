"""What this server's Keyless kernels say of themselves, over their control sockets.

Asked anew each time and only while somebody looks.  No news is subscribed to: a listener that may
answer would make questions wait for a page on which nobody can answer them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from keyless.control_client import ControlClient, ControlError, ControlUnavailable
from keyless.server.timeline import timeline
from keyless_kernel.provisioner import KeylessProvisioner

__all__ = ["Kernels", "NoSuchKernel"]

#: Seconds that one sidecar may take to answer.
_PATIENCE = 3.0
#: What a person's page is told of a question; files and parameters are for the approval page.
_SHOWN = (
    "id", "tool", "shown", "rule", "reason", "record_id", "execution_count", "cell_hash", "asked",
    "seconds_left",
)  # fmt: skip


class NoSuchKernel(Exception):
    """This server has no Keyless kernel of that id."""


class Kernels:
    """The Keyless kernels of one Jupyter server.

    Args:
        manager: the server's kernel manager.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def overview(self) -> list[dict[str, Any]]:
        """Each kernel: level, names of tools and credentials, what runs, what waits.

        ``answers`` is false where its sidecar doesn't answer (it starts, or has gone).
        """
        return list(
            await asyncio.gather(
                *(self._one(identity, each) for identity, each in self._provisioners())
            )
        )

    async def records(self, identity: str, limit: int) -> list[dict[str, Any]]:
        """What a kernel did, newest first: see :func:`keyless.server.timeline.timeline`.

        Args:
            identity: the kernel's id.
            limit: how many of its last audit records are looked at, 1 to 1000.

        Raises:
            NoSuchKernel: there is none.
            ControlUnavailable, ControlError: its sidecar doesn't say.
        """
        for known, provisioner in self._provisioners():
            if known == identity:
                async with asyncio.timeout(_PATIENCE):
                    return timeline(await _client(provisioner).audit(limit))
        raise NoSuchKernel(identity)

    def _provisioners(self) -> Iterator[tuple[str, KeylessProvisioner]]:
        for identity in self._manager.list_kernel_ids():
            provisioner = self._manager.get_kernel(identity).provisioner
            if isinstance(provisioner, KeylessProvisioner):
                yield identity, provisioner

    async def _one(self, identity: str, provisioner: KeylessProvisioner) -> dict[str, Any]:
        known: dict[str, Any] = {"id": identity, "level": provisioner.level, "answers": False}
        try:
            control = _client(provisioner)
            async with asyncio.timeout(_PATIENCE):
                status, pending = await asyncio.gather(control.status(), control.pending())
        except (ControlUnavailable, ControlError, TimeoutError):
            return known
        return known | {
            "answers": True,
            "guarantees": status["guarantees"],
            "attended": status["approvers"] > 0,
            "tools": [tool["name"] for tool in status["tools"]],
            "credentials": [entry["name"] for entry in status["credentials"]],
            "audit_records": status["audit_records"],
            "running": [
                {name: each[name] for name in ("record_id", "tool", "argv", "seconds")}
                for each in status["running"]
            ],
            "pending": [{name: each[name] for name in _SHOWN} for each in pending],
        }


def _client(provisioner: KeylessProvisioner) -> ControlClient:
    folder = provisioner.control_folder
    if not folder:
        raise ControlUnavailable("The kernel doesn't run.")
    return ControlClient(folder)
