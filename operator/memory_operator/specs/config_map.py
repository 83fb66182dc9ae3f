"""The ConfigMap with the API's settings."""

from __future__ import annotations

from memory_contracts.naming import TenantNames
from memory_operator.specs.environment import Environment
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata


def build_config_map(names: TenantNames, environment: Environment) -> Manifest:
    """Return the ConfigMap that the API containers take their environment from."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_metadata(names, names.api, API_COMPONENT),
        "data": dict(environment.plain),
    }
