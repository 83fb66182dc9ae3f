"""kopf on a thread and an event loop of its own, so that neither it nor the workers can hold the other up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import kopf

from memory_operator.controller.watchdog import Watchdog, keep_beating
from memory_operator.handlers import watch

LOOP_SECONDS = 30.0
STOP_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Watches:
    """Watches between `start` and `stop`. `on_ended` is called, on the thread, when they end by themselves."""

    def __init__(self, registry: kopf.OperatorRegistry, watchdog: Watchdog, on_ended: Callable[[], None]) -> None:
        self._registry = registry
        self._watchdog = watchdog
        self._on_ended = on_ended
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watches", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    async def stop(self) -> None:
        """End the watches and wait for it."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except BaseException:
            logger.exception("the watches failed", extra={"event": "watches.failed"})
        if not self._stop.is_set():
            self._on_ended()

    async def _watch(self) -> None:
        beating = asyncio.create_task(keep_beating(self._watchdog, "the loop of the watches", LOOP_SECONDS))
        try:
            await watch(self._registry, self._stop, threading.Event())
        finally:
            beating.cancel()
