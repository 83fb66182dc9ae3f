"""The workload target of one machine: runs a Deployment's manifest as processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memory_contracts.naming import TenantNames
from memory_contracts.settings import environment_names
from memory_operator.local.pod_environment import container_of, resolve_command, resolve_environment
from memory_operator.local.ports import LOOPBACK, next_free_port
from memory_operator.local.replica import HOPELESS_FAILURES, Replica, ReplicaSpec
from memory_operator.specs.environment import Listen
from memory_operator.specs.labels import API_COMPONENT
from memory_operator.specs.workload import Workload
from memory_operator.world import Availability

PORT_VARIABLE = environment_names("port")[0]


@dataclass(frozen=True, slots=True)
class Turn:
    """What decides whose turn it is to be restarted: has the replica the wanted environment, and does it answer?"""

    name: str
    current: bool
    ready: bool


def next_restart(turns: Sequence[Turn]) -> str | None:
    """Return the one replica to restart now, or None.

    One that does not answer has nothing to lose and goes first. Otherwise the next one waits until those that were
    restarted answer, so that a change that breaks the API stops at the first replica.
    """
    outdated = [each for each in turns if not each.current]
    for each in outdated:
        if not each.ready:
            return each.name
    if any(each.current and not each.ready for each in turns):
        return None
    return outdated[0].name if outdated else None


class ProcessTarget:
    """Runs one process a replica: ``api`` on the asked port or the next free one, ``api-2``… on free ports after it."""

    def __init__(self, logs: Path, directory: Path, port: int, changed: Callable[[], None]) -> None:
        self._logs = logs
        self._directory = directory
        self._port = port
        self._changed = changed
        self._replicas: dict[str, Replica] = {}

    @property
    def replicas(self) -> list[Replica]:
        """The replicas, in the order of their numbers."""
        return list(self._replicas.values())

    def listen(self, names: TenantNames) -> Listen:
        """Return the address of the first replica: the same as long as its port is its own or free."""
        return Listen(LOOPBACK, self._port_of(API_COMPONENT, self._port))

    async def apply(self, workload: Workload) -> None:
        """Start what is missing, stop what is too much, restart at most one replica whose manifest changed."""
        wanted = self._wanted(workload)
        for name in [each for each in self._replicas if each not in wanted]:
            await self._replicas.pop(name).stop()
        for name, spec in wanted.items():
            if name not in self._replicas:
                self._start(spec)
        turns = [Turn(name, each.spec == wanted[name], each.ready) for name, each in self._replicas.items()]
        if (due := next_restart(turns)) is not None:
            await self._replicas[due].stop()
            self._start(wanted[due])

    async def availability(self, workload: Workload) -> Availability:
        """Return how many replicas run with the wanted environment and answer."""
        wanted = self._wanted(workload)
        states = [(self._replicas[name], self._replicas[name].spec == spec) for name, spec in wanted.items()]
        missing = [each for each, current in states if not (each.ready and current)]
        outdated = sum(not current for _, current in states)
        waiting = f"{outdated} still to be restarted with the new settings" if outdated else "waiting for readiness"
        return Availability(
            endpoint=wanted[API_COMPONENT].endpoint,
            wanted=len(wanted),
            ready=len(states) - len(missing),
            failing=any(each.failures >= HOPELESS_FAILURES for each in missing),
            detail=next((each.problem for each in missing if each.problem), waiting),
        )

    async def close(self) -> None:
        """Stop all processes."""
        async with asyncio.TaskGroup() as group:
            for replica in self._replicas.values():
                group.create_task(replica.stop())
        self._replicas.clear()

    def _start(self, spec: ReplicaSpec) -> None:
        replica = Replica(spec, self._logs / f"{spec.name}.log", self._directory, self._changed)
        self._replicas[spec.name] = replica
        replica.start()

    def _wanted(self, workload: Workload) -> dict[str, ReplicaSpec]:
        container, environment = container_of(workload), resolve_environment(workload)
        first_port: int = container["ports"][0]["containerPort"]
        specs: dict[str, ReplicaSpec] = {}
        for number in range(1, workload.deployment["spec"]["replicas"] + 1):
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
            )
        return specs

    def _port_of(self, name: str, first_choice: int, taken: Sequence[int] = ()) -> int:
        replica = self._replicas.get(name)
        if replica and replica.record and replica.record.alive:
            return replica.spec.port
        others = [each.spec.port for each in self._replicas.values() if each.spec.name != name]
        return next_free_port(replica.spec.port if replica else first_choice, [*taken, *others])
