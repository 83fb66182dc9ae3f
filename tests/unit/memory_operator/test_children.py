"""What a MemoryNamespace owns in Kubernetes: which of it is applied, removed, left alone, or handed over."""

from copy import deepcopy
from typing import Any

import pytest
from managed_fields import fields_of
from tenants import workload

from memory_contracts.conditions import Reason
from memory_operator.kube.children import FIELD_MANAGER, HANDOVER_MANAGER, Create, Remove, excess, is_ours, plan_child
from memory_operator.kube.kinds import AUTOSCALER, CHILD_KINDS, DEPLOYMENT, SERVICE, Kind, kind_of
from memory_operator.providers.shapes import Blocked
from memory_operator.specs.workload import KINDS

OWNER = "0d5c7b9e"
BUILT = workload()
SERVICE_MANIFEST, DEPLOYMENT_MANIFEST = BUILT.service, BUILT.deployment
SCALED = workload(api={"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}).deployment


def alive(manifest: dict[str, Any], owned: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """The object as the server gives it; `owned` are the fields that it knows us to have applied, else all."""
    live = deepcopy(manifest)
    fields = fields_of(manifest) if owned is None else owned
    entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
    live["metadata"] |= {"uid": "live", "resourceVersion": "5", "managedFields": [entry]} | metadata
    return live


def without(manifest: dict[str, Any], *path: str) -> dict[str, Any]:
    """What the operator still owns when somebody else has written the field at `path`."""
    owned = fields_of(manifest)
    *way, last = path
    inner = owned
    for name in way:
        inner = inner[name]
    del inner[last]
    return owned


def summaries(steps) -> list[str]:
    return [each.summary for each in steps]


# --- one object -------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_created():
    (step,) = plan_child(SERVICE_MANIFEST, None, OWNER)

    assert step == Create(SERVICE_MANIFEST)
    assert step.summary == "create Service research-api"


def test_what_is_as_it_should_be_needs_no_step():
    live = alive(SERVICE_MANIFEST)
    live["spec"]["clusterIP"] = "10.0.0.1"

    assert plan_child(SERVICE_MANIFEST, live, OWNER) == []


def test_what_somebody_changed_is_corrected_and_named_field_by_field():
    live = alive(SERVICE_MANIFEST)
    live["spec"]["type"] = "NodePort"
    del live["metadata"]["labels"]["app.kubernetes.io/part-of"]

    (step,) = plan_child(SERVICE_MANIFEST, live, OWNER)

    assert step.summary == "correct Service research-api: metadata.labels.app.kubernetes.io/part-of, spec.type"
    assert step.manifest == SERVICE_MANIFEST


def test_a_long_list_of_changes_is_cut():
    live = alive(DEPLOYMENT_MANIFEST)
    live["spec"] = {}

    (step,) = plan_child(DEPLOYMENT_MANIFEST, live, OWNER)

    assert step.summary.count(", ") == 4


def test_what_the_operator_once_applied_and_no_longer_wants_is_taken_back():
    """Regression: a node selector that was removed from the specification stayed on the pods for ever."""
    before = deepcopy(DEPLOYMENT_MANIFEST)
    before["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    live = alive(before)

    assert summaries(plan_child(DEPLOYMENT_MANIFEST, live, OWNER)) == [
        "correct Deployment research-api: no spec.template.spec.nodeSelector"
    ]


def test_what_somebody_else_added_stays():
    live = alive(DEPLOYMENT_MANIFEST)
    live["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}

    assert plan_child(DEPLOYMENT_MANIFEST, live, OWNER) == []


def test_who_adds_to_a_selector_has_taken_it_over():
    """Every value of the operator is still there, and yet no pod matches any more."""
    live = alive(SERVICE_MANIFEST, without(SERVICE_MANIFEST, "f:spec", "f:selector"))
    live["spec"]["selector"]["example.com/only"] = "nobody"

    assert summaries(plan_child(SERVICE_MANIFEST, live, OWNER)) == ["correct Service research-api: spec.selector"]


def test_what_was_changed_and_taken_over_is_named_once():
    live = alive(SERVICE_MANIFEST, without(SERVICE_MANIFEST, "f:spec", "f:type"))
    live["spec"]["type"] = "NodePort"

    assert summaries(plan_child(SERVICE_MANIFEST, live, OWNER)) == ["correct Service research-api: spec.type"]


def test_an_object_whose_owners_were_wiped_is_applied_again():
    live = alive(SERVICE_MANIFEST, {})

    assert summaries(plan_child(SERVICE_MANIFEST, live, OWNER)) == ["correct Service research-api: metadata, spec"]


def test_what_is_being_deleted_is_waited_for():
    live = alive(SERVICE_MANIFEST, deletionTimestamp="2026-11-01T12:00:00Z", finalizers=["somebody/waits"])
    live["spec"]["type"] = "NodePort"

    assert plan_child(SERVICE_MANIFEST, live, OWNER) == []


def test_no_secret_reaches_a_summary_or_a_representation():
    live = alive(BUILT.secret)
    live["data"]["api-token"] = "Y2hhbmdlZA=="

    steps = plan_child(BUILT.secret, live, OWNER)

    assert summaries(steps) == ["correct Secret research-credentials: data.api-token"]
    assert not any(value in repr(steps) for value in BUILT.secret["data"].values())


# --- whose it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owners", "managers", "ours"),
    [
        ([OWNER], [], True),
        ([OWNER], ["kubectl"], True),
        (["somebody", OWNER], [], True),
        # Its owner reference was taken away, or is that of an earlier object of the same name.
        ([], [FIELD_MANAGER], True),
        (["earlier"], [FIELD_MANAGER, "kubectl"], True),
        ([], [], False),
        (["somebody"], ["kubectl"], False),
        ([], [HANDOVER_MANAGER], False),
    ],
)
def test_an_object_is_ours_when_it_says_so_or_the_server_remembers(owners, managers, ours):
    metadata = {
        "ownerReferences": [{"uid": each} for each in owners],
        "managedFields": [{"manager": each} for each in managers],
    }

    assert is_ours({"metadata": metadata}, OWNER) is ours


@pytest.mark.parametrize("metadata", [{}, {"ownerReferences": [{"uid": "somebody"}]}], ids=["nobody's", "somebody's"])
def test_a_foreign_object_is_left_alone_and_named_with_the_remedy(metadata):
    live = {"metadata": {"name": "research-api", "uid": "theirs", **metadata}}

    assert plan_child(SERVICE_MANIFEST, live, OWNER) == Blocked(
        Reason.FOREIGN_OBJECT,
        "Service research-api exists in namespace team-a and was not made by the operator; delete or rename it",
    )


def test_a_foreign_object_is_left_alone_also_while_it_is_being_deleted():
    live = {"metadata": {"name": "research-api", "uid": "theirs", "deletionTimestamp": "now"}}

    assert isinstance(plan_child(SERVICE_MANIFEST, live, OWNER), Blocked)


# --- replicas and the autoscaler --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "kept"), [(3, 3), (1, 1), (0, 1)])
def test_replicas_are_handed_over_to_the_autoscaler_before_we_give_them_up(before, kept):
    """Given up without that, they would fall back to one; at zero the autoscaler would leave them."""
    live = alive(DEPLOYMENT_MANIFEST)
    live["spec"]["replicas"] = before

    first, second = plan_child(SCALED, live, OWNER)

    assert (first.manager, first.manifest["spec"]) == (HANDOVER_MANAGER, {"replicas": kept})
    assert first.manifest["metadata"] == {"name": "research-api", "namespace": "team-a", "uid": "live"}
    assert (second.manager, second.manifest) == (FIELD_MANAGER, SCALED)


def test_replicas_that_are_not_ours_are_not_handed_over():
    live = alive(SCALED)
    live["spec"] |= {"replicas": 4, "minReadySeconds": 0}

    assert summaries(plan_child(SCALED, live, OWNER)) == ["correct Deployment research-api: spec.minReadySeconds"]


def test_what_the_autoscaler_does_is_no_drift():
    live = alive(SCALED)
    live["spec"]["replicas"] = 4

    assert plan_child(SCALED, live, OWNER) == []


def test_replicas_come_back_to_us_without_an_autoscaler():
    live = alive(SCALED)
    live["spec"]["replicas"] = 4

    assert summaries(plan_child(DEPLOYMENT_MANIFEST, live, OWNER)) == ["correct Deployment research-api: spec.replicas"]


# --- all objects ------------------------------------------------------------------------------------------------------


def test_what_is_there_and_not_wanted_is_removed_by_its_uid():
    present = [
        (SERVICE, "team-a", "research-api", "1"),
        (AUTOSCALER, "team-a", "research-api", "2"),
        (DEPLOYMENT, "team-a", "research-old", "3"),
    ]

    steps = excess(BUILT.children, present)

    assert steps == [
        Remove(AUTOSCALER, "team-a", "research-api", "2"),
        Remove(DEPLOYMENT, "team-a", "research-old", "3"),
    ]
    assert summaries(steps) == ["delete HorizontalPodAutoscaler research-api", "delete Deployment research-old"]


def test_every_kind_that_is_built_is_known_and_no_other():
    assert {(each.api_version, each.kind) for each in CHILD_KINDS} == set(KINDS)
    assert {kind_of(each) for each in BUILT.children} <= set(CHILD_KINDS)


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "place", "path"),
    [
        (SERVICE, ("team-a", "x"), "/api/v1/namespaces/team-a/services/x"),
        (SERVICE, ("team-a",), "/api/v1/namespaces/team-a/services"),
        (SERVICE, (), "/api/v1/services"),
        (DEPLOYMENT, ("team-a", "x", "status"), "/apis/apps/v1/namespaces/team-a/deployments/x/status"),
        (Kind("v1", "Namespace", "namespaces", namespaced=False), ("ignored", "x"), "/api/v1/namespaces/x"),
    ],
)
def test_a_kind_knows_where_it_is_served(kind, place, path):
    assert kind.path(*place) == path
    assert kind.group == kind.api_version.rpartition("/")[0]
