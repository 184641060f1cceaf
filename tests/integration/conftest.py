"""Fixtures of the integration tests: real sidecar processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.sidecar import Sidecar

StartSidecar = Callable[..., Sidecar]


@pytest.fixture
def start_sidecar(jupyter_home: Path) -> Iterator[StartSidecar]:
    """Starts sidecars below a private folder and ends them with the test."""
    running: list[Sidecar] = []

    def start(**options: Any) -> Sidecar:
        sidecar = Sidecar(jupyter_home, **options)
        running.append(sidecar)
        return sidecar

    yield start
    for sidecar in running:
        sidecar.close()


@pytest.fixture
def sidecar(start_sidecar: StartSidecar) -> Sidecar:
    """A sidecar that has greeted, with the leaking tool and one credential for it."""
    started = start_sidecar()
    assert started.status.get("ready"), started.status
    started.hello()
    return started
