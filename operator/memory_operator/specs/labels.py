"""The recommended labels of Kubernetes, and what else the metadata of our objects holds."""

from __future__ import annotations

from typing import Any, TypeAlias

from memory_contracts.naming import TenantNames

Manifest: TypeAlias = dict[str, Any]

MANAGER = "memory-operator"
API_COMPONENT = "api"


def selector_labels(names: TenantNames, component: str) -> dict[str, str]:
    """Return the labels that select the pods of one component; a Deployment can never change them."""
    return {
        "app.kubernetes.io/name": "memory",
        "app.kubernetes.io/instance": names.name,
        "app.kubernetes.io/component": component,
    }


def labels(names: TenantNames, component: str) -> dict[str, str]:
    """Return the labels of an object that the operator made."""
    return selector_labels(names, component) | {"app.kubernetes.io/managed-by": MANAGER}


def build_metadata(names: TenantNames, name: str, component: str) -> Manifest:
    """Return the metadata of the object `name` of this tenant."""
    return {"name": name, "namespace": names.namespace, "labels": labels(names, component)}
