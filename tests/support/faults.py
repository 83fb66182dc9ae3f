"""Cases for tests of faults: a MemoryCluster of its own, the Secrets that it names, and a MemoryNamespace that uses it.

Many cases stand side by side on the session's servers, so that their waiting is done at once: all are applied, then
each is looked at. What a test breaks is the case's own specification or Secret, or a server of the test's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from kafka.broker import KafkaBroker
from kube import Kube, Object, eventually
from qdrant.process import QdrantDouble
from redis_server import RedisServer

from memory_contracts.naming import TenantNames
from memory_operator.local.postgres_server import PostgresServer

SYSTEM = "memory-system"
API_VERSION = "memory.somafractal.io/v1alpha1"
WATCH = {"memory.somafractal.io/watch": "true"}
HEAL_SECONDS = 60.0
DELETE = {"policy": "Delete", "acknowledgeDataLoss": True}
T = TypeVar("T")


class Servers(Protocol):
    """The servers behind a case."""

    postgres: PostgresServer
    database: str
    kafka: KafkaBroker
    qdrant: QdrantDouble
    redis: RedisServer


@dataclass
class Case:
    """A MemoryCluster `name` and a MemoryNamespace of the same name; `cluster` and `spec` are their specifications."""

    kube: Kube
    namespace: str
    name: str
    cluster: Object
    secrets: dict[str, Object] = field(default_factory=dict)
    spec: Object = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)

    @property
    def names(self) -> TenantNames:
        return TenantNames(self.namespace, self.name)

    def apply(self, **changes: Any) -> Case:
        """Apply everything but the Secrets that are withheld."""
        self.kube.apply([each for role, each in self.secrets.items() if role not in self.withheld])
        self.apply_cluster()
        self.apply_tenant(**changes)
        return self

    def apply_cluster(self, **changes: Any) -> None:
        self.kube.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "MemoryCluster",
                "metadata": {"namespace": SYSTEM, "name": self.name},
                "spec": {"allowedNamespaces": {"from": "All"}, "resync": {"interval": "5s"}, **self.cluster, **changes},
            }
        )

    def apply_tenant(self, **changes: Any) -> None:
        self.kube.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "MemoryNamespace",
                "metadata": {"namespace": self.namespace, "name": self.name},
                "spec": {"clusterRef": {"name": self.name, "namespace": SYSTEM}, **self.spec, **changes},
            }
        )

    def provide(self, *roles: str) -> None:
        """Apply Secrets, those that were withheld too."""
        self.kube.apply([self.secrets[role] for role in roles])

    def get(self) -> Object:
        found = self.kube.get("MemoryNamespace", self.namespace, self.name)
        assert found, f"there is no MemoryNamespace {self.namespace}/{self.name}"
        return found

    def edit(self, **changes: Any) -> None:
        self.kube.edit("MemoryNamespace", self.namespace, self.name, {"spec": changes}).raise_for_status()

    def edit_cluster(self, **changes: Any) -> None:
        self.kube.edit("MemoryCluster", SYSTEM, self.name, {"spec": changes}).raise_for_status()

    def wait(self, condition: str = "Ready", status: str = "True", **more: Any) -> Object:
        return self.kube.wait("MemoryNamespace", self.namespace, self.name, condition, status, **more)

    def wait_cluster(self, condition: str = "Ready", status: str = "True", **more: Any) -> Object:
        return self.kube.wait("MemoryCluster", SYSTEM, self.name, condition, status, **more)

    def conditions(self) -> dict[str, tuple[str, str]]:
        """Return type → (status, reason)."""
        found = self.kube.conditions("MemoryNamespace", self.namespace, self.name)
        return {kind: (each["status"], each["reason"]) for kind, each in found.items()}

    def child(self, kind: str, suffix: str = "api") -> Object | None:
        return self.kube.get(kind, self.namespace, f"{self.name}-{suffix}")

    def edit_child(self, kind: str, patch: Object, suffix: str = "api") -> None:
        self.kube.edit(kind, self.namespace, f"{self.name}-{suffix}", patch).raise_for_status()

    def delete(self) -> None:
        self.kube.delete("MemoryNamespace", self.namespace, self.name)

    def wait_gone(self, **more: Any) -> None:
        self.kube.wait_gone("MemoryNamespace", self.namespace, self.name, **more)


def new_case(
    kube: Kube, namespace: str, name: str, servers: Servers, *parts: str, labels: dict[str, str] | None = WATCH
) -> Case:
    """Return a case, not applied yet, with the backends `parts`; Postgres is always one of them.

    Its Secrets are labelled to be watched, for tests that have something else to wait for.
    """
    case = Case(kube, namespace, name, {})
    for part in dict.fromkeys(("postgres", *parts)):
        case.cluster[part] = {"external": _EXTERNAL[part](servers, f"{name}-{part}")}
        if values := _LOGINS[part](servers):
            case.secrets[part] = secret(f"{name}-{part}", labels=labels, **values)
    return case


def twin(case: Case, name: str) -> Case:
    """Return another MemoryNamespace on the case's MemoryCluster, not applied yet."""
    spec = {**deepcopy(case.spec), "clusterRef": {"name": case.name, "namespace": SYSTEM}}
    return Case(case.kube, case.namespace, name, case.cluster, spec=spec)


def secret(name: str, namespace: str = SYSTEM, labels: dict[str, str] | None = None, **values: str) -> Object:
    metadata = {"namespace": namespace, "name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


@contextmanager
def kubernetes_namespace(kube: Kube, prefix: str, **labels: str) -> Iterator[str]:
    """Make a Kubernetes namespace; its deletion is begun afterwards and not waited for."""
    name = f"{prefix}-{uuid4().hex[:8]}"
    metadata = {"name": name, "labels": labels}
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).raise_for_status()
    try:
        yield name
    finally:
        kube.delete("Namespace", "", name)


def remove_clusters(kube: Kube, cases: Iterator[Case] | list[Case]) -> None:
    """Delete the MemoryClusters; what is left of the cases goes with their Kubernetes namespace."""
    for case in cases:
        kube.delete("MemoryCluster", SYSTEM, case.name)


def stays(check: Any, seconds: float, tell: Any = lambda: "it") -> None:
    """Fail unless `check` holds for so many seconds."""
    try:
        eventually(lambda: not check() or None, seconds, every=0.25)
    except AssertionError:
        return
    raise AssertionError(f"not so for {seconds:g} s: {tell()}")


def sql(server: PostgresServer, database: str, *statements: str) -> list[Any]:
    """Run statements as the administrator; return the rows of the last one."""
    return ask(server.admin_url(database), *statements)


def ask(url: str, *statements: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            rows: list[Any] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    return apart(run())


def apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run in a thread with a loop of its own."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()


# --- what a MemoryCluster says about a server, and the Secret it names ------------------------------------------------


def _postgres(servers: Servers, name: str) -> Object:
    url = urlsplit(servers.postgres.admin_url(servers.database))
    return {
        "host": url.hostname,
        "port": url.port,
        "database": servers.database,
        "tls": {"mode": "disable"},
        "adminSecretRef": {"name": name},
    }


def _qdrant(servers: Servers, name: str) -> Object:
    return {"url": servers.qdrant.url, "apiKeySecretRef": {"name": name}}


def _kafka(servers: Servers, name: str) -> Object:
    secured = {
        "sasl": {"mechanism": "SCRAM-SHA-512", "secretRef": {"name": name}},
        "tls": {"caSecretRef": {"name": name}},
    }
    return {"bootstrapServers": servers.kafka.bootstrap_servers} | (secured if servers.kafka.username else {})


def _redis(servers: Servers, name: str) -> Object:
    address = servers.redis.connection
    return {"host": address.host, "port": address.port, "adminSecretRef": {"name": name}}


def _postgres_login(servers: Servers) -> dict[str, str]:
    url = urlsplit(servers.postgres.admin_url())
    return {"username": url.username or "", "password": url.password or ""}


def _kafka_login(servers: Servers) -> dict[str, str]:
    broker = servers.kafka
    if not broker.username:
        return {}
    assert broker.password
    assert broker.ca_file
    return {"username": broker.username, "password": broker.password, "ca.crt": broker.ca_file.read_text()}


def _redis_login(servers: Servers) -> dict[str, str]:
    address = servers.redis.connection
    return {"username": address.username, "password": address.password}


_EXTERNAL = {"postgres": _postgres, "qdrant": _qdrant, "kafka": _kafka, "redis": _redis}
_LOGINS = {
    "postgres": _postgres_login,
    "qdrant": lambda servers: {"api-key": servers.qdrant.api_key or ""},
    "kafka": _kafka_login,
    "redis": _redis_login,
}
