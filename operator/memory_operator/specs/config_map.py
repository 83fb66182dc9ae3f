"""The ConfigMap with the API's settings and the certificates it trusts."""

from __future__ import annotations

from memory_operator.specs.environment import Environment
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata
from memory_operator.specs.tenant import Tenant


def build_config_map(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the ConfigMap; the API containers refer to each variable and mount the certificates."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_metadata(tenant.namespace, tenant.names.api, API_COMPONENT),
        "data": environment.plain | environment.certificates,
    }
