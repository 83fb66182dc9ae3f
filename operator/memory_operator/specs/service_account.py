"""The account of the API's pods: they never speak to Kubernetes, and the default account may be granted anything."""

from __future__ import annotations

from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata
from memory_operator.specs.tenant import tenant_names


def build_service_account(namespace: MemoryNamespace) -> Manifest:
    """Return the ServiceAccount; no token of it is mounted."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": build_metadata(namespace, tenant_names(namespace).api, API_COMPONENT),
        "automountServiceAccountToken": False,
    }
