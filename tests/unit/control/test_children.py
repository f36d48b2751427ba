from __future__ import annotations

import asyncio

import pytest

from apostille.control.children import _passes

# Far beyond what this takes.
LIMIT = 30.0


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancellation_that_comes_along_with_an_answer_is_not_lost(turns: int) -> None:
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def probe() -> bool:
        return await answer

    passing = asyncio.create_task(_passes(probe, LIMIT))
    for _ in range(5):
        await asyncio.sleep(0)
    answer.set_result(False)
    for _ in range(turns):
        await asyncio.sleep(0)
    was_running = passing.cancel()
    await asyncio.gather(passing, return_exceptions=True)
    assert passing.cancelled() is was_running
