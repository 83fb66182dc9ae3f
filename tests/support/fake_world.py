"""A world in memory, for tests of decisions: its parts hold what real ones would, can be looked into, and broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import tenants

from memory_contracts.conditions import Condition, ConditionType, Reason
from memory_contracts.errors import PlatformError, Rejected, Unavailable
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace, MemoryNamespaceStatus
from memory_operator.providers.shapes import BackendFacts, Blocked
from memory_operator.reconcile import reconcile
from memory_operator.shares import KafkaShare, PostgresShare, QdrantShare, RedisShare
from memory_operator.specs.labels import Manifest
from memory_operator.specs.secret import StoredCredentials, read_credentials
from memory_operator.specs.tenant import Listen, Tenant
from memory_operator.specs.workload import Workload
from memory_operator.world import Availability, World

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
STAGES = {
    "postgres": ConditionType.SCHEMA_READY,
    "qdrant": ConditionType.COLLECTION_READY,
    "kafka": ConditionType.TOPIC_READY,
    "redis": ConditionType.CACHE_READY,
}
QDRANT = {"external": {"url": "http://qdrant.example.com:6333"}}
KAFKA = {"external": {"bootstrapServers": "kafka.example.com:9092"}}
REDIS = {"external": {"host": "redis.example.com"}}
WITH_LOGINS = ("postgres", "redis")
EVERY_BACKEND = {"qdrant": QDRANT, "kafka": KAFKA, "redis": REDIS}


def down(what: str = "db.example.com:5432") -> Unavailable:
    """What a driver says of a server that does not answer."""
    return Unavailable(f"{what} cannot be reached")


@dataclass(frozen=True)
class Change:
    """A step of any part; carrying it out is its `act`."""

    summary: str
    act: Callable[[], None] = field(repr=False)


@dataclass
class FakeServer:
    """One backend: whose data it holds, who can get in, and what is the matter with it."""

    name: str
    holds: set[str] = field(default_factory=set)
    lets_in: set[str] = field(default_factory=set)
    failure: Exception | None = None
    blocked: Blocked | None = None
    facts: BackendFacts | None = None

    def ask(self) -> None:
        if self.failure:
            raise self.failure


class FakeShare:
    def __init__(self, server: FakeServer, tenant: Tenant, told: list[str]) -> None:
        self.server, self.tenant, self._told = server, tenant, told

    @property
    def provisioned(self) -> str:
        return f"{self.server.name} holds {self.tenant.names.qualified}"

    async def converge(self, *, correct: bool) -> list[Any] | Blocked:
        self.server.ask()
        if self.server.blocked:
            return self.server.blocked
        name, steps = self.tenant.names.qualified, []
        if name not in self.server.holds:
            steps.append(Change(f"create {name} in {self.server.name}", lambda: self.server.holds.add(name)))
        if name not in self.server.lets_in and self.server.name in WITH_LOGINS:
            steps.append(Change(f"let {name} into {self.server.name}", lambda: self.server.lets_in.add(name)))
        return _carried_out(steps, self._told) if correct else steps

    async def remove(self, *, drop: bool) -> list[Any] | Blocked:
        if not drop and self.server.name not in WITH_LOGINS:
            return []
        self.server.ask()
        if self.server.blocked:
            return self.server.blocked
        name, steps = self.tenant.names.qualified, []
        if name in self.server.lets_in:
            steps.append(Change(f"keep {name} out of {self.server.name}", lambda: self.server.lets_in.discard(name)))
        if drop and name in self.server.holds:
            steps.append(Change(f"drop {name} from {self.server.name}", lambda: self.server.holds.discard(name)))
        return _carried_out(steps, self._told)


class FakeBackends:
    """The servers of one MemoryCluster; `claims` is the ledger in Postgres: tenant → uid."""

    postgres_ca: str | None = None

    def __init__(self, told: list[str]) -> None:
        self.servers = {name: FakeServer(name) for name in STAGES}
        self.named = {"postgres"}
        self.claims: dict[str, str] = {}
        self._told = told

    async def claim(self, names: TenantNames, uid: str, *, dry: bool = False) -> Blocked | None:
        self.servers["postgres"].ask()
        holder = self.claims.get(names.qualified, uid)
        if holder != uid:
            return Blocked(Reason.CLAIMED_BY_ANOTHER, f"{names.qualified} belongs to {holder}")
        if not dry:
            self.claims[names.qualified] = uid
        return None

    def share(self, stage: ConditionType, tenant: Tenant) -> FakeShare | None:
        name = next(name for name, each in STAGES.items() if each is stage)
        _real_share(name, tenant)
        return FakeShare(self.servers[name], tenant, self._told) if name in self.named else None

    async def disclaim(self, names: TenantNames, uid: str, *, drop: bool) -> None:
        self.servers["postgres"].ask()
        self._told.append(f"disclaim {names.qualified}")
        if self.claims.get(names.qualified) == uid:
            del self.claims[names.qualified]

    async def facts(self) -> Mapping[str, BackendFacts | PlatformError]:
        return {
            name: each.failure
            if isinstance(each.failure, PlatformError)
            else each.facts or BackendFacts("1.0", f"{name}-identity")
            for name, each in self.servers.items()
            if name in self.named
        }


class FakeWorkloads:
    """Runs what it is given, if `pods_answer`; `foreign` are names of objects that are somebody else's.

    `slow` is how many of the pods do not answer yet.
    """

    def __init__(self, told: list[str]) -> None:
        self.running: dict[str, Manifest] = {}
        self.pods_answer, self.rolled_out, self.slow = True, True, 0
        self.reason, self.detail = Reason.PROGRESSING, "waiting for the readiness probe"
        self.foreign: set[str] = set()
        self.failure: Exception | None = None
        self._told = told

    def listen(self, names: TenantNames) -> Listen:
        return tenants.LISTEN

    async def plan(self, namespace: MemoryNamespace, workload: Workload) -> list[Any] | Blocked:
        if foreign := [each for each in map(_place, workload.children) if each in self.foreign]:
            return Blocked(Reason.FOREIGN_OBJECT, f"{foreign[0]} was not made by the operator")
        wanted = {_place(each): each for each in workload.children}
        return [self._change(place, each) for place, each in wanted.items() if self.running.get(place) != each]

    async def apply(self, namespace: MemoryNamespace, steps: Sequence[Any]) -> None:
        if self.failure:
            raise self.failure
        _carried_out(steps, self._told)

    async def availability(self, namespace: MemoryNamespace, workload: Workload) -> Availability:
        wanted = workload.replicas
        ready = wanted - self.slow if self.pods_answer else 0
        url = "http://research-api.team-a.svc:9595"
        return Availability(
            url, wanted, ready, self.reason, self.detail, present=wanted, rolled_out=self.rolled_out, selector="a=b"
        )

    async def stop(self, namespace: MemoryNamespace) -> None:
        if self.failure:
            raise self.failure
        self._told.append("stop")
        self.running = {place: each for place, each in self.running.items() if not place.startswith("Deployment")}

    def _change(self, place: str, manifest: Manifest) -> Change:
        verb = "correct" if place in self.running else "create"
        return Change(f"{verb} {place}", lambda: self.running.update({place: manifest}))


class FakeSecrets:
    """`values` are Secrets that people made; what the operator keeps of a tenant is in `kept`."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], dict[str, str]] = {}
        self.kept: dict[str, StoredCredentials] = {}
        self.failure: Exception | None = None

    async def read(self, namespace: str, name: str) -> Mapping[str, str]:
        if (namespace, name) not in self.values:
            raise Rejected(f"Secret {name} is missing; create it", reason=Reason.SECRET_NOT_FOUND)
        return self.values[namespace, name]

    async def stored(self, namespace: MemoryNamespace) -> StoredCredentials:
        if self.failure:
            raise self.failure
        return self.kept.get(namespace.metadata.name, StoredCredentials())

    async def keep(self, namespace: MemoryNamespace, manifest: Manifest) -> None:
        self.kept[namespace.metadata.name] = read_credentials(manifest["data"])


class FakeWorld:
    """All parts; `told` is what was changed in the backends and in Kubernetes, in its order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.backends = FakeBackends(self.told)
        self.workloads = FakeWorkloads(self.told)
        self.secrets = FakeSecrets()
        self.refusal: Exception | None = None  # of the owner of the MemoryCluster
        self.unreachable: Exception | None = None  # what stands in the way of even trying
        self.passed = timedelta()
        self.passes = 0
        self._made = 0

    @property
    def servers(self) -> dict[str, FakeServer]:
        return self.backends.servers

    def world(self, *, dry: bool = False) -> World:
        return World(self, self.secrets, self, self.workloads, self.now, self._new_secret, dry)  # type: ignore[arg-type]

    def now(self) -> datetime:
        return NOW + self.passed

    async def check(self, namespace: MemoryNamespace, cluster: MemoryCluster) -> None:
        self.passes += 1
        if self.refusal:
            raise self.refusal

    async def open(self, cluster: MemoryCluster) -> FakeBackends:
        if self.unreachable:
            raise self.unreachable
        self.backends.named = {name for name in STAGES if getattr(cluster.spec, name) is not None}
        return self.backends

    def _new_secret(self) -> str:
        self._made += 1
        return f"a-secret-that-was-made-as-number-{self._made}"


@dataclass
class Object:
    """A MemoryNamespace between its passes: keeps its last status, and counts its generations."""

    world: FakeWorld
    cluster: MemoryCluster | None = field(default_factory=tenants.cluster)
    namespace: MemoryNamespace = field(default_factory=tenants.namespace)

    @property
    def status(self) -> MemoryNamespaceStatus:
        assert self.namespace.status
        return self.namespace.status

    @property
    def conditions(self) -> dict[str, Condition]:
        return {each.type: each for each in self.status.conditions}

    def edit(self, **spec: object) -> None:
        generation = self.namespace.metadata.generation + 1
        self.namespace = self.namespace.model_copy(
            update={
                "spec": tenants.namespace(**spec).spec,
                "metadata": self.namespace.metadata.model_copy(update={"generation": generation}),
            }
        )

    async def reconcile(self) -> dict[str, Condition]:
        status = await reconcile(self.namespace, self.cluster, self.world.world())
        self.namespace = self.namespace.model_copy(update={"status": status})
        return self.conditions


def _real_share(name: str, tenant: Tenant) -> None:
    """Let the real share say what it would want of the tenant, who may have neither credentials nor a MemoryCluster."""
    match name:
        case "postgres":
            PostgresShare(None, tenant, frozenset())  # type: ignore[arg-type]
        case "qdrant":
            QdrantShare(None, tenant, frozenset())  # type: ignore[arg-type]
        case "kafka":
            KafkaShare(None, tenant, None, None)  # type: ignore[arg-type]
        case "redis":
            RedisShare(None, tenant, None, "", frozenset())  # type: ignore[arg-type]


def _place(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _carried_out(steps: Sequence[Any], told: list[str]) -> list[Any]:
    for step in steps:
        step.act()
        told.append(step.summary)
    return list(steps)
