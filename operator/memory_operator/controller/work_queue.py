"""The queue between what happened and the workers: one worker a key, nothing lost, the urgent first.

The semantics are client-go's (workqueue, rate limiting, and controller-runtime's priorities): a key that is queued is
queued once; a key that is asked for while a worker has it runs once more afterwards. What was asked for is not kept:
the worker looks at the state, not at the cause.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol

from memory_operator.controller.schedule import Key, Priority, Schedule

PATIENCE_SECONDS = 30.0


class QueueShutDown(Exception):
    """The queue gives out no more keys."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with equal jitter: half of each pause is certain, half is chance.

    With full jitter a pause may be nothing at all, and the first retries would hit a backend that has just failed.
    """

    base: float = 0.5
    limit: float = 60.0

    def pause(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after so many failures in a row; `chance` lies in [0, 1)."""
        longest = min(self.limit, self.base * 2.0 ** min(failures - 1, 64))
        return longest * (0.5 + 0.5 * chance)


class QueueMetrics(Protocol):
    """Where the queue tells what it does."""

    def added(self, priority: Priority) -> None:
        """A key was asked for that was not queued."""
        ...

    def depth(self, ready: int, waiting: int) -> None:
        """So many keys can be taken; so many wait for their time or their worker."""
        ...

    def started(self, priority: Priority, waited: float) -> None:
        """A worker has a key that was ready for so many seconds."""
        ...

    def finished(self, worked: float) -> None:
        """A worker had a key for so many seconds."""
        ...

    def retried(self) -> None:
        """A key was put back after a failure."""
        ...


class Unmeasured:
    """Metrics that go nowhere."""

    def added(self, priority: Priority) -> None:
        """Ignore it."""

    def depth(self, ready: int, waiting: int) -> None:
        """Ignore it."""

    def started(self, priority: Priority, waited: float) -> None:
        """Ignore it."""

    def finished(self, worked: float) -> None:
        """Ignore it."""

    def retried(self) -> None:
        """Ignore it."""


class WorkQueue(Generic[Key]):
    """A `Schedule` that can be waited for. It belongs to one event loop.

    From another thread: ``loop.call_soon_threadsafe(queue.add, key, priority)``. `now` must run at the pace of the
    loop's clock. `patience` is after how many seconds a ready key begins to get turns whatever its priority.
    """

    def __init__(
        self,
        *,
        backoff: Backoff | None = None,
        patience: float = PATIENCE_SECONDS,
        lane_of: Callable[[Key], Hashable] = lambda key: None,
        lane_limit: float = math.inf,
        metrics: QueueMetrics | None = None,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._schedule: Schedule[Key] = Schedule(patience, lane_of, lane_limit)
        self._backoff = backoff or Backoff()
        self._metrics = metrics or Unmeasured()
        self._now = now
        self._chance = chance
        self._failures: dict[Key, int] = {}
        self._started: dict[Key, float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return self._schedule.ready

    def add(self, key: Key, priority: Priority) -> None:
        """Ask for `key` now."""
        self.add_after(key, 0.0, priority)

    def add_after(self, key: Key, seconds: float, priority: Priority) -> None:
        """Ask for `key` in so many seconds. If it is asked for earlier, that run answers this request too."""
        if self._closed:
            return
        now = self._now()
        if self._schedule.add(key, priority, now + max(0.0, seconds), now):
            self._metrics.added(priority)
        self._notify()

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Ask for `key` after its next pause, which grows until `forget`; return the pause in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = max(at_least, self._backoff.pause(failures, self._chance()))
        self.add_after(key, pause, Priority.RETRY)
        self._metrics.retried()
        return pause

    def forget(self, key: Key) -> None:
        """Let the next pause of `key` be the shortest again; call it after a success and when the object is gone."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key and take it; `done` gives it back. Raises `QueueShutDown`."""
        while not self._closed:
            now = self._now()
            if turn := self._schedule.take(now):
                self._started[turn.key] = now
                self._metrics.started(turn.priority, turn.waited)
                self._notify()  # there may be more than one
                return turn.key
            await self._change(now)
        raise QueueShutDown

    def done(self, key: Key) -> None:
        """Give back a key that `get` returned; a request that came meanwhile takes its place in the queue."""
        now = self._now()
        self._schedule.done(key, now)
        self._metrics.finished(now - self._started.pop(key))
        self._notify()

    def shutdown(self) -> None:
        """Let each worker end at its next `get`. What is queued is dropped: the next process finds it by looking."""
        self._closed = True
        while self._waiting:
            self._wake_one()

    async def _change(self, now: float) -> None:
        """Wait for one's turn to look again: when something was added or given back, or the next key is due."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._set_timer(now)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake_one()  # the turn goes to another
            raise

    def _notify(self) -> None:
        """Wake one worker, not all: what it does not take, it leaves to the next one by waking it."""
        if self._schedule.ready:
            self._wake_one()
        elif self._waiting:
            self._set_timer(self._now())
        self._metrics.depth(self._schedule.ready, self._schedule.waiting)

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self, now: float) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if (due := self._schedule.next_ready_at()) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._wake_one)
