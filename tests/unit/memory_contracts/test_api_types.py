"""The API types: good resources are taken, bad ones are refused with the name of the field."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMESPACE: dict[str, Any] = {
    "apiVersion": "memory.somafractal.io/v1alpha1",
    "kind": "MemoryNamespace",
    "metadata": {"name": "research", "namespace": "team-a"},
    "spec": {"clusterRef": {"name": "default"}, "embedding": {"provider": "hash", "dimensions": 128}},
}
CLUSTER: dict[str, Any] = {
    "apiVersion": "memory.somafractal.io/v1alpha1",
    "kind": "MemoryCluster",
    "metadata": {"name": "default"},
    "spec": {"postgres": {"external": {"host": "db", "adminSecretRef": {"name": "admin"}}}},
}


def with_(resource, path, value):
    changed = deepcopy(resource)
    *parents, last = path.split(".")
    inside = changed
    for parent in parents:
        inside = inside.setdefault(parent, {})
    inside[last] = value
    return changed


@pytest.mark.parametrize("example", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(example):
    kinds = {"MemoryNamespace": MemoryNamespace, "MemoryCluster": MemoryCluster}
    documents = [each for each in yaml.safe_load_all(example.read_text("utf-8")) if each["kind"] in kinds]
    assert documents
    for document in documents:
        kinds[document["kind"]].model_validate(document)


def test_a_minimal_namespace_gets_its_defaults():
    minimal = MemoryNamespace.model_validate({"metadata": {"name": "notes"}})
    assert minimal.spec.embedding.provider == "builtin"
    assert minimal.spec.api.replicas == 1
    assert minimal.spec.cluster_ref.name == "default"
    assert minimal.metadata.namespace == "default"


@pytest.mark.parametrize(
    ("model", "resource"), [(MemoryNamespace, NAMESPACE), (MemoryCluster, CLUSTER)], ids=["namespace", "cluster"]
)
def test_what_is_written_is_read_back(model, resource):
    first = model.model_validate(resource)
    assert model.model_validate(first.model_dump(by_alias=True, mode="json")) == first


def test_what_the_api_server_adds_to_metadata_is_taken():
    extra = {"name": "research", "resourceVersion": "1", "managedFields": [], "labels": {"a": "b"}}
    assert MemoryNamespace.model_validate(NAMESPACE | {"metadata": extra}).metadata.name == "research"


BAD_NAMESPACES = [
    ("metadata.name", "Research"),
    ("metadata.name", "a_b"),
    ("metadata.name", "-a"),
    ("metadata.name", ""),
    ("metadata.name", "a" * 64),
    ("metadata.name", "a\n"),
    ("metadata.namespace", "team/a"),
    ("apiVersion", "memory.somafractal.io/v1"),
    ("kind", "MemoryCluster"),
    ("spec.replicas", 2),
    ("spec.api.replicas", 0),
    ("spec.api.replicas", 101),
    ("spec.api.replicas", "many"),
    ("spec.api.logLevel", "loud"),
    ("spec.embedding.provider", "openai"),
    ("spec.embedding.dimensions", 63),
    ("spec.embedding.dimensions", 4097),
    ("spec.embedding.model", "x"),
    ("spec.clusterRef.name", "A"),
    ("spec.clusterRef.uid", "x"),
    ("spec", None),
]


@pytest.mark.parametrize(("path", "value"), BAD_NAMESPACES, ids=[f"{p}={v!r:.20}" for p, v in BAD_NAMESPACES])
def test_a_bad_namespace_is_refused_with_the_name_of_the_field(path, value):
    with pytest.raises(ValidationError) as caught:
        MemoryNamespace.model_validate(with_(NAMESPACE, path, value))
    assert [".".join(map(str, fault["loc"])) for fault in caught.value.errors()] == [path]


def test_dimensions_without_the_hash_provider_are_refused_with_a_reason():
    with pytest.raises(ValidationError, match="dimensions goes with provider hash only"):
        MemoryNamespace.model_validate(with_(NAMESPACE, "spec.embedding", {"dimensions": 256}))


BAD_CLUSTERS = [
    ("spec.postgres.external.host", ""),
    ("spec.postgres.external.port", 0),
    ("spec.postgres.external.port", 65536),
    ("spec.postgres.external.sslMode", "maybe"),
    ("spec.postgres.external.password", "secret"),
    ("spec.postgres.external.adminSecretRef", {"name": "a/b"}),
    ("spec.postgres.mode", "Managed"),
    ("spec.postgres.external", None),
    ("spec.qdrant", {}),
    ("spec.defaults.image", ""),
]


@pytest.mark.parametrize(("path", "value"), BAD_CLUSTERS, ids=[f"{p}={v!r:.20}" for p, v in BAD_CLUSTERS])
def test_a_bad_cluster_is_refused_with_the_name_of_the_field(path, value):
    with pytest.raises(ValidationError) as caught:
        MemoryCluster.model_validate(with_(CLUSTER, path, value))
    (fault,) = caught.value.errors()
    assert ".".join(map(str, fault["loc"])).startswith(path)


def test_tls_is_verified_unless_the_cluster_says_otherwise():
    assert MemoryCluster.model_validate(CLUSTER).spec.postgres.external.ssl_mode == "verify-full"
