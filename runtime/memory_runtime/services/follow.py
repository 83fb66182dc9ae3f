"""What an API process does beside answering: connect, follow the changes, tell the others, clean up; for ever."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from memory_contracts.errors import Conflict, ReadOnly, Unavailable
from memory_runtime.ports import Memories, VectorIndex
from memory_runtime.services.changes import ChangeFeed

log = logging.getLogger(__name__)
# Longest time between two looks; announcements make it shorter.
LOOK_EVERY = 1.0
# Writes within this time share one announcement: NOTIFY serialises commits, so it stays off the write path.
ANNOUNCE_AFTER = 0.02
# The text indexes are settled when no write has come for this long, or at the latest after the second time.
SETTLE_AFTER, SETTLE_AT_THE_LATEST = 0.5, 2.0
# Share of the memories that must be new before the statistics are taken again, and the least number.
STATISTICS_SHARE, STATISTICS_MINIMUM = 0.2, 500
EXPIRE_EVERY = 600.0
FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0

Connect = Callable[[], Awaitable[None]]
Listen = Callable[[Callable[[], None]], Awaitable[None]]


class Follower:
    """The background work of one process. `run` ends only by cancellation or by `Rejected`: a setting that is wrong.

    A `read_only` one changes nothing: its role may be forbidden to, and others clean up.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        index: VectorIndex,
        memories: Memories,
        *,
        connect: Connect,
        announce: Connect,
        listen: Listen,
        retention: timedelta,
        read_only: bool = False,
    ) -> None:
        self._feed = feed
        self._index = index
        self._memories = memories
        self._connect = connect
        self._announce = announce
        self._listen = listen
        self._retention = retention
        self._read_only = read_only
        self._woken = asyncio.Event()
        self._written = asyncio.Event()
        self._unsettled = asyncio.Event()
        self._rows_since_statistics = 0
        self.last_failure: str | None = "the database is not connected yet"

    def wrote(self, rows: int) -> None:
        """Note that this process has committed `rows` changes."""
        self._rows_since_statistics += rows
        self._written.set()
        self._unsettled.set()

    async def run(self) -> None:
        """Connect and load (for as long as it takes), then follow."""
        await self._until_it_works(self._start)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forever(self._look))
            tasks.create_task(self._forever(lambda: self._listen(self._woken.set)))
            for upkeep in () if self._read_only else (self._tell, self._settle, self._expire):
                tasks.create_task(self._forever(upkeep))

    async def _start(self) -> None:
        await self._connect()
        await self._feed.load()

    async def _look(self) -> None:
        await self._feed.look()
        self.last_failure = None
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _tell(self) -> None:
        await self._written.wait()
        await asyncio.sleep(ANNOUNCE_AFTER)
        self._written.clear()
        await self._announce()

    async def _settle(self) -> None:
        await self._unsettled.wait()
        await self._quiet()
        needed = max(STATISTICS_MINIMUM, STATISTICS_SHARE * sum(self._index.counts.values()))
        statistics = self._rows_since_statistics >= needed
        if statistics:
            self._rows_since_statistics = 0
        await self._memories.settle(statistics=statistics)

    async def _quiet(self) -> None:
        """Return when writes pause, or have not paused for long enough."""
        try:
            async with asyncio.timeout(SETTLE_AT_THE_LATEST):
                while self._unsettled.is_set():
                    self._unsettled.clear()
                    await asyncio.sleep(SETTLE_AFTER)
        except TimeoutError:
            self._unsettled.clear()

    async def _expire(self) -> None:
        # Spread over the period, so that replicas do not all clean at once.
        await asyncio.sleep(EXPIRE_EVERY * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        dropped = await self._memories.expire(self._retention)
        log.info("expired rows dropped", extra=dropped)

    async def _forever(self, step: Connect) -> None:
        while True:
            await self._until_it_works(step)

    async def _until_it_works(self, step: Connect) -> None:
        wait = FIRST_RETRY
        while True:
            try:
                await step()
            except (Unavailable, Conflict, ReadOnly) as error:
                if error.detail != self.last_failure:
                    log.warning("waiting for the database", extra={"reason": error.detail})
                self.last_failure = error.detail
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                wait = min(wait * 2, LONGEST_RETRY)
            else:
                return
