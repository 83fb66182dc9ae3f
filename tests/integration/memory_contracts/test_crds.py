"""The CRDs on a real API server: it takes and refuses what the pydantic types take and refuse, and says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from resource_table import BAD, CLUSTER, EDITS, GOOD, MODELS, NAMESPACE, Bad, Edit, Good, changed

from memory_contracts.crd import RESOURCES
from memory_contracts.v1alpha1 import MemoryNamespaceSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def by_name(row: Any) -> str:
    return str(row.name)


def words(line: str) -> str:
    """A line of a table, its columns one space apart."""
    return " ".join(line.split())


def without_empty(value: Any) -> Any:
    """Absent, null, {} and [] mean the same in both kinds."""
    if isinstance(value, dict):
        kept = {name: without_empty(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each not in (None, {}, [])}
    return [without_empty(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("row", GOOD, ids=by_name)
def test_good_resources_are_taken_and_completed_by_both_alike(row: Good, trial) -> None:
    response = trial.create(row.document)
    assert response.is_success, response.text
    here = MODELS[row.document["kind"]].model_validate(row.document)
    assert without_empty(response.json()["spec"]) == without_empty(here.spec.model_dump(by_alias=True, mode="json"))
    assert MODELS[row.document["kind"]].model_validate(response.json()).spec == here.spec


@pytest.mark.parametrize("row", BAD, ids=by_name)
def test_bad_resources_are_refused_by_both_with_a_useful_sentence(row: Bad, trial) -> None:
    response = trial.create(row.document)
    assert response.status_code in (400, 422), response.text
    said = response.json()["message"]
    assert all(part in said for part in row.says), said
    with pytest.raises(ValidationError) as caught:
        MODELS[row.document["kind"]].model_validate(row.document)
    assert not row.rule or all(part in str(caught.value) for part in row.says)


@pytest.mark.parametrize("row", EDITS, ids=by_name)
def test_edits_are_taken_or_refused_by_both_alike(row: Edit, objects) -> None:
    before, after = changed(NAMESPACE, row.before), changed(NAMESPACE, row.after)
    created = objects.create(before, keep=True)
    assert created.is_success, created.text
    response = objects.replace(created.json(), after)
    refused = MemoryNamespaceSpec.model_validate(after.get("spec", {})).refused_changes(
        MemoryNamespaceSpec.model_validate(before["spec"])
    )
    if not row.says:
        assert response.is_success, response.text
        assert refused == []
        return
    assert response.status_code == 422
    assert row.says in response.json()["message"]
    assert [row.says in sentence for sentence in refused] == [True]


def test_a_status_does_not_change_through_the_object_itself(objects) -> None:
    written = changed(NAMESPACE, {"status": {"endpoint": "http://somewhere"}})
    assert "status" not in objects.create(written, keep=True).json()


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_taken_as_they_are(example: Path, run) -> None:
    for document in yaml.safe_load_all(example.read_text("utf-8")):
        # Their own Kubernetes namespace does not exist here.
        document["metadata"].pop("namespace", None)
        run("create", "--dry-run=server", "--validate=strict", "-f", "-", input=json.dumps(document))


# --- kubectl and several managers -------------------------------------------------------------------------------------


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "a sentence",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }


def with_status(document: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in document.items() if key != "spec"}, "status": status}


def described(schema: dict[str, Any], path: str = "") -> list[str]:
    """Return the path of each property and each object of a list that has no text."""
    missing = []
    for name, each in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        if not each.get("description") and below != "metadata":
            missing.append(below)
        missing += described(each, below)
        items = each.get("items", {})
        if items.get("type") == "object" and not items.get("description"):
            missing.append(f"{below}[]")
        missing += described(items, f"{below}[]")
    return missing


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.short_name)
def test_every_field_and_object_has_a_text(resource, api) -> None:
    groups = api.get("/openapi/v3/apis/memory.somafractal.io/v1alpha1").json()["components"]["schemas"]
    served = groups[f"io.somafractal.memory.v1alpha1.{resource.kind}"]
    assert served["description"]
    assert described(served) == []


def test_explain_reads_like_documentation(run) -> None:
    page = run("explain", "memns.spec.api").stdout
    assert "How many API processes serve the namespace; not used with autoscaling." in page
    assert "Default: info." in page
    assert "enum: debug, info, warning, error" in page
    tree = run("explain", "memns.spec.api", "--recursive").stdout
    for field in ("replicas\t<integer>", "maxReplicas\t<integer> -required-", "tolerations\t<[]Object>"):
        assert field in tree
    assert "host\t<string> -required-" in run("explain", "memc.spec.postgres.external").stdout


def test_short_names_columns_and_category(objects, run) -> None:
    objects.create(CLUSTER, keep=True)
    objects.create(NAMESPACE, keep=True)
    objects.apply_status(
        with_status(
            NAMESPACE,
            {
                "endpoint": "http://research-api:9595",
                "api": {"replicas": 2, "ready": 1, "selector": "a=b"},
                "conditions": [condition("Synced", "True", "InSync"), condition("Ready", "False", "Progressing")],
            },
        ),
        "memory-operator",
    )
    objects.apply_status(
        with_status(
            CLUSTER,
            {
                "backends": {"postgres": {"version": "18.1", "identity": "1"}, "kafka": {"version": "4.3"}},
                "namespaces": {"total": 3, "ready": 1},
                "conditions": [condition("Ready", "True", "Available")],
            },
        ),
        "memory-operator",
    )
    header, row = run("get", "memns", "-o", "wide").stdout.splitlines()
    assert words(header) == "NAME READY REASON CLUSTER API SYNCED ENDPOINT STATE AGE"
    assert words(row).startswith("research False Progressing default 1 True http://research-api:9595 Active")
    header, row = run("get", "memc").stdout.splitlines()
    assert words(header) == "NAME READY REASON POSTGRES QDRANT KAFKA REDIS NAMESPACES AGE"
    assert words(row).startswith("default True Available 18.1 4.3 3")
    listed = run("get", "memory", "-A", "-o", "name").stdout.split()
    assert {"memorycluster.memory.somafractal.io/default", "memorynamespace.memory.somafractal.io/research"} <= set(
        listed
    )


def test_columns_of_an_object_without_status_are_empty(objects, run) -> None:
    objects.create(NAMESPACE, keep=True)
    _, row = run("get", "memns").stdout.splitlines()
    assert words(row).startswith("research default ")


def test_scale_sets_the_replicas(objects, run) -> None:
    objects.create(NAMESPACE, keep=True)
    run("scale", "memns/research", "--replicas=3")
    assert objects.read(NAMESPACE)["spec"]["api"]["replicas"] == 3
    refused = run("scale", "memns/research", "--replicas=0", check=False)
    assert refused.returncode != 0
    assert "spec.api.replicas" in refused.stderr


def test_scale_tells_replicas_and_selector_of_the_pods(objects, api) -> None:
    objects.create(NAMESPACE, keep=True)
    objects.apply_status(with_status(NAMESPACE, {"api": {"replicas": 2, "selector": "app=memory"}}), "memory-operator")
    path = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{objects.namespace}/memorynamespaces/research/scale"
    assert api.get(path).json()["status"] == {"replicas": 2, "selector": "app=memory"}


def test_wait_for_ready(objects, run) -> None:
    objects.create(NAMESPACE, keep=True)
    not_yet = run("wait", "--for=condition=Ready", "memns/research", "--timeout=0s", check=False)
    assert not_yet.returncode != 0
    ready = {"observedGeneration": 1, "conditions": [condition("Ready", "True", "Available")]}
    objects.apply_status(with_status(NAMESPACE, ready), "memory-operator")
    run("wait", "--for=condition=Ready", "memns/research", "--timeout=30s")


def test_conditions_of_two_managers_merge_by_type(objects) -> None:
    objects.create(NAMESPACE, keep=True)
    ours = {"conditions": [condition("Ready", "False", "Progressing"), condition("Synced", "True", "InSync")]}
    theirs = {"conditions": [condition("example.com/Audited", "True", "NobodyLooked")]}
    objects.apply_status(with_status(NAMESPACE, ours), "memory-operator")
    objects.apply_status(with_status(NAMESPACE, theirs), "auditor")
    ours["conditions"] = [condition("Ready", "True", "Available")]
    merged = objects.apply_status(with_status(NAMESPACE, ours), "memory-operator")
    statuses = {each["type"]: each["status"] for each in merged["status"]["conditions"]}
    assert statuses == {"Ready": "True", "example.com/Audited": "True"}
    read = MODELS["MemoryNamespace"].model_validate(merged)
    assert read.status is not None
    assert [each.type for each in read.status.conditions] == ["Ready"]


def test_applying_the_same_status_again_writes_nothing(objects) -> None:
    objects.create(NAMESPACE, keep=True)
    status = with_status(NAMESPACE, {"conditions": [condition("Ready", "True", "Available")]})
    first, second = (objects.apply_status(status, "memory-operator") for _ in range(2))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def test_nothing_is_filled_into_a_status(objects) -> None:
    objects.create(NAMESPACE, keep=True)
    status = {"drift": {"detail": "a topic"}, "external": {"redis": {"user": "u", "prefix": "p:"}}}
    assert objects.apply_status(with_status(NAMESPACE, status), "memory-operator")["status"] == status
