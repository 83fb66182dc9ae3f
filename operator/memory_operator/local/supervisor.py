"""The loop of local mode: keep the database running, reconcile, publish what is known; again on every change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable

from memory_contracts.errors import PlatformError, Unavailable
from memory_contracts.local import LocalEndpoint, write_endpoint
from memory_contracts.reasons import ConditionType
from memory_contracts.v1alpha1 import MemoryNamespace, MemoryNamespaceStatus
from memory_operator.local.database import DatabaseHost, GivenDatabase, OwnDatabase
from memory_operator.local.logs import log_to, stop_logging
from memory_operator.local.process_target import ProcessTarget
from memory_operator.local.processes import ProcessRecord, end_process
from memory_operator.local.report import is_resting, is_settled
from memory_operator.local.secrets import LocalSecretStore
from memory_operator.local.state import LocalOptions, LocalStatus, ProcessStatus, StateDirectory
from memory_operator.local.world import now, open_world
from memory_operator.reconcile import reconcile
from memory_operator.specs.tenant import tenant_names
from memory_operator.status import build_conditions, failed
from memory_operator.world import World

POLL_SECONDS = 0.3
RESYNC_SECONDS = 10.0
RETRY_SECONDS = 1.0
LEFTOVER_SIGNALS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
# A database is stopped by what it takes for "fast"; SIGTERM would wait for every client.
LEFTOVER_DATABASE_SIGNALS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
POSTGRES = "postgres"

logger = logging.getLogger(__name__)


class Supervisor:
    """Serves the desired state of one state directory until `stop` is called. Each report goes to `report`."""

    def __init__(self, state: StateDirectory, options: LocalOptions, report: Callable[[LocalStatus], None]) -> None:
        self._state = state
        self._report = report
        self._database: DatabaseHost = (
            GivenDatabase(options.postgres_url) if options.postgres_url else OwnDatabase(state)
        )
        self._target = ProcessTarget(state.logs, state.path, options.port, self._changed)
        self._secrets = LocalSecretStore(state)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._status = MemoryNamespaceStatus()
        self._published = LocalStatus()

    def stop(self) -> None:
        """End `run` in order."""
        self._stopping.set()

    async def run(self) -> None:
        """Reconcile until stopped; then stop the API, then the database. The caller holds the lock."""
        end_leftovers(self._state)
        self._publish()  # from here on nobody can take an earlier supervisor's status for this one's
        working = [asyncio.create_task(self._reconcile_for_ever()), asyncio.create_task(self._watch())]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*working, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*working, stopping):
                task.cancel()
            await asyncio.gather(*working, stopping, return_exceptions=True)
            await self._close()
        for task in working:
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def _close(self) -> None:
        logger.info("stopping", extra={"event": "supervisor.stopping"})
        self._state.forget_endpoint()
        await self._target.close()
        await self._database.close()
        self._status = MemoryNamespaceStatus()
        self._publish()

    def _changed(self) -> None:
        """Note that a process changed: publish at once, reconcile soon."""
        self._publish()
        self._wake.set()

    async def _watch(self) -> None:
        """Wake the reconcile when the desired file changes or the database dies."""
        seen = self._desired_version()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            version = self._desired_version()
            if version != seen or self._database.died:
                seen = version
                self._wake.set()

    def _desired_version(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._state.desired_file.stat().st_mtime_ns
        return 0

    async def _reconcile_for_ever(self) -> None:
        async with open_world(self._secrets, self._target) as world:
            while True:
                self._wake.clear()
                await self._reconcile_once(world)
                pause = RESYNC_SECONDS if is_settled(self._status.conditions) else RETRY_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def _reconcile_once(self, world: World) -> None:
        try:
            desired = self._state.desired()
            if desired is None:
                return
            namespace = desired.model_copy(update={"status": self._status})
            self._status = await self._new_status(namespace, world)
            self._announce(namespace)
        except Exception as error:
            # The loop is the last resort: whatever is wrong now must be seen, and may be gone at the next pass.
            logger.exception("the reconcile failed", extra={"event": "supervisor.failed"})
            self._status = self._failure(self._status.observed_generation, Unavailable(f"internal error: {error!r}"))
        self._publish()

    async def _new_status(self, namespace: MemoryNamespace, world: World) -> MemoryNamespaceStatus:
        try:
            database = await self._database.ensure()
        except PlatformError as error:
            logger.warning(error.detail, extra={"event": "database.failed"})
            return self._failure(namespace.metadata.generation, error)
        self._secrets.administrator = database.administrator
        return await reconcile(namespace, database.cluster_for(namespace), world)

    def _failure(self, generation: int, error: PlatformError) -> MemoryNamespaceStatus:
        """Return the status of a pass that could not begin."""
        results = [failed(ConditionType.CLUSTER_ACCEPTED, error)]
        conditions = build_conditions(results, self._status.conditions, generation, now())
        return self._status.model_copy(update={"observed_generation": generation, "conditions": conditions})

    def _announce(self, namespace: MemoryNamespace) -> None:
        """Say where other commands find the API; nowhere while none is to run."""
        endpoint, names = self._status.endpoint, tenant_names(namespace)
        if is_resting(self._status.conditions):
            self._state.forget_endpoint()
        elif endpoint:
            token_file = self._state.token_file(names.name)
            found = LocalEndpoint(endpoint=endpoint, token_file=token_file, namespace=names.qualified)
            write_endpoint(self._state.path, found)

    def _publish(self) -> None:
        status = LocalStatus(supervisor=os.getpid(), namespace=self._status, processes=self._processes())
        if status != self._published:
            self._published = status
            self._state.write_status(status)
            self._report(status)

    def _processes(self) -> list[ProcessStatus]:
        found = [_process(each.record, each.ready, each.spec.endpoint) for each in self._target.replicas if each.record]
        database = self._database.process
        return [*found, _process(database, ready=True)] if database else found


async def serve(state: StateDirectory, options: LocalOptions, report: Callable[[LocalStatus], None]) -> None:
    """Run the supervisor of `state` until SIGTERM, SIGINT or SIGHUP; raises `Conflict` when there is one already."""
    state.prepare()
    with state.locked():
        handler = log_to(state.log("supervisor"))
        try:
            supervisor = Supervisor(state, options, report)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, supervisor.stop)
            await supervisor.run()
        finally:
            stop_logging(handler)


def end_leftovers(state: StateDirectory) -> None:
    """End what a supervisor that was killed has left running; only processes that it is known to have started."""
    for process in state.read_status().processes:
        if process.record.alive:
            signals = LEFTOVER_DATABASE_SIGNALS if process.name == POSTGRES else LEFTOVER_SIGNALS
            end_process(process.record, signals)


def _process(record: ProcessRecord, ready: bool, endpoint: str | None = None) -> ProcessStatus:
    return ProcessStatus(name=record.name, pid=record.pid, started=record.started, ready=ready, endpoint=endpoint)
