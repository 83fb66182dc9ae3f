"""What the reconcile acts on, as Protocols: a cluster supplies one set of targets, a single machine another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryCluster
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.plan import DesiredTenant, ObservedTenant, Step
from memory_operator.specs.environment import Credentials, Listen
from memory_operator.specs.workload import Workload


@dataclass(frozen=True, slots=True)
class Administrator:
    """A role that may create roles and schemas."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Availability:
    """How far the workload is: `ready` of `wanted` processes answer their readiness probe.

    `failing` says that a process keeps ending; `detail` says in a sentence what is missing.
    """

    endpoint: str
    wanted: int
    ready: int
    failing: bool = False
    detail: str = ""

    @property
    def complete(self) -> bool:
        """Whether every process is ready."""
        return self.ready >= self.wanted


class PostgresSession(Protocol):
    """One transaction on one tenant."""

    async def observe(self, desired: DesiredTenant) -> ObservedTenant:
        """Return what is there; changes nothing."""
        ...

    async def apply(self, desired: DesiredTenant, steps: Sequence[Step]) -> None:
        """Carry out the steps in order."""
        ...


class PostgresProvider(Protocol):
    """The database of record."""

    def session(self, address: PostgresAddress, desired: DesiredTenant) -> AbstractAsyncContextManager[PostgresSession]:
        """Open the transaction; it commits unless an error leaves it."""
        ...


class SecretStore(Protocol):
    """Where secrets are kept."""

    async def administrator(self, cluster: MemoryCluster) -> Administrator:
        """Return who the cluster's admin secret names; raises `Rejected` when the secret is missing or incomplete."""
        ...

    async def credentials(self, names: TenantNames) -> Credentials:
        """Return the tenant's secrets, the same ever after; makes them the first time."""
        ...


class WorkloadTarget(Protocol):
    """Where Deployments run."""

    def listen(self, names: TenantNames) -> Listen:
        """Return the address the API is to listen on."""
        ...

    async def apply(self, workload: Workload) -> None:
        """Move towards the manifests; does not wait until the processes are ready."""
        ...

    async def availability(self, workload: Workload) -> Availability:
        """Return how far the processes are."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """The targets of one reconcile, and its clock."""

    secrets: SecretStore
    postgres: PostgresProvider
    workloads: WorkloadTarget
    now: Callable[[], datetime]
