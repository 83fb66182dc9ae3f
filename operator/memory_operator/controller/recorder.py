"""Posts Kubernetes Events in the background: a reconcile neither waits for them nor fails with them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol

from memory_contracts.conditions import Condition
from memory_contracts.errors import Conflict, NotFound, PlatformError, Unavailable
from memory_operator.controller.correlator import Correlator, Event, ObjectReference, Post, transitions

QUEUE_LIMIT = 1000
PAUSES_BEFORE_RETRY = (0.5, 2.0)
FLUSH_SECONDS = 2.0

logger = logging.getLogger(__name__)


class EventApi(Protocol):
    """Where Events are written. Both raise `PlatformError` and keep a time limit of their own."""

    async def create(self, post: Post, at: datetime) -> None:
        """Write a new Event; raises `Conflict` when there is one of that name."""
        ...

    async def continue_series(self, post: Post, at: datetime) -> None:
        """Say that it happened again; raises `NotFound` when the Event is gone."""
        ...


class Recorder:
    """Takes Events at any time and posts them inside ``async with``. It belongs to one event loop.

    `count` is told what became of each: ``created``, ``repeated`` (a series went on), ``limited`` (its object causes
    too many), ``refused`` (e.g. the namespace is terminating), ``failed`` (the API did not answer), ``dropped`` (too
    many at once, or the process ended).
    """

    def __init__(
        self,
        api: EventApi,
        *,
        count: Callable[[str], None],
        correlator: Correlator | None = None,
        queue_limit: int = QUEUE_LIMIT,
        now: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._count = count
        self._correlator = correlator or Correlator()
        self._now = now
        self._utc_now = utc_now
        self._queue: asyncio.Queue[tuple[Event, datetime]] = asyncio.Queue(queue_limit)
        self._task: asyncio.Task[None] | None = None

    def record(self, event: Event) -> None:
        """Have `event` posted soon; returns at once and never raises for what the API does."""
        try:
            self._queue.put_nowait((event, self._utc_now()))
        except asyncio.QueueFull:
            self._count("dropped")

    def record_transitions(
        self, regarding: ObjectReference, before: Sequence[Condition], after: Sequence[Condition]
    ) -> None:
        """Have an Event posted for each condition that has changed."""
        for transition in transitions(before, after):
            self.record(transition.event(regarding))

    async def __aenter__(self) -> Recorder:
        self._task = asyncio.create_task(self._post_all(), name="recorder")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._queue.join()
        finally:
            self._task.cancel()
            await asyncio.wait((self._task,))
            for _ in range(self._queue.qsize()):
                self._count("dropped")

    async def _post_all(self) -> None:
        while True:
            event, at = await self._queue.get()
            try:
                self._count(await self._post(event, at))
            except Exception:
                # The last resort: an Event is never worth the process, but a fault must be seen.
                logger.exception("an Event could not be posted", extra={"event": "recorder.failed"})
                self._count("failed")
            finally:
                self._queue.task_done()

    async def _post(self, event: Event, at: datetime) -> str:
        post = self._correlator.decide(event, self._now())
        if post is None:
            return "limited"
        try:
            return await self._write_patiently(post, at)
        except PlatformError as error:
            self._correlator.forget(event)
            logger.info(error.detail, extra={"event": "recorder.refused", "reason": event.reason})
            return "failed" if isinstance(error, Unavailable) else "refused"

    async def _write_patiently(self, post: Post, at: datetime) -> str:
        for pause in PAUSES_BEFORE_RETRY:
            try:
                return await self._write(post, at)
            except Unavailable:
                await asyncio.sleep(pause)
        return await self._write(post, at)

    async def _write(self, post: Post, at: datetime) -> str:
        if post.count > 1:
            with contextlib.suppress(NotFound):
                await self._api.continue_series(post, at)
                return "repeated"
            post = self._correlator.begin_anew(post.event, self._now())
        with contextlib.suppress(Conflict):  # it exists: the answer to an earlier attempt was lost
            await self._api.create(post, at)
        return "created"
