"""What the reconcile acts on, as Protocols: a cluster supplies one set of targets, a single machine another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.errors import PlatformError
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.providers.shapes import BackendFacts, Blocked, Step
from memory_operator.specs.labels import Manifest
from memory_operator.specs.secret import StoredCredentials
from memory_operator.specs.tenant import Listen, Tenant
from memory_operator.specs.workload import Workload


@dataclass(frozen=True, slots=True)
class Availability:
    """How far the workload is: `ready` of `wanted` processes answer their readiness probe, `present` exist.

    `rolled_out` says that all of them run what the manifest says; beside them some may be `leaving`. `reason` and
    `detail` say what is missing.
    """

    endpoint: str
    wanted: int
    ready: int
    reason: Reason = Reason.PROGRESSING
    detail: str = ""
    present: int = 0
    rolled_out: bool = True
    selector: str = ""
    leaving: int = 0

    @property
    def complete(self) -> bool:
        """Whether every process is ready."""
        return self.ready >= self.wanted

    @property
    def counted(self) -> str:
        """How many are ready, in words."""
        return f"{self.ready} of {self.wanted} ready"


class Share(Protocol):
    """One tenant's part of one backend."""

    @property
    def provisioned(self) -> str:
        """The sentence for a share that is as it should be."""
        ...

    async def converge(self, *, correct: bool) -> list[Step] | Blocked:
        """Compare, carry out the steps if `correct`, and return them."""
        ...

    async def remove(self, *, drop: bool) -> list[Step] | Blocked:
        """End the tenant's access; with `drop` also delete what it claimed. Nothing there is fine."""
        ...


class Backends(Protocol):
    """The backends of one MemoryCluster, connected."""

    @property
    def postgres_ca(self) -> str | None:
        """Authorities that the API has to trust, in PEM."""
        ...

    async def claim(self, names: TenantNames, uid: str, *, dry: bool = False) -> Blocked | None:
        """Make the tenant this object's, or say who has it; `dry` only asks."""
        ...

    def share(self, stage: ConditionType, tenant: Tenant) -> Share | None:
        """Return the tenant's part of the backend of that stage; None when there is no such backend."""
        ...

    async def disclaim(self, names: TenantNames, uid: str, *, drop: bool) -> None:
        """Give the tenant up, as the last act of a deletion; without `drop` a successor of that name may have it."""
        ...

    async def facts(self) -> Mapping[str, BackendFacts | PlatformError]:
        """Ask every backend who it is: name of the backend → its answer, or why there is none."""
        ...


class BackendSource(Protocol):
    """Connects to backends."""

    async def open(self, cluster: MemoryCluster) -> Backends:
        """Return the backends; nothing is asked of them yet. Raises `Rejected` when a Secret is missing or unusable."""
        ...


class Consent(Protocol):
    """The rules of a MemoryCluster about who may use it."""

    async def check(self, namespace: MemoryNamespace, cluster: MemoryCluster) -> None:
        """Raise `Rejected` when the namespace may not use the cluster."""
        ...


class SecretStore(Protocol):
    """Where secrets are kept."""

    async def read(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the values of a Secret; raises `Rejected` when there is none."""
        ...

    async def stored(self, namespace: MemoryNamespace) -> StoredCredentials:
        """Return what was kept of the tenant's credentials."""
        ...

    async def keep(self, namespace: MemoryNamespace, manifest: Manifest) -> None:
        """Keep the Secret of the tenant, before anything depends on it."""
        ...


class WorkloadTarget(Protocol):
    """Where Deployments run."""

    def listen(self, names: TenantNames) -> Listen:
        """Return the address the API is to listen on."""
        ...

    async def plan(self, namespace: MemoryNamespace, workload: Workload) -> list[Step] | Blocked:
        """Return the steps towards the manifests."""
        ...

    async def apply(self, namespace: MemoryNamespace, steps: Sequence[Step]) -> None:
        """Carry them out; does not wait until the processes are ready."""
        ...

    async def availability(self, namespace: MemoryNamespace, workload: Workload) -> Availability:
        """Return how far the processes are."""
        ...

    async def stop(self, namespace: MemoryNamespace) -> None:
        """End the processes for good."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """The targets of one reconcile, its clock, and where new secrets come from. In a `dry` world nothing is changed."""

    consent: Consent
    secrets: SecretStore
    backends: BackendSource
    workloads: WorkloadTarget
    now: Callable[[], datetime]
    new_secret: Callable[[], str]
    dry: bool = False
