"""Four sandboxes deploy at once; ``tests/stress/many_sandboxes.py`` does it with twenty."""

from __future__ import annotations

from tests.support.deployments import deploy_all, whole_chains, wrong
from tests.support.host_api import world


async def test_sandboxes_do_not_mix() -> None:
    with world() as here:
        done = await deploy_all(here, 4)
        assert wrong(here, done) == []
        assert whole_chains() == 4
