"""Mechanisms for limits that tests put in force, and looks at this machine's control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyless_kernel.confine.metering import WATCHDOG, Limiter


def best() -> str:
    """The mechanism that this machine has."""
    return Limiter.find().mechanism


def groups() -> set[str]:
    """Names of all our control groups."""
    return {
        name
        for _, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("keyless-")
    }


def groups_of(pid: int) -> set[str]:
    """Names of our control groups that a process made."""
    return {name for name in groups() if name.split("-")[2] == str(pid)}


@pytest.fixture(params=["best", WATCHDOG])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each mechanism in turn; the weaker one by covering the control groups' file systems.

    The processes that a test starts decide by themselves, so the file systems themselves must be
    out of reach: the test's thread, and what it starts, gets a mount namespace where they are.
    """
    if request.param == "best":
        return best()
    if best() != WATCHDOG:
        request.getfixturevalue("private_mounts").cover(Path("/sys/fs/cgroup"))
    assert best() == WATCHDOG
    return WATCHDOG
