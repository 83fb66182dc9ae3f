"""Several things at once inside one pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def all_of(*work: Awaitable[T]) -> list[T]:
    """Return all results in order; a failure is raised when every other has ended too.

    Plain `gather` raises at once and lets the others go on: a write of this pass could come after one of the next.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    if failures := [each for each in results if isinstance(each, BaseException)]:
        raise failures[0]
    return [each for each in results if not isinstance(each, BaseException)]
