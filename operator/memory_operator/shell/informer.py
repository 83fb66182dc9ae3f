"""What there is in Kubernetes, kept up to date by watches and now and again by a listing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from memory_operator.controller.schedule import Priority
from memory_operator.controller.watchdog import Watchdog
from memory_operator.controller.work_queue import WorkQueue
from memory_operator.handlers import build_registry
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.client import KubeClient
from memory_operator.kube.connect import load_configuration
from memory_operator.kube.entries import Entry
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE
from memory_operator.shell.echo import WatchEcho
from memory_operator.shell.intake import Intake
from memory_operator.shell.patience import until_answered
from memory_operator.shell.sweep import Sweep
from memory_operator.shell.vanished import Vanished
from memory_operator.shell.watching import Watches

logger = logging.getLogger(__name__)


class Informer:
    """Fills the cache and keeps it so, inside ``async with``; also while another replica leads.

    Who takes over then need not read thousands of objects first. `on_failed` is told, from any thread, why it cannot
    go on.
    """

    def __init__(
        self, client: KubeClient, echo: WatchEcho, watchdog: Watchdog, on_failed: Callable[[str], None]
    ) -> None:
        self.cache, self.vanished = Cache(), Vanished()
        self._on_failed = on_failed
        self._queue: WorkQueue[Key] | None = None
        self._filled = asyncio.Event()
        self._sweep = Sweep(client, self.cache, self.add)
        intake = Intake(
            *(self.cache, self.add, echo, self.vanished), in_flight=client.in_flight, on_relisted=self._sweep.request
        )
        registry = build_registry(intake.deliver, load_configuration)
        self._watches = Watches(registry, watchdog, lambda: on_failed("the watches ended"))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="informer")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))
        if self._filled.is_set():
            await self._watches.stop()

    def add(self, key: Key, priority: Priority) -> None:
        """Tell who works of a key; while nobody does, nobody needs to know."""
        if self._queue is not None:  # an empty one is false
            self._queue.add(key, priority)

    async def feed(self, queue: WorkQueue[Key]) -> bool:
        """Put all there is on the queue, as soon as it is known, and from then on what changes."""
        await self._filled.wait()
        self.vanished.clear()  # the leader of that time has dealt with them
        self._queue = queue
        for kind in (MEMORY_CLUSTER, MEMORY_NAMESPACE):
            for key, entry in self.cache.entries(kind):
                queue.add(key, _urgency(entry))
        return True

    async def _run(self) -> None:
        await until_answered(self._sweep.fill)
        self._watches.start()
        self._filled.set()
        await self._sweep.run()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.error("the listings failed", exc_info=error, extra={"event": "informer.crashed"})
            self._on_failed("its view of the cluster cannot be kept")


def _urgency(entry: Entry) -> Priority:
    """Return how urgent an object is that nobody has looked at in this term: what was asked for goes first."""
    observed = (entry.body.get("status") or {}).get("observedGeneration")
    if observed is None:
        return Priority.CREATION
    return Priority.USER_EDIT if entry.deleting or observed != entry.generation else Priority.START_UP
