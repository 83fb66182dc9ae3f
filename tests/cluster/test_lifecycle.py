"""One apply gives a running memory service; edits converge; nothing is written when nothing changes."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from controlplane.kubectl import kubectl
from kube import eventually


def test_an_apply_becomes_ready_with_everything_in_place(tenant):
    tenant.apply()

    tenant.wait()
    status = tenant.status
    assert {each["type"]: each["status"] for each in status["conditions"]} == dict.fromkeys(
        [
            *("ClusterAccepted", "Claimed", "CredentialsReady", "SchemaReady", "CollectionReady", "TopicReady"),
            *("CacheReady", "APIAvailable", "Synced", "Ready"),
        ],
        "True",
    )
    for kind in ("Deployment", "Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
        assert tenant.child(kind), kind
    assert tenant.child("Secret", "credentials")
    assert tenant.child("Secret", "binding")


def test_an_edit_converges_without_recreating_anything(ready):
    before = {kind: ready.child(kind)["metadata"]["uid"] for kind in ("Deployment", "Service", "ConfigMap")}

    assert ready.edit(api={"replicas": 2, "logLevel": "warning"}).is_success

    ready.wait()
    ready.wait("Synced")
    after = {kind: ready.child(kind)["metadata"]["uid"] for kind in before}
    assert after == before
    assert ready.child("ConfigMap")["data"]["SOMA_LOG_LEVEL"] == "warning"
    assert ready.child("Deployment")["spec"]["replicas"] == 2
    assert ready.status["api"]["ready"] == 2


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("Deployment", "api"),
        ("Service", "api"),
        ("ConfigMap", "api"),
        ("ServiceAccount", "api"),
        ("PodDisruptionBudget", "api"),
        ("NetworkPolicy", "api"),
        ("Secret", "credentials"),
        ("Secret", "binding"),
    ],
)
def test_a_deleted_child_comes_back(ready, kind, suffix):
    before = ready.child(kind, suffix)["metadata"]["uid"]

    ready.kube.delete(kind, ready.namespace, f"{ready.name}-{suffix}")

    eventually(lambda: (found := ready.child(kind, suffix)) and found["metadata"]["uid"] != before, 30)
    ready.wait()


def test_an_edited_child_is_set_right(ready):
    ready.kube.edit("Deployment", ready.namespace, f"{ready.name}-api", {"spec": {"replicas": 5}})
    ready.kube.edit(
        "Service", ready.namespace, f"{ready.name}-api", {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}
    )

    eventually(lambda: ready.child("Deployment")["spec"]["replicas"] == 1, 30)
    eventually(lambda: ready.child("Service")["metadata"]["labels"]["app.kubernetes.io/name"] == "memory", 30)
    eventually(lambda: ready.status["drift"]["corrected"] >= 1, 30)


def test_report_leaves_drift_as_it_is_and_says_so(ready):
    ready.edit(driftPolicy="Report")
    ready.wait("Synced")

    ready.kube.edit("Deployment", ready.namespace, f"{ready.name}-api", {"spec": {"replicas": 5}})

    told = ready.wait("Synced", "False", reason="DriftDetected")
    assert "spec.replicas" in told["message"]
    assert ready.child("Deployment")["spec"]["replicas"] == 5
    ready.edit(driftPolicy="Correct")
    eventually(lambda: ready.child("Deployment")["spec"]["replicas"] == 1, 30)


@pytest.mark.parametrize("state", ["Fenced", "Hibernated"])
def test_no_process_runs_in_a_state_without_one(ready, state):
    ready.edit(state=state)

    ready.wait("Ready", "False", reason=state)
    eventually(lambda: ready.child("Deployment")["spec"]["replicas"] == 0, 30)
    ready.edit(state="Active")
    ready.wait()


def test_the_object_can_be_scaled(ready):
    kubectl(ready.kube.kubeconfig, "scale", f"memns/{ready.name}", "-n", ready.namespace, "--replicas=3")

    eventually(lambda: ready.status["api"]["ready"] == 3, 60)


def test_retain_leaves_the_data_and_a_successor_finds_it(ready, backends):
    schema = ready.status["external"]["postgres"]["schema"]

    ready.delete()
    ready.wait_gone()

    assert _schema_exists(backends, schema)
    eventually(lambda: ready.child("Deployment") is None, 30)
    ready.apply()
    ready.wait()
    assert ready.status["external"]["postgres"]["schema"] == schema


def test_delete_drops_what_was_claimed(tenant, backends):
    tenant.apply(deletion={"policy": "Delete", "acknowledgeDataLoss": True})
    tenant.wait()
    schema = tenant.status["external"]["postgres"]["schema"]

    tenant.delete()
    tenant.wait_gone()

    assert not _schema_exists(backends, schema)


def _schema_exists(backends, schema: str) -> bool:
    async def ask() -> bool:
        connection = await asyncpg.connect(backends.postgres.admin_url(backends.database))
        try:
            return bool(await connection.fetchval("select 1 from pg_namespace where nspname = $1", schema))
        finally:
            await connection.close()

    return asyncio.run(ask())
