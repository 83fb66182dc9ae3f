"""Helpers of the operator's integration tests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

DEADLINE_SECONDS = 30.0


async def _eventually(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        value = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """Wait until a condition (plain or async) holds, and return its value; fails after a deadline."""
    return _eventually
