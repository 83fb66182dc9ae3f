"""The Secret with the API's token and database address."""

from __future__ import annotations

from memory_contracts.naming import TenantNames
from memory_operator.specs.environment import Environment
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata


def build_secret(names: TenantNames, environment: Environment) -> Manifest:
    """Return the Secret that the API containers take their secrets from."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_metadata(names, names.credentials, API_COMPONENT),
        "type": "Opaque",
        "stringData": dict(environment.secret),
    }
