"""Writes that the API server has not answered yet: the watch may tell of one before the answer does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from memory_operator.keys import Key


class InFlight:
    """Holds back what is told of an object until the write to it is answered. It belongs to one event loop.

    A pass would otherwise take its own write for somebody else's, and look at everything once more.
    """

    def __init__(self) -> None:
        self._writes: dict[Key, int] = {}
        self._told: dict[Key, list[Callable[[], None]]] = {}

    @contextmanager
    def write(self, key: Key) -> Iterator[None]:
        """Mark one write, answered or not when the block ends."""
        self._writes[key] = self._writes.get(key, 0) + 1
        try:
            yield
        finally:
            self._writes[key] -= 1
            if not self._writes[key]:
                del self._writes[key]
                self._release(key)

    def hear(self, key: Key, take: Callable[[], None]) -> None:
        """Call `take` now, or as soon as no write to the object is under way; always in the order of the calls."""
        if key in self._writes:
            self._told.setdefault(key, []).append(take)
        else:
            take()

    def _release(self, key: Key) -> None:
        # Later, since who wrote has yet to note the answer.
        for take in self._told.pop(key, ()):
            asyncio.get_running_loop().call_soon(take)
