"""The LIST sweep: finds what no watch has told, above all deletions that fell into the gap of an expired watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from memory_contracts.errors import PlatformError
from memory_operator.controller.schedule import Priority
from memory_operator.handlers import SELECTORS, WATCHED
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.client import KubeClient
from memory_operator.kube.kinds import Kind

INTERVAL_SECONDS = 600.0
SPREAD = 0.2
# After a watch has begun anew, all of them usually do so.
SETTLE_SECONDS = 1.0
RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Sweep:
    """Compares the cache with complete listings: once to fill it, then now and again."""

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        add: Callable[[Key, Priority], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._cache = cache
        self._add = add
        self._chance = chance
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Ask for a sweep soon."""
        self._requested.set()

    async def fill(self) -> bool:
        """List everything once; raises `PlatformError` when that is not possible."""
        for kind in WATCHED:
            await self._compare(kind, Priority.START_UP)
        return True

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await self._pause()
            try:
                for kind in WATCHED:
                    await self._compare(kind, Priority.DRIFT)
            except Exception as error:
                # The last resort: a sweep that fails must not be the last one.
                known = isinstance(error, PlatformError)
                logger.log(logging.WARNING if known else logging.ERROR, str(error), exc_info=not known,
                           extra={"event": "sweep.failed"})  # fmt: skip
                await asyncio.sleep(RETRY_SECONDS)
                self.request()

    async def _pause(self) -> None:
        seconds = INTERVAL_SECONDS * (1 + SPREAD * (2 * self._chance() - 1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._requested.wait()
                await asyncio.sleep(SETTLE_SECONDS)
        self._requested.clear()

    async def _compare(self, kind: Kind, priority: Priority) -> None:
        listed: set[tuple[str, str]] = set()
        affected: set[Key] = set()
        version = 0
        async for page, version in self._client.pages(kind, selector=SELECTORS.get(kind, "")):  # noqa: B007
            for body in page:
                listed.add((body["metadata"].get("namespace", ""), body["metadata"]["name"]))
                affected |= self._cache.see(kind, body)
        affected |= self._cache.drop_ghosts(kind, listed, version)
        for key in affected:
            self._add(key, priority)
