"""Waiting for the world, with a deadline instead of a fixed sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE_SECONDS = 30.0


async def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS, every: float = 0.02) -> Any:
    """Return the first true value of `condition`, plain or async; fail when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        value = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(every)
