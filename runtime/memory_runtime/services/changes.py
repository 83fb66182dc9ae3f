"""Following the committed changes of a namespace into this process's vector index, so that none is ever skipped.

Postgres hands out transaction numbers at the start of a transaction and makes its rows visible at the end, so "rows
above the last number I saw" would miss a slow one. The feed asks instead for everything at or above the *horizon*, the
lowest transaction that was still running at the last look. Rows seen twice are recognised by their version.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from memory_contracts.errors import Unavailable
from memory_runtime.domain.consistency import decode_token, encode_token
from memory_runtime.domain.records import Change, IndexEntry
from memory_runtime.ports import ChangeSource, VectorIndex

log = logging.getLogger(__name__)
LOAD_PAGE = 2_000
LOAD_LOG_EVERY = 20_000


class ChangeFeed:
    """Keeps the index current; `clock` gives monotonic seconds."""

    def __init__(
        self,
        source: ChangeSource,
        index: VectorIndex,
        *,
        consistency_timeout: float,
        reload_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._index = index
        self._consistency_timeout = consistency_timeout
        self._reload_after = reload_after
        self._clock = clock
        self._horizon: int | None = None
        # The highest transaction that has rows in the index; some below it, above the horizon, may be missing.
        self._newest = 0
        self._last_look = clock()
        self._look_running = asyncio.Lock()
        self._looks_started = 0
        self._last_good_look = 0

    @property
    def loaded(self) -> bool:
        """Whether the index holds everything that was stored when this process began to follow."""
        return self._horizon is not None

    @property
    def silence(self) -> float:
        """Seconds since the feed last heard from the database."""
        return self._clock() - self._last_look

    @property
    def token(self) -> str | None:
        """A consistency token for what the index holds now: another process that honours it shows no less."""
        return None if self._horizon is None else encode_token(max(self._horizon - 1, self._newest))

    async def load(self) -> None:
        """Fill the index from the canonical store."""
        started = self._clock()
        self._horizon = None
        self._index.clear()
        horizon, rows = await self._source.horizon(), 0
        async for page in self._source.all_entries(LOAD_PAGE):
            self._index.apply(page)
            rows += len(page)
            if rows % LOAD_LOG_EVERY < LOAD_PAGE <= rows:
                log.info("loading memories", extra={"loaded": rows})
            await asyncio.sleep(0)
        self._horizon = horizon
        self._last_look = self._clock()
        log.info("memories loaded", extra={"loaded": rows, "seconds": round(self._clock() - started, 3)})

    def applied(self, transaction: int, entries: Sequence[IndexEntry]) -> None:
        """Take over a write of this very process, which therefore sees it at once."""
        self._index.apply(entries)
        self._newest = max(self._newest, transaction)

    async def wait_for(self, token: str) -> None:
        """Return once the index holds what `token` names; raises `Unavailable` when that takes too long.

        A write of this very process is looked for as well: the client may have written to others before it, and its
        last token stands for all of them.
        """
        transaction = decode_token(token)
        if self._horizon is not None and transaction < self._horizon:
            return
        try:
            async with asyncio.timeout(self._consistency_timeout):
                await self.look()
        except TimeoutError:
            raise Unavailable("this process has not caught up with the token yet; ask again") from None

    async def look(self) -> None:
        """Apply all that is committed now. A caller joins a look only if that look began after the call."""
        wanted = self._looks_started + 1
        async with self._look_running:
            if self._last_good_look >= wanted:
                return
            self._looks_started += 1
            number = self._looks_started
            await self._look()
            self._last_good_look = number

    async def _look(self) -> None:
        # Tombstones are dropped after their retention; whoever was away for longer may have missed one.
        if self._horizon is None or self.silence > self._reload_after:
            await self.load()
            return
        horizon, changes = await self._source.changes(self._horizon)
        await self._apply(changes)
        self._horizon = horizon
        self._newest = max([self._newest, *(change.transaction for change in changes)])
        self._last_look = self._clock()

    async def _apply(self, changes: Sequence[Change]) -> None:
        fresh = [change.seq for change in changes if change.version > self._index.version(change.seq)]
        for start in range(0, len(fresh), LOAD_PAGE):
            self._index.apply(await self._source.entries(fresh[start : start + LOAD_PAGE]))
