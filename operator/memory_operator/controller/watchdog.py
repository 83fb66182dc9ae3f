"""Notices what has stopped: each part that must go on gives a sign of life, and silence fails the liveness probe."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Heart:
    limit: float
    last: float


class Watchdog:
    """Named heartbeats with deadlines. All methods may be called from any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._hearts: dict[str, _Heart] = {}
        self._lock = threading.Lock()

    def expect(self, name: str, within: float) -> None:
        """Expect a sign of life of `name` in each span of so many seconds, from now on."""
        if within <= 0:
            raise ValueError(f"{name}: a deadline of {within:g} s has passed before it begins")
        with self._lock:
            self._hearts[name] = _Heart(within, self._now())

    def beat(self, name: str) -> None:
        """Give a sign of life. One that nobody expects (any more) is no error: a watch may end before its last beat."""
        with self._lock:
            if heart := self._hearts.get(name):
                self._hearts[name] = _Heart(heart.limit, self._now())

    def dismiss(self, name: str) -> None:
        """Expect nothing more of `name`."""
        with self._lock:
            self._hearts.pop(name, None)

    def problems(self) -> list[str]:
        """Return a sentence for each part that is silent for too long; empty when all is well."""
        with self._lock:
            now, hearts = self._now(), sorted(self._hearts.items())
        return [
            f"{name} gave no sign of life for {now - heart.last:.0f} s; {heart.limit:g} s are allowed"
            for name, heart in hearts
            if now - heart.last > heart.limit
        ]


async def keep_beating(watchdog: Watchdog, name: str, within: float) -> None:
    """Show until cancelled that the event loop turns: one blocking call in it, and the beats stop."""
    watchdog.expect(name, within)
    try:
        while True:
            watchdog.beat(name)
            await asyncio.sleep(within / 4)
    finally:
        watchdog.dismiss(name)
