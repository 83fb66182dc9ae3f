"""What a user has before the first MemoryNamespace: an API server with the operator's objects, and a Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controlplane.plane import ControlPlane
from kube import Kube

from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
SYSTEM, TEAM = "memory-system", "team-a"


def install(plane: ControlPlane, postgres: PostgresServer) -> None:
    """What a user does before the first namespace."""
    address = urlsplit(postgres.admin_url())
    with plane.client() as client:
        kube = Kube(client, plane.kubeconfig)
        for file in (
            *sorted((ROOT / "crds").glob("*.yaml")),
            ROOT / "manifests/namespace.yaml",
            ROOT / "manifests/rbac.yaml",
        ):
            kube.apply(file.read_text("utf-8"))
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}})
        login = {"username": address.username, "password": address.password}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": SYSTEM, "name": "postgres-admin"}}
        kube.apply(secret | {"stringData": login})
        while client.get("/apis/memory.somafractal.io/v1alpha1/memoryclusters").status_code != 200:
            time.sleep(0.1)
        kube.apply(memory_cluster(address.hostname or "", address.port or 0))


def memory_cluster(host: str, port: int) -> dict[str, Any]:
    external = {
        "host": host,
        "port": port,
        "tls": {"mode": "disable"},
        "adminSecretRef": {"name": "postgres-admin"},
    }
    return {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryCluster",
        "metadata": {"namespace": SYSTEM, "name": "default"},
        "spec": {
            "allowedNamespaces": {"from": "All"},
            "resync": {"interval": "10m"},
            "postgres": {"external": external},
        },
    }


@contextmanager
def installed(folder: Path) -> Iterator[tuple[ControlPlane, PostgresServer]]:
    """Bring up both, with CRDs, rights and a MemoryCluster applied; there is no node, and no operator yet."""
    server = PostgresServer(folder / "postgres", 0, find_binaries(), settings={"max_connections": "100"})
    with server, ControlPlane(folder / "plane") as plane:
        plane.up(bare=True)
        install(plane, server)
        yield plane, server
