"""Work in one thread, asked for by the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from keyless_sidecar.turns import Turns


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    made = Turns("test-turns")
    yield made
    made.close()


async def test_results_and_errors_come_back_in_order(turns: Turns) -> None:
    seen: list[int] = []

    def work(number: int) -> int:
        seen.append(number)
        return 12 // number

    done = await asyncio.gather(
        *(turns.run(lambda n=n: work(n)) for n in (3, 0, 4)),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert seen == [3, 0, 4]
    assert (done[0], type(done[1]), done[2]) == (4, ZeroDivisionError, 3)


async def test_what_is_cancelled_is_not_begun_and_holds_up_nobody(turns: Turns) -> None:
    go, begun = threading.Event(), []
    first = asyncio.ensure_future(turns.run(go.wait))
    second = asyncio.ensure_future(turns.run(lambda: begun.append(2)))
    third = asyncio.ensure_future(turns.run(lambda: begun.append(3)))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.sleep(0)
    go.set()
    await third
    assert begun == [3]
    assert first.cancelled()
    assert second.cancelled()


async def test_after_the_end_nothing_is_taken(turns: Turns) -> None:
    assert await turns.run(lambda: 1) == 1
    turns.close()
    with pytest.raises(RuntimeError, match="no more work"):
        await turns.run(lambda: 1)
