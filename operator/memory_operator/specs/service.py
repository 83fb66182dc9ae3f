"""The Service in front of the API's pods."""

from __future__ import annotations

from memory_contracts.naming import TenantNames
from memory_contracts.settings import API_PORT
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata, selector_labels
from memory_operator.specs.tenant import tenant_names


def service_host(names: TenantNames) -> str:
    """Return the name of the Service in the cluster's DNS, without the cluster's domain, which is not known here."""
    return f"{names.api}.{names.namespace}.svc"


def service_url(names: TenantNames) -> str:
    """Return where the API answers inside the cluster."""
    return f"http://{service_host(names)}:{API_PORT}"


def build_service(namespace: MemoryNamespace) -> Manifest:
    """Return the Service; it has the well-known port whatever the pods listen on."""
    names = tenant_names(namespace)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_metadata(namespace, names.api, API_COMPONENT),
        "spec": {
            "type": "ClusterIP",
            "selector": selector_labels(names, API_COMPONENT),
            "ports": [
                {"name": "http", "port": API_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
            ],
        },
    }
