"""Everything that makes one namespace's API run, built together so that the parts agree."""

from __future__ import annotations

from dataclasses import dataclass

from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.specs.config_map import build_config_map
from memory_operator.specs.deployment import build_deployment
from memory_operator.specs.environment import Credentials, Listen, build_environment, tenant_names
from memory_operator.specs.labels import Manifest
from memory_operator.specs.secret import build_secret
from memory_operator.specs.service import build_service


@dataclass(frozen=True, slots=True)
class Workload:
    """The manifests of one API, in the order in which they are applied."""

    config_map: Manifest
    secret: Manifest
    deployment: Manifest
    service: Manifest


def build_workload(
    namespace: MemoryNamespace, cluster: MemoryCluster, listen: Listen, credentials: Credentials
) -> Workload:
    """Return the manifests; the Deployment carries the hash of the environment that ConfigMap and Secret hold."""
    names = tenant_names(namespace)
    environment = build_environment(namespace, cluster, listen, credentials)
    return Workload(
        config_map=build_config_map(names, environment),
        secret=build_secret(names, environment),
        deployment=build_deployment(namespace, cluster, listen, environment.digest),
        service=build_service(names),
    )
