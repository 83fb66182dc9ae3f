"""A real Kubernetes with the operator in it, and one MemoryCluster with all four backends, shared by the session.

Pods cannot run without a node, so `FakeKubelet` says of them what a kubelet would. Kafka, Postgres and Redis are real;
Qdrant is the double over Qdrant's engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from controlplane.fake_kubelet import FakeKubelet
from controlplane.plane import ControlPlane
from kafka.broker import KafkaBroker
from kube import Kube
from operator_process import OperatorProcess
from qdrant.process import QdrantDouble
from redis_fixtures import RedisServer

from memory_operator.local.postgres_server import PostgresServer

ROOT = Path(__file__).parents[2]
SYSTEM = "memory-system"
# Short, so that drift is found while a test waits for it.
RESYNC = "5s"


@dataclass(frozen=True)
class Backends:
    """The four servers behind the MemoryCluster, for tests that look into them or break them."""

    postgres: PostgresServer
    database: str
    kafka: KafkaBroker
    qdrant: QdrantDouble
    redis: RedisServer


@dataclass(frozen=True)
class Tenant:
    """One MemoryNamespace in a Kubernetes namespace of its own."""

    kube: Kube
    namespace: str
    name: str = "notes"
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "memory.somafractal.io/v1alpha1",
            "kind": "MemoryNamespace",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {"clusterRef": {"name": "default", "namespace": SYSTEM}, **self.spec},
        }

    def apply(self, **changes: Any) -> None:
        self.kube.apply(self.manifest | {"spec": {**self.manifest["spec"], **changes}})

    def edit(self, **changes: Any) -> httpx.Response:
        return self.kube.edit("MemoryNamespace", self.namespace, self.name, {"spec": changes})

    def get(self) -> dict[str, Any] | None:
        return self.kube.get("MemoryNamespace", self.namespace, self.name)

    @property
    def status(self) -> dict[str, Any]:
        found = self.get()
        assert found
        return dict(found["status"])

    def wait(self, condition: str = "Ready", status: str = "True", **more: Any) -> dict[str, Any]:
        return self.kube.wait("MemoryNamespace", self.namespace, self.name, condition, status, **more)

    def child(self, kind: str, suffix: str = "api") -> dict[str, Any] | None:
        return self.kube.get(kind, self.namespace, f"{self.name}-{suffix}")

    def delete(self) -> None:
        self.kube.delete("MemoryNamespace", self.namespace, self.name)

    def wait_gone(self, **more: Any) -> None:
        self.kube.wait_gone("MemoryNamespace", self.namespace, self.name, **more)


@pytest.fixture(scope="session")
def kube(control_plane: ControlPlane) -> Iterator[Kube]:
    """The cluster's administrator; CRDs, namespace and rights of the operator are installed as a user would."""
    with control_plane.client() as client:
        admin = Kube(client, control_plane.kubeconfig)
        for file in (
            *sorted((ROOT / "crds").glob("*.yaml")),
            ROOT / "manifests/namespace.yaml",
            ROOT / "manifests/rbac.yaml",
        ):
            admin.apply(file.read_text("utf-8"), manager="installer")
        for crd in ("memoryclusters", "memorynamespaces"):
            _wait_served(client, crd)
        yield admin


@pytest.fixture(scope="session")
def backends(
    postgres_server: PostgresServer,
    kafka_plain: KafkaBroker,
    qdrant_server: QdrantDouble,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backends]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        yield Backends(postgres_server, "soma", kafka_plain, qdrant_server, redis)


@pytest.fixture(scope="session")
def memory_cluster(kube: Kube, backends: Backends) -> str:
    """Apply MemoryCluster ``default`` with its Secrets; return its name."""
    kube.apply(secrets_of(backends))
    kube.apply(cluster_manifest("default", backends))
    return "default"


@pytest.fixture(scope="session")
def operator(
    kube: Kube, control_plane: ControlPlane, fake_node: FakeKubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator with its own account, for tests that leave it running."""
    account = control_plane.service_account(SYSTEM, "memory-operator")
    process = OperatorProcess(account, tmp_path_factory.mktemp("operator") / "operator.log")
    try:
        process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
def tenant(kube: Kube, memory_cluster: str, operator: OperatorProcess, k8s_namespace: str) -> Tenant:
    """A tenant that was not applied yet."""
    return Tenant(kube, k8s_namespace)


@pytest.fixture
def ready(tenant: Tenant) -> Tenant:
    """A tenant that is Ready."""
    tenant.apply()
    tenant.wait()
    return tenant


def cluster_manifest(name: str, backends: Backends, **spec: Any) -> dict[str, Any]:
    postgres = urlsplit(backends.postgres.admin_url(backends.database))
    return {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryCluster",
        "metadata": {"namespace": SYSTEM, "name": name},
        "spec": {
            "allowedNamespaces": {"from": "All"},
            "resync": {"interval": RESYNC},
            "postgres": {
                "external": {
                    "host": postgres.hostname,
                    "port": postgres.port,
                    "database": backends.database,
                    "tls": {"mode": "disable"},
                    "adminSecretRef": {"name": "postgres-admin"},
                }
            },
            "qdrant": {"external": {"url": backends.qdrant.url, "apiKeySecretRef": {"name": "qdrant"}}},
            "kafka": {"external": {"bootstrapServers": backends.kafka.bootstrap_servers}},
            "redis": {
                "external": {
                    "host": backends.redis.connection.host,
                    "port": backends.redis.connection.port,
                    "adminSecretRef": {"name": "redis-admin"},
                }
            },
            **spec,
        },
    }


def secrets_of(backends: Backends) -> list[dict[str, Any]]:
    postgres = urlsplit(backends.postgres.admin_url())
    redis = backends.redis.connection
    return [
        secret("postgres-admin", username=postgres.username or "", password=postgres.password or ""),
        secret("redis-admin", username=redis.username, password=redis.password),
        secret("qdrant", **{"api-key": backends.qdrant.api_key}),
    ]


def secret(name: str, namespace: str = SYSTEM, **values: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "stringData": values,
    }


def new_name(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex[:8]}"


def _wait_served(client: httpx.Client, plural: str) -> None:
    from kube import eventually

    path = f"/apis/memory.somafractal.io/v1alpha1/{plural}"
    eventually(lambda: client.get(path).status_code == 200, 20, lambda: f"{plural} is not served")
