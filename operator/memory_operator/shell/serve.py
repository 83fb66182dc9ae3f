"""The operator process: wait for the lease, fill the cache, work until stopped. The one place where its parts meet."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from memory_operator.backends.registry import BackendRegistry
from memory_operator.consent import KubeConsent
from memory_operator.controller.elector import Elector
from memory_operator.controller.event_api import KubernetesEventApi
from memory_operator.controller.http_server import HealthApp, HealthServer, Readiness
from memory_operator.controller.lease import LeaseTimes
from memory_operator.controller.lease_api import KubernetesLeaseApi
from memory_operator.controller.metrics import MeasuredQueue, event_handled, lead_by
from memory_operator.controller.recorder import Recorder
from memory_operator.controller.rest import RestClient
from memory_operator.controller.schedule import Priority
from memory_operator.controller.watchdog import Watchdog, keep_beating
from memory_operator.controller.work_queue import WorkQueue
from memory_operator.keys import Key
from memory_operator.kube.client import KubeClient
from memory_operator.kube.connect import load_configuration
from memory_operator.kube.kinds import NAMESPACE
from memory_operator.kube.resources import ResourceWriter
from memory_operator.kube.secrets import KubeSecrets
from memory_operator.kube.workloads import KubeWorkloads
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.shapes import permit_of
from memory_operator.shell.echo import WatchEcho
from memory_operator.shell.informer import Informer
from memory_operator.shell.parts import Parts
from memory_operator.shell.patience import until_answered
from memory_operator.shell.workers import WORKERS_PER_CLUSTER, Workers, lane_of
from memory_operator.world import World

CONTROLLER = "memory.somafractal.io/memory-operator"
LEASE = "memory-operator"
LOOP_SECONDS = 30.0
SECRET_BYTES = 32
DRAIN_SECONDS = 20.0
GARBAGE_OBJECTS = 10_000  # new ones between two collections; a new namespace makes more than a thousand
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What `memory-operator run` was told."""

    namespace: str  # where the Lease is
    health_port: int
    times: LeaseTimes = field(default_factory=LeaseTimes)


class Operator:
    """One replica."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._watchdog = Watchdog()
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._failure = ""
        self._state = Readiness(ready=False, detail="starting")

    def stop(self) -> None:
        """End `run` in order."""
        self._stopping.set()

    async def run(self) -> bool:
        """Serve until stopped; return whether it ended because it was told to."""
        configuration = await load_configuration()
        app = HealthApp(self._watchdog.problems, lambda: self._state)
        with HealthServer(app, self._options.health_port) as server:
            logger.info("health and metrics", extra={"event": "health.listening", "port": server.port})
            beating = asyncio.create_task(keep_beating(self._watchdog, "the loop of the workers", LOOP_SECONDS))
            try:
                async with RestClient(configuration) as api:
                    await self._stand(api)
            finally:
                beating.cancel()
        return not self._failure

    async def _stand(self, api: RestClient) -> None:
        """Wait for the office, then hold it."""
        identity = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        lease = KubernetesLeaseApi(api, self._options.namespace, LEASE)
        times = self._options.times
        async with Elector(lease, identity, on_lost=lambda: self._fail("lost the lease"), times=times) as elector:
            lead_by(lambda: elector.is_leader)
            self._state = Readiness(ready=True, detail="standing by: another replica leads")
            echo = WatchEcho(self._watchdog)
            client = KubeClient(api, echo.wrote, permit_of(elector))
            async with Informer(client, echo, self._watchdog, self._fail_from_thread) as informer:
                if await self._unless_stopped(elector.elected()):
                    self._state = Readiness(ready=False, detail="leading: reads what there is")
                    await self._lead(api, client, informer, elector, identity)

    async def _lead(
        self, api: RestClient, client: KubeClient, informer: Informer, elector: Elector, identity: str
    ) -> None:
        cluster = await self._unless_stopped(self._cluster_identity(client))
        if cluster is None:
            return
        cache = informer.cache
        workloads = KubeWorkloads(client, cache, complete=True)
        kept = KubeSecrets(client, cache, workloads, complete=True)
        backends = BackendRegistry(kept, Claimant(cluster, elector.epoch, unique_names=True), elector)
        queue: WorkQueue[Key] = WorkQueue(
            metrics=MeasuredQueue(), lane_of=lambda key: lane_of(cache, key), lane_limit=WORKERS_PER_CLUSTER
        )
        world = World(
            consent=KubeConsent(cache),
            secrets=kept,
            backends=backends,
            workloads=workloads,
            now=lambda: datetime.now(UTC).replace(microsecond=0),
            new_secret=lambda: secrets.token_urlsafe(SECRET_BYTES),
        )
        events = KubernetesEventApi(api, controller=CONTROLLER, instance=identity, permit=permit_of(elector))
        async with Recorder(events, count=event_handled) as recorder, _closing(backends):
            resources = ResourceWriter(client, cache, lambda key: queue.add(key, Priority.USER_EDIT))
            workers = Workers(Parts(cache, queue, world, backends, workloads, resources, recorder, informer.vanished))
            if await self._unless_stopped(informer.feed(queue)):
                _spare_the_collector()
                await self._work(workers, queue)

    async def _work(self, workers: Workers, queue: WorkQueue[Key]) -> None:
        working = asyncio.create_task(workers.run())
        self._state = Readiness(ready=True, detail="leading")
        try:
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait((stopping, working), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if working.done() and (error := working.exception()):
                logger.error("a part failed", exc_info=error, extra={"event": "operator.crashed"})
                self._fail("its work cannot go on")
        finally:
            queue.shutdown()
            # What was begun is finished, unless the lease is lost: then nothing may be written any more.
            await asyncio.wait((working,), timeout=0 if self._failure else DRAIN_SECONDS)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`, or None when it is time to stop before."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stopping.cancel()

    async def _cluster_identity(self, client: KubeClient) -> str:
        """Return what tells this Kubernetes cluster from others: the uid of a namespace that lives as long as it."""

        async def ask() -> str:
            found = await client.get(NAMESPACE, None, "kube-system")
            return str(found["metadata"]["uid"]) if found else ""

        return await until_answered(ask)

    def _fail(self, why: str) -> None:
        logger.critical(f"{why}; this process ends", extra={"event": "operator.failed"})
        self._failure = why
        self._stopping.set()

    def _fail_from_thread(self, why: str) -> None:
        self._loop.call_soon_threadsafe(self._fail, why)


async def serve(options: Options) -> bool:
    """Run one replica until SIGTERM or SIGINT; False when it ended for another reason."""
    operator = Operator(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, operator.stop)
    return await operator.run()


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking again and again through modules and thousands of cached objects.

    They stay, and what of them goes is freed by its last reference. It took 8 % of the processor time of a rush.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


@asynccontextmanager
async def _closing(backends: BackendRegistry) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await backends.close()
