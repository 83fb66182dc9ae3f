"""Nothing of a pass goes on after the pass."""

import asyncio

import pytest

from memory_contracts.errors import Unavailable
from memory_operator.controller.tasks import all_of


async def test_results_come_in_order():
    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await all_of(after(3), after(1), after(2)) == [3, 1, 2]


async def test_a_failure_is_raised_when_the_others_have_ended():
    ended = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append(True)

    async def fail() -> None:
        raise Unavailable("no")

    with pytest.raises(Unavailable, match="no"):
        await all_of(work(), fail(), work())

    assert ended == [True, True]


async def test_a_pass_that_is_cancelled_takes_all_with_it():
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    both = asyncio.create_task(all_of(work(), work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    both.cancel()

    with pytest.raises(asyncio.CancelledError):
        await both
    assert ended == [True, True]
