"""The API types: good resources are taken, bad ones are refused with the name of the field."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from resource_table import BAD, CLUSTER, EDITS, FULL_CLUSTER, FULL_NAMESPACE, GOOD, MODELS, NAMESPACE, changed

from memory_contracts.api.base import parse_duration
from memory_contracts.conditions import ClusterConditionType, Condition, ConditionType, Reason
from memory_contracts.v1alpha1 import Embedding, MemoryCluster, MemoryNamespace, MemoryNamespaceSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def by_name(row: Any) -> str:
    return str(row.name)


def locations(error: ValidationError) -> list[str]:
    return [".".join(map(str, fault["loc"])) for fault in error.errors()]


@pytest.mark.parametrize("example", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(example):
    documents = [each for each in yaml.safe_load_all(example.read_text("utf-8")) if each["kind"] in MODELS]
    assert documents
    for document in documents:
        MODELS[document["kind"]].model_validate(document)


@pytest.mark.parametrize("row", GOOD, ids=by_name)
def test_good_resources_are_taken(row):
    MODELS[row.base["kind"]].model_validate(row.document)


@pytest.mark.parametrize("row", BAD, ids=by_name)
def test_bad_resources_are_refused_with_the_name_of_the_field(row):
    with pytest.raises(ValidationError) as caught:
        MODELS[row.base["kind"]].model_validate(row.document)
    (path,) = row.changes
    for place in locations(caught.value):
        assert place.startswith(path) or path.startswith(place)
    assert not row.rule or all(sentence in str(caught.value) for sentence in row.says)


@pytest.mark.parametrize("row", EDITS, ids=by_name)
def test_edits_that_an_api_server_would_refuse_are_told(row):
    before, after = (
        MemoryNamespace.model_validate(changed(NAMESPACE, changes)).spec for changes in (row.before, row.after)
    )
    refused = after.refused_changes(before)
    assert len(refused) == bool(row.says)
    assert not row.says or row.says in refused[0]


def test_all_refused_changes_are_told_at_once():
    before = MemoryNamespaceSpec.model_validate({"events": {"partitions": 9}})
    after = MemoryNamespaceSpec.model_validate({"clusterRef": {"name": "two"}, "embedding": {"provider": "hash"}})
    assert len(after.refused_changes(before)) == 3
    assert after.refused_changes(after) == []


def test_a_minimal_namespace_gets_its_defaults():
    minimal = MemoryNamespace.model_validate({"metadata": {"name": "notes"}})
    assert minimal.spec.embedding.provider == "builtin"
    assert minimal.spec.api.replicas == 1
    assert minimal.spec.cluster_ref.name == "default"
    assert minimal.spec.events.retention == "168h"
    assert minimal.spec.deletion.policy == "Retain"
    assert minimal.metadata.namespace == "default"
    assert minimal.status is None


@pytest.mark.parametrize(
    "document",
    [
        changed(NAMESPACE, {"spec": FULL_NAMESPACE}),
        changed(CLUSTER, {"spec": FULL_CLUSTER}),
        NAMESPACE,
        CLUSTER,
    ],
    ids=["full namespace", "full cluster", "namespace", "cluster"],
)
def test_what_is_written_is_read_back(document):
    model = MODELS[document["kind"]]
    first = model.model_validate(document)
    assert model.model_validate(first.model_dump(by_alias=True, mode="json")) == first
    assert model.model_validate(first.model_dump(by_alias=True, mode="json", exclude_none=True)) == first


def test_what_the_api_server_adds_to_metadata_is_taken():
    extra = {"name": "research", "resourceVersion": "1", "managedFields": [], "labels": {"a": "b"}}
    assert MemoryNamespace.model_validate(NAMESPACE | {"metadata": extra}).metadata.name == "research"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "Research"),
        ("metadata.name", "a_b"),
        ("metadata.name", "-a"),
        ("metadata.name", ""),
        ("metadata.name", "a\n"),
        ("metadata.name", None),
        ("metadata.namespace", "team/a"),
        ("apiVersion", "memory.somafractal.io/v1"),
        ("kind", "MemoryCluster"),
    ],
    ids=repr,
)
def test_what_the_api_server_refuses_without_a_schema_is_refused_here(path, value):
    with pytest.raises(ValidationError) as caught:
        MemoryNamespace.model_validate(changed(NAMESPACE, {path: value}))
    assert locations(caught.value) == [path]


def test_code_may_use_the_names_of_python_and_documents_may_not():
    spec = MemoryNamespaceSpec(drift_policy="Report")
    assert spec.model_dump(by_alias=True)["driftPolicy"] == "Report"
    with pytest.raises(ValidationError) as caught:
        MemoryNamespaceSpec.model_validate({"drift_policy": "Report"})
    assert locations(caught.value) == ["drift_policy"]


def test_validation_changes_nothing_in_the_document():
    document = changed(NAMESPACE, {"spec.api": None})
    before = deepcopy(document)
    MemoryNamespace.model_validate(document)
    assert document == before


def test_tls_is_verified_unless_the_cluster_says_otherwise():
    cluster = MemoryCluster.model_validate(CLUSTER)
    assert cluster.spec.postgres.external.tls.mode == "verify-full"


@pytest.mark.parametrize(
    ("embedding", "length"),
    [({}, 256), ({"provider": "hash"}, 512), ({"provider": "hash", "dimensions": 64}, 64)],
    ids=["builtin", "hash", "hash with a length"],
)
def test_length_of_the_vectors(embedding, length):
    assert Embedding.model_validate(embedding).length == length


def test_durations_are_read():
    assert parse_duration("1h30m5s").total_seconds() == 5405


# --- status ----------------------------------------------------------------------------------------------------------


def test_the_status_of_another_manager_or_version_is_no_fault():
    ours = {"type": "Ready", "status": "True", "reason": "Available", "lastTransitionTime": "2026-11-21T12:00:00Z"}
    status = {
        "inventedLater": 1,
        "api": {"replicas": 1, "inventedLater": {}},
        "conditions": [
            ours,
            {"type": "example.com/Audited", "status": "True", "reason": "NobodyLooked"},
            {"type": "Synced", "status": "False", "reason": "InventedLater"},
            {"type": "Synced"},
        ],
    }
    read = MemoryNamespace.model_validate(NAMESPACE | {"status": status}).status
    assert read is not None
    assert read.api is not None
    assert read.api.replicas == 1
    assert [(each.type, each.reason) for each in read.conditions] == [(ConditionType.READY, Reason.AVAILABLE)]


def test_times_of_a_status_are_read_and_written_as_kubernetes_does():
    document = NAMESPACE | {"status": {"deletion": {"fencedAt": "2026-11-21T12:00:00Z"}}}
    read = MemoryNamespace.model_validate(document)
    written = read.model_dump(by_alias=True, mode="json", exclude_none=True)
    assert written["status"]["deletion"] == {"fencedAt": "2026-11-21T12:00:00Z"}


@pytest.mark.parametrize("kind", [*ConditionType, *ClusterConditionType])
@pytest.mark.parametrize("model", [MemoryNamespace, MemoryCluster], ids=lambda each: each.__name__)
def test_conditions_that_we_write_are_read_back(model, kind):
    condition = Condition(type=kind, status="Unknown", reason=Reason.PROGRESSING, message="a sentence")
    base = NAMESPACE if model is MemoryNamespace else CLUSTER
    written = {"conditions": [condition.model_dump(by_alias=True, mode="json", exclude_none=True)]}
    read = model.model_validate(base | {"status": written}).status
    assert [each.type for each in read.conditions] == [kind]
