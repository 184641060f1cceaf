"""A sidecar whose policy asks, the page for it, and a browser: one of each for a test module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser
from tests.support.asking import ASKING
from tests.support.chromium import chromium
from tests.support.page import Served, page_server, runtime_folder
from tests.support.sidecar import Sidecar, kept_sidecar

KERNEL = "5f0c9a3e_7d1b_4c55_9b60_1d3a8a1c2e77"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    """A kernel's sidecar."""
    with kept_sidecar(policy=ASKING, config={"Approvals": {"timeout": 25}}) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def served(sidecar: Sidecar) -> Iterator[Served]:
    """The page for it."""
    with page_server(runtime_folder(sidecar.home, **{KERNEL: sidecar.control})) as served:
        yield served
