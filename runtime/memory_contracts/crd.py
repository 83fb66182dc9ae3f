"""Renders the CustomResourceDefinitions of ``crds/`` from the API types; ``make reference`` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from memory_contracts.api.base import API_GROUP, PART_OF
from memory_contracts.structural import Schema, structural
from memory_contracts.v1alpha1 import API_VERSION, MemoryCluster, MemoryNamespace
from memory_contracts.yaml_text import to_yaml

HEADER = "# Rendered by `make reference` from runtime/memory_contracts/v1alpha1.py; do not edit.\n"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; those that are wide appear with ``-o wide`` only."""

    name: str
    path: str
    kind: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """What a CRD says beside its schema."""

    model: type[BaseModel]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    scale: Mapping[str, str] | None = None

    @property
    def kind(self) -> str:
        """The kind, which is the model's name."""
        return self.model.__name__


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


AGE = Column("Age", ".metadata.creationTimestamp", "date")
READY = (Column("Ready", _condition("Ready", "status")), Column("Reason", _condition("Ready", "reason")))

CLUSTERS = Resource(
    MemoryCluster,
    "memoryclusters",
    "memc",
    (
        *READY,
        *(
            Column(name, f".status.backends.{name.lower()}.version")
            for name in ("Postgres", "Qdrant", "Kafka", "Redis")
        ),
        Column("Namespaces", ".status.namespaces.total", "integer"),
        Column("Paused", ".spec.paused", "boolean", wide=True),
        AGE,
    ),
)
NAMESPACES = Resource(
    MemoryNamespace,
    "memorynamespaces",
    "memns",
    (
        *READY,
        Column("Cluster", ".spec.clusterRef.name"),
        Column("API", ".status.api.ready", "integer"),
        Column("Synced", _condition("Synced", "status")),
        Column("Endpoint", ".status.endpoint", wide=True),
        Column("State", ".spec.state", wide=True),
        AGE,
    ),
    scale={
        "specReplicasPath": ".spec.api.replicas",
        "statusReplicasPath": ".status.api.replicas",
        "labelSelectorPath": ".status.api.selector",
    },
)
RESOURCES = (CLUSTERS, NAMESPACES)


def render_files() -> dict[str, str]:
    """Return the content of ``crds/``, by file name."""
    return {f"{each.plural}.yaml": HEADER + to_yaml(render(each)) for each in RESOURCES}


def render(resource: Resource) -> Schema:
    """Return the CustomResourceDefinition of `resource`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{API_GROUP}",
            "labels": {"app.kubernetes.io/name": "memory-operator", "app.kubernetes.io/part-of": PART_OF},
        },
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short_name],
                "categories": ["memory"],
            },
            "versions": [_version(resource)],
        },
    }


def _version(resource: Resource) -> Schema:
    return {
        "name": API_VERSION.removeprefix(f"{API_GROUP}/"),
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": object_schema(resource)},
        "subresources": {"status": {}} | ({"scale": dict(resource.scale)} if resource.scale else {}),
        "additionalPrinterColumns": [
            {"name": each.name, "type": each.kind, "jsonPath": each.path} | ({"priority": 1} if each.wide else {})
            for each in resource.columns
        ],
    }


def object_schema(resource: Resource) -> Schema:
    """Return the structural schema of a whole object."""
    schema = structural(resource.model.model_json_schema())
    schema["properties"] |= {
        "apiVersion": {"type": "string", "description": f"Version of the schema: {API_VERSION}."},
        "kind": {"type": "string", "description": f"Kind of the object: {resource.kind}."},
        "metadata": {"type": "object"},
    }
    schema["required"] = [name for name in schema["required"] if name != "metadata"]
    return {key: value for key, value in schema.items() if value != []}
