"""One stage and one kernel of each kind for a test process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.hunt import Hunter
from tests.support.kept import Kept, probe_folder
from tests.support.kernels import Session, Stage, protected, stage
from tests.support.unprotected import unprotected

SUPPORT = Path(__file__).parent.parent / "support"


@pytest.fixture(scope="session")
def world() -> Iterator[Stage]:
    """Private folders, canaries, a local AWS and the attacker's listener."""
    with stage() as made:
        made.configure(tools(made) | placeholder_tools(made))
        yield made


def tools(world: Stage) -> dict[str, Path]:
    """The tools that give everything away."""
    found = {"leaky": world.tool("leaky", SUPPORT / "leaky_tool.py")}
    shared = probe_folder() / "leaky_tool.py"
    if shared.is_file():
        found["rt-leaky"] = world.tool("rt-leaky", shared)
    return found


def placeholder_tools(world: Stage) -> dict[str, Path]:
    """Tools whose requests go by proxy; one tells all that it holds."""
    found = {"curl": Path("/usr/bin/curl")}
    shared = probe_folder() / "leaky_tool.py"
    if shared.is_file():
        found["rt-placeholder"] = world.tool("rt-placeholder", shared)
    return found


@pytest.fixture(scope="session")
def hunter(world: Stage) -> Hunter:
    """Looks for the stage's canaries."""
    return Hunter(world.canaries.values())


def _kept(make: Callable[[ExitStack], Session]) -> Iterator[Kept]:
    kept = Kept(make)
    yield kept
    kept.drop()


def _protected(world: Stage) -> Callable[[ExitStack], Session]:
    def make(stack: ExitStack) -> Session:
        session = protected(world)
        stack.callback(session.stop)
        return session

    return make


@pytest.fixture(scope="session")
def keyless(world: Stage) -> Iterator[Kept]:
    """The shared Keyless kernel."""
    yield from _kept(_protected(world))


@pytest.fixture(scope="session")
def probed(world: Stage) -> Iterator[Kept]:
    """A Keyless kernel for the shared probes alone: other attacks leave files in its HOME."""
    yield from _kept(_protected(world))


@pytest.fixture
def fresh(world: Stage) -> Iterator[Session]:
    """A Keyless kernel for one test, which may ruin it."""
    session = protected(world)
    yield session
    session.stop()


def _bare(world: Stage, secrets_in_kernel: bool) -> Iterator[Kept]:
    cli = Path(f"{sys.prefix}-aws/bin/aws")
    programs = tools(world) | ({"aws": cli} if cli.exists() else {})
    yield from _kept(
        lambda stack: stack.enter_context(
            unprotected(world, programs, secrets_in_kernel=secrets_in_kernel)
        )
    )


@pytest.fixture(scope="session")
def bare(world: Stage) -> Iterator[Kept]:
    """The shared unprotected kernel; only its naive sidecar holds the secrets."""
    yield from _bare(world, secrets_in_kernel=False)


@pytest.fixture(scope="session")
def naked(world: Stage) -> Iterator[Kept]:
    """The same with the secrets in the kernel's own environment too."""
    yield from _bare(world, secrets_in_kernel=True)
