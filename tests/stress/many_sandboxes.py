"""``python many_sandboxes.py [N]``: N sandboxes at once, each deploys a function of its own."""

from __future__ import annotations

import asyncio
import sys
import time

from common import groups
from tests.support.deployments import deploy_all, whole_chains, wrong
from tests.support.host_api import world
from tests.support.leftovers import adopt_orphans, descendants, files_below, wait_until_gone


def main(count: int) -> int:
    adopt_orphans()
    others = groups()
    with world() as here:
        before = descendants()
        began = time.monotonic()
        done = asyncio.run(deploy_all(here, count))
        took = time.monotonic() - began
        problems = wrong(here, done)
        chains = whole_chains()
        left = wait_until_gone(before)
        files = files_below(here.home / "runtime")
    print(
        f"{count} sandboxes at once deployed {len(done)} functions in {took:.1f} s; cross-talk: "
        f"{problems or 'none'}; {chains} whole audit chains; left: {left or 'no process'}, "
        f"{files or 'no file'}; control groups {others} before, {groups()} after"
    )
    return 1 if problems or chains != count or left or files else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
