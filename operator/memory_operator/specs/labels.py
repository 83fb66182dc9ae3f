"""The recommended labels of Kubernetes, and what else the metadata of our objects holds."""

from __future__ import annotations

from typing import Any, TypeAlias

from memory_contracts.api.base import API_GROUP, PART_OF
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.specs.tenant import tenant_names

Manifest: TypeAlias = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "memory-operator"
API_COMPONENT = "api"
# Leads from a child to its MemoryNamespace, also where an owner reference cannot be selected by.
NAMESPACE_LABEL = f"{API_GROUP}/namespace"
# The operator watches only Secrets that have this label, whatever its value: those of others stay out of its memory.
WATCH_LABEL = f"{API_GROUP}/watch"
WATCH_OWNED = "owned"


def selector_labels(names: TenantNames, component: str) -> dict[str, str]:
    """Return the labels that select the pods of one component; a Deployment can never change them."""
    return {
        "app.kubernetes.io/name": "memory",
        "app.kubernetes.io/instance": names.name,
        "app.kubernetes.io/component": component,
    }


def labels(names: TenantNames, component: str) -> dict[str, str]:
    """Return the labels of an object that the operator made.

    The version is not among them: it would replace every tenant's pods whenever the operator is upgraded.
    """
    return selector_labels(names, component) | {
        "app.kubernetes.io/part-of": PART_OF,
        MANAGED_BY: MANAGER,
        NAMESPACE_LABEL: names.name,
    }


def build_metadata(namespace: MemoryNamespace, name: str, component: str) -> Manifest:
    """Return the metadata of the object `name` of this tenant; it goes when the MemoryNamespace goes."""
    names = tenant_names(namespace)
    metadata: Manifest = {"name": name, "namespace": names.namespace, "labels": labels(names, component)}
    if namespace.metadata.uid:
        metadata["ownerReferences"] = [owner_reference(namespace)]
    return metadata


def owner_reference(namespace: MemoryNamespace) -> Manifest:
    """Return what makes Kubernetes delete a child with its owner, and refuse a second controller."""
    return {
        "apiVersion": namespace.api_version,
        "kind": namespace.kind,
        "name": namespace.metadata.name,
        "uid": namespace.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
