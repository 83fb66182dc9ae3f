"""Waiting for an API server that does not answer yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from memory_contracts.errors import PlatformError

RETRY_SECONDS = 2.0
T = TypeVar("T")

logger = logging.getLogger(__name__)


async def until_answered(work: Callable[[], Awaitable[T]]) -> T:
    """Return the first result of `work`, which is tried until it has one."""
    while True:
        try:
            return await work()
        except PlatformError as error:
            logger.warning(error.detail, extra={"event": "start.waiting"})
            await asyncio.sleep(RETRY_SECONDS)
