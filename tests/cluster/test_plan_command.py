"""``memory-operator plan``: says what would be done, and does nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from controlplane import audit
from holdings import Holdings
from operator_process import COMMAND

from memory_contracts.naming import TenantNames

Result = subprocess.CompletedProcess[str]
SCHEMA_STEPS = ("create schema", "create owner role", "create login role", "migrate schema")


@pytest.fixture(scope="module")
def holdings(kube, backends) -> Holdings:
    return Holdings(backends)


@pytest.fixture
def plan(kube, tmp_path) -> Callable[..., Result]:
    """Run the command on documents, as the administrator unless told otherwise."""

    def run(*documents: dict[str, Any] | str, **environment: str) -> Result:
        file = tmp_path / "objects.yaml"
        file.write_text("---\n".join(each if isinstance(each, str) else yaml.safe_dump(each) for each in documents))
        return plan_of(file, **{"KUBECONFIG": str(kube.kubeconfig), **environment})

    return run


def plan_of(file: Path, **environment: str) -> Result:
    command = [COMMAND, "plan", "-f", file]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def names_of(tenant) -> TenantNames:
    return TenantNames(tenant.namespace, tenant.name)


def test_a_new_tenant_is_planned_in_full_and_nothing_is_made(plan, tenant, kube, control_plane, holdings):
    before, position = holdings.everything(), control_plane.audit_position()

    planned = plan(tenant.manifest)

    assert planned.returncode == 2, planned.stderr
    assert planned.stderr == ""
    lines = planned.stdout.splitlines()
    assert lines[0] == f"MemoryNamespace {tenant.namespace}/{tenant.name}"
    assert all(line.startswith("  + ") for line in lines[1:])
    names = names_of(tenant)
    for step in (
        *(f"{each} {names.schema}" for each in SCHEMA_STEPS),
        *(f"create topic {names.topic(kind)}" for kind in ("events", "ingest", "dead-letter")),
        *(f"create collection {names.collection}", f"set user {names.redis_user}"),
        *(f"create {kind} {names.api}" for kind in ("Deployment", "Service", "ConfigMap", "ServiceAccount")),
        f"create Secret {names.credentials}",
    ):
        assert f"  + {step}" in planned.stdout, step
    assert tenant.get() is None
    assert tenant.child("Secret", "credentials") is None
    assert {each for each in holdings.everything() - before if names.stem in each.replace("_", "-")} == set()
    assert holdings.claims(names) == set()
    dry = control_plane.audit_events(user="admin", verbs=audit.WRITES, since=position)
    assert [each for each in dry if "dryRun=All" not in each.raw["requestURI"]] == []
    assert dry


def test_a_converged_tenant_needs_nothing(plan, ready):
    planned = plan(ready.manifest)

    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert planned.stdout == f"MemoryNamespace {ready.namespace}/{ready.name}\n  nothing to do\n"


def test_an_edit_is_planned_without_being_made(plan, ready):
    generation = ready.get()["metadata"]["generation"]
    edited = replace(ready, spec={"api": {"replicas": 2}, "events": {"partitions": 4}})

    planned = plan(edited.manifest)

    assert planned.returncode == 2, planned.stderr
    names = names_of(ready)
    assert f"  + grow topic {names.topic('events')} from 3 to 4 partitions" in planned.stdout
    assert f"  + correct Deployment {names.api}: spec.replicas" in planned.stdout
    assert "create topic" not in planned.stdout
    assert ready.get()["metadata"]["generation"] == generation
    assert ready.child("Deployment")["spec"]["replicas"] == 1


def test_several_objects_are_planned_in_their_order_and_the_rest_of_a_file_is_passed_over(plan, ready):
    other = replace(ready, name="other")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": ready.namespace}}

    planned = plan(other.manifest, config, ready.manifest)

    assert planned.returncode == 2
    heads = [line for line in planned.stdout.splitlines() if not line.startswith(" ")]
    assert heads == [f"MemoryNamespace {ready.namespace}/{name}" for name in ("other", ready.name)]


def test_a_memory_cluster_in_the_same_file_counts_as_applied(plan, tenant, kube, backends):
    found = kube.get("MemoryCluster", "memory-system", "default")
    cluster = {key: found[key] for key in ("apiVersion", "kind", "spec")}
    cluster["metadata"] = {"name": "planned", "namespace": "memory-system"}
    there = replace(tenant, spec={"clusterRef": {"name": "planned", "namespace": "memory-system"}})

    alone, together = plan(there.manifest), plan(cluster, there.manifest)

    assert alone.returncode == 1
    assert "MemoryCluster memory-system/planned, which does not exist; create it" in alone.stdout
    assert together.returncode == 2, together.stdout + together.stderr
    assert kube.get("MemoryCluster", "memory-system", "planned") is None


def test_what_belongs_to_somebody_else_is_named_beside_the_steps(plan, tenant, kube, holdings):
    names = names_of(tenant)
    secret = {"name": names.credentials, "namespace": tenant.namespace}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret})

    refused = plan(tenant.manifest)

    assert refused.returncode == 1
    assert f"  ! CredentialsReady: Secret {names.credentials} exists in namespace {tenant.namespace}" in refused.stdout
    kube.delete("Secret", tenant.namespace, names.credentials)
    holdings.sql(f'create schema "{names.schema}"')
    refused = plan(tenant.manifest)
    assert refused.returncode == 1
    assert "  ! SchemaReady: " in refused.stdout
    assert names.schema in refused.stdout
    holdings.sql(f'drop schema "{names.schema}"')


def test_what_the_api_server_refuses_is_told_in_its_words(plan, tenant):
    lossy = replace(tenant, spec={"deletion": {"policy": "Delete"}})
    unknown = replace(tenant, spec={"api": {"replicas": -1}})

    for each, words in ((lossy, "deletion.acknowledgeDataLoss: true"), (unknown, "spec.api.replicas")):
        refused = plan(each.manifest)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is not valid YAML"),
        (b"\xff\xfe", "cannot be read"),
        (
            "apiVersion: memory.somafractal.io/v1alpha1\nkind: Memory\n",
            "document 1 is no MemoryCluster or MemoryNamespace",
        ),
        ("apiVersion: memory.somafractal.io/v1alpha1\nkind: MemoryNamespace\n", "with a metadata.name"),
    ],
    ids=["no YAML", "no text", "another kind", "no name"],
)
def test_a_file_that_cannot_be_used_is_told_in_a_sentence(kube, tmp_path, content, words):
    file = tmp_path / "broken.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    refused = plan_of(file, KUBECONFIG=str(kube.kubeconfig))

    assert refused.returncode == 1
    assert words in refused.stderr
    assert str(file) in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_a_cluster_it_says_so(tmp_path, tenant):
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump(tenant.manifest))
    dead = tmp_path / "dead.kubeconfig"
    dead.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "dead",
                "contexts": [{"name": "dead", "context": {"cluster": "dead", "user": "dead"}}],
                "clusters": [{"name": "dead", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "dead", "user": {}}],
            }
        )
    )

    nowhere = plan_of(file, KUBECONFIG=str(tmp_path / "missing"))
    silent = plan_of(file, KUBECONFIG=str(dead))

    assert (nowhere.returncode, silent.returncode) == (1, 1)
    assert "no way to reach a Kubernetes API" in nowhere.stderr
    assert "127.0.0.1:1" in silent.stderr
    assert "Traceback" not in nowhere.stderr + silent.stderr
