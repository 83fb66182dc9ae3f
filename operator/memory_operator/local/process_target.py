"""The workload target of one machine: runs a Deployment's manifest as processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from memory_contracts.naming import TenantNames
from memory_contracts.reasons import Reason
from memory_contracts.settings import environment_names
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.local.pod_environment import container_of, pod_of, resolve_command, resolve_environment
from memory_operator.local.ports import LOOPBACK, next_free_port
from memory_operator.local.replica import HOPELESS_FAILURES, Replica, ReplicaSpec
from memory_operator.local.rollout import RestartProcess, StartProcess, StopProcess, Turn, next_restart, plan_processes
from memory_operator.providers.shapes import Blocked, Step
from memory_operator.specs.labels import API_COMPONENT
from memory_operator.specs.tenant import Listen
from memory_operator.specs.workload import Workload
from memory_operator.world import Availability

PORT_VARIABLE = environment_names("port")[0]

logger = logging.getLogger(__name__)


class ProcessTarget:
    """Runs one process a replica: ``api`` on the asked port or the next free one, ``api-2``… on free ports after it.

    As a Deployment's controller does, it restarts by itself, one after another, what was told to be other than it is.
    """

    def __init__(self, logs: Path, directory: Path, port: int, changed: Callable[[], None]) -> None:
        self._logs = logs
        self._directory = directory
        self._port = port
        self._changed = changed
        self._told: dict[str, ReplicaSpec] = {}
        self._replicas: dict[str, Replica] = {}
        self._acting = asyncio.Lock()
        self._rolling: asyncio.Task[None] | None = None

    @property
    def replicas(self) -> list[Replica]:
        """The replicas, in the order of their numbers."""
        return list(self._replicas.values())

    def listen(self, names: TenantNames) -> Listen:
        """Return the address of the first replica: the same as long as its port is its own or free."""
        return Listen(LOOPBACK, self._port_of(API_COMPONENT, self._port))

    async def plan(self, namespace: MemoryNamespace, workload: Workload) -> list[Step] | Blocked:
        """Return which processes to start, restart or stop. Raises `Rejected` for what only a cluster can run."""
        return list(plan_processes(self._wanted(workload), self._told))

    async def apply(self, namespace: MemoryNamespace, steps: Sequence[Step]) -> None:
        """Start what is missing and stop what is too much; restarts begin, one at a time."""
        async with self._acting:
            for step in steps:
                await self._carry_out(step)
                logger.info(step.summary, extra={"event": "process.step"})
        self._roll()

    async def availability(self, namespace: MemoryNamespace, workload: Workload) -> Availability:
        """Return how many replicas answer, and whether all of them run what is wanted."""
        wanted = self._wanted(workload)
        running = {name: replica for name, replica in self._replicas.items() if name in wanted}
        missing = [replica for replica in running.values() if not replica.ready]
        failing = any(each.failures >= HOPELESS_FAILURES for each in missing)
        return Availability(
            endpoint=f"http://{LOOPBACK}:{_first_port(workload)}",
            wanted=len(wanted),
            ready=len(running) - len(missing),
            reason=Reason.BLOCKED if failing else Reason.PROGRESSING,
            detail=next((each.problem for each in missing if each.problem), "waiting for readiness"),
            present=sum(each.record is not None for each in self._replicas.values()),
            rolled_out=wanted == {name: replica.spec for name, replica in self._replicas.items()},
        )

    async def stop(self, namespace: MemoryNamespace) -> None:
        """End all processes."""
        async with self._acting:
            await self._stop_all()

    async def close(self) -> None:
        """End all processes, whatever is going on."""
        if self._rolling:
            self._rolling.cancel()
            await asyncio.wait([self._rolling])
        await self._stop_all()

    async def _carry_out(self, step: Step) -> None:
        match step:
            case StartProcess(spec):
                self._told[spec.name] = spec
                self._start(spec)
            case RestartProcess(spec):
                self._told[spec.name] = spec
            case StopProcess(name):
                self._told.pop(name, None)
                if replica := self._replicas.pop(name, None):
                    await replica.stop()
            case _:
                raise TypeError(f"{step!r} is no step of this target")

    async def _stop_all(self) -> None:
        self._told.clear()
        async with asyncio.TaskGroup() as group:
            for replica in self._replicas.values():
                group.create_task(replica.stop())
        self._replicas.clear()

    def _start(self, spec: ReplicaSpec) -> None:
        replica = Replica(spec, self._logs / f"{spec.name}.log", self._directory, self._noticed)
        self._replicas[spec.name] = replica
        replica.start()

    # --- restarts -----------------------------------------------------------------------------------------------------

    def _noticed(self) -> None:
        """A replica came up or went down: it may be another's turn."""
        self._changed()
        self._roll()

    def _roll(self) -> None:
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._restart_what_is_due(), name="restarts")

    async def _restart_what_is_due(self) -> None:
        try:
            async with self._acting:
                while (due := next_restart(self._turns())) is not None:
                    await self._replicas[due].stop()
                    self._start(self._told[due])
        except Exception:  # a mistake of ours: seen, and tried again with the next thing that happens
            logger.exception("cannot restart", extra={"event": "process.failed"})

    def _turns(self) -> list[Turn]:
        return [
            Turn(name, replica.spec == self._told.get(name), replica.ready) for name, replica in self._replicas.items()
        ]

    # --- from the manifest --------------------------------------------------------------------------------------------

    def _wanted(self, workload: Workload) -> dict[str, ReplicaSpec]:
        container, environment = container_of(workload), resolve_environment(workload)
        first_port = _first_port(workload)
        specs: dict[str, ReplicaSpec] = {}
        for number in range(1, workload.replicas + 1):
            name = container["name"] if number == 1 else f"{container['name']}-{number}"
            taken = [each.port for each in specs.values()]
            port = first_port if number == 1 else self._port_of(name, first_port + number - 1, taken)
            specs[name] = ReplicaSpec(
                name=name,
                command=resolve_command(workload),
                # Pods have an address each; processes share one and need a port each.
                environment=environment if number == 1 else environment | {PORT_VARIABLE: str(port)},
                port=port,
                readiness_path=container["readinessProbe"]["httpGet"]["path"],
                stop_seconds=pod_of(workload)["terminationGracePeriodSeconds"],
            )
        return specs

    def _port_of(self, name: str, first_choice: int, taken: Sequence[int] = ()) -> int:
        replica = self._replicas.get(name)
        if replica and replica.holds_port:
            return replica.spec.port
        others = [each.spec.port for each in self._replicas.values() if each.spec.name != name]
        return next_free_port(replica.spec.port if replica else first_choice, [*taken, *others])


def _first_port(workload: Workload) -> int:
    port: int = container_of(workload)["ports"][0]["containerPort"]
    return port
