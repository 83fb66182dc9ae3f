"""Writes that the API server has not answered yet: the watch may tell of one before the answer does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Place: TypeAlias = tuple[str, str, str]  # kind, namespace and name


class InFlight:
    """Holds back what is told of an object until the write to it is answered. It belongs to one event loop.

    A pass would otherwise take its own write for somebody else's, and look at everything once more.
    """

    def __init__(self) -> None:
        self._writes: dict[Place, int] = {}
        self._told: dict[Place, list[Callable[[], None]]] = {}

    @contextmanager
    def write(self, place: Place) -> Iterator[None]:
        """Mark one write, answered or not when the block ends."""
        self._writes[place] = self._writes.get(place, 0) + 1
        try:
            yield
        finally:
            self._writes[place] -= 1
            if not self._writes[place]:
                del self._writes[place]
                self._release(place)

    def hear(self, place: Place, take: Callable[[], None]) -> None:
        """Call `take` now, or as soon as no write to the place is under way; always in the order of the calls."""
        if place in self._writes:
            self._told.setdefault(place, []).append(take)
        else:
            take()

    def _release(self, place: Place) -> None:
        # Later, since who wrote has yet to note the answer.
        for take in self._told.pop(place, ()):
            asyncio.get_running_loop().call_soon(take)
