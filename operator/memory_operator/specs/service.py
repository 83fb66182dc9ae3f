"""The Service in front of the API's pods."""

from __future__ import annotations

from memory_contracts.naming import TenantNames
from memory_contracts.settings import API_PORT
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata, selector_labels


def build_service(names: TenantNames) -> Manifest:
    """Return the Service; it has the well-known port whatever the pods listen on."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_metadata(names, names.api, API_COMPONENT),
        "spec": {
            "selector": selector_labels(names, API_COMPONENT),
            "ports": [{"name": "http", "port": API_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
