"""A tenant to build manifests for, and ways to look into them."""

from __future__ import annotations

import base64
from typing import Any

from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.specs.tenant import Credentials, Listen, Tenant
from memory_operator.specs.workload import Workload, build_workload

TOKEN = "the-token-of-the-team"
CREDENTIALS = Credentials(TOKEN, {"a": "first/pass@word-in-use", "b": "second-password-waits"})
LISTEN = Listen("0.0.0.0", 9595)
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def namespace(uid: str = "0d5c7b9e", **spec: object) -> MemoryNamespace:
    """``team-a/research``."""
    metadata = {"name": "research", "namespace": "team-a", "uid": uid}
    return MemoryNamespace.model_validate({"metadata": metadata, "spec": spec})


def cluster(host: str = "db.example.com", **spec: object) -> MemoryCluster:
    """A cluster with its Postgres at `host`."""
    external = {"host": host, "tls": {"mode": "require"}, "adminSecretRef": {"name": "admin"}}
    return MemoryCluster.model_validate(
        {
            "metadata": {"name": "default", "namespace": "memory-system"},
            "spec": {"postgres": {"external": external}, "defaults": {"image": "registry/memory:1"}, **spec},
        }
    )


def tenant(
    credentials: Credentials = CREDENTIALS, ca: str | None = None, host: str = "db.example.com", **spec: object
) -> Tenant:
    """The namespace with its cluster and its secrets."""
    return Tenant(namespace(**spec), cluster(host), LISTEN, credentials, ca)


def workload(
    credentials: Credentials = CREDENTIALS, ca: str | None = None, host: str = "db.example.com", **spec: object
) -> Workload:
    """Its manifests."""
    return build_workload(tenant(credentials, ca, host, **spec))


def template(built: Workload) -> dict[str, Any]:
    """The template of the Deployment's pods."""
    found: dict[str, Any] = built.deployment["spec"]["template"]
    return found


def container(built: Workload) -> dict[str, Any]:
    """The one container of the Deployment's pods."""
    (found,) = template(built)["spec"]["containers"]
    return dict(found)


def decoded(secret: dict[str, Any]) -> dict[str, str]:
    """What a Secret holds."""
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
