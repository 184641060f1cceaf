"""Work that is only begun where something takes a while."""

from __future__ import annotations

import asyncio

from keyless_sidecar.later import Later


async def test_what_ends_before_was_never_begun() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    later = Later(0.01, work)
    assert not await later.end()
    await asyncio.sleep(0.03)
    assert begun == []


async def test_it_says_whether_the_work_was_done() -> None:
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    async def fails() -> None:
        done.set()
        raise ConnectionError

    async def goes_on() -> None:
        done.set()
        await asyncio.sleep(60)

    for what, expected in ((work, True), (fails, False), (goes_on, False)):
        done.clear()
        later = Later(0, what)
        await done.wait()
        await asyncio.sleep(0)
        assert await later.end() is expected
