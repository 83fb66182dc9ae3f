"""The manifests as a whole: valid, complete, owned, and the same for the same input."""

import json
from copy import deepcopy

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_validate.utils import all_versions
from tenants import CERTIFICATE, container, namespace, template, workload

from memory_contracts.settings import API_PORT
from memory_operator.specs.deployment import most_replicas
from memory_operator.specs.labels import API_COMPONENT, selector_labels
from memory_operator.specs.pod import CONFIG_HASH
from memory_operator.specs.tenant import Credentials, tenant_names
from memory_operator.specs.workload import KINDS

# The pause before a pod stops came with 1.30.
KUBERNETES = [each for each in dict.fromkeys(all_versions()) if int(each.split(".")[1]) >= 30]
PODS = {
    "metadata": {"labels": {"team": "blue"}, "annotations": {"note": "ours"}},
    "spec": {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [],
        "priorityClassName": "high",
        "runtimeClassName": "gvisor",
        "imagePullSecrets": [{"name": "pull"}],
    },
}
PEERS = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}},
    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
]
EVERYTHING = {
    "api": {
        "autoscaling": {"minReplicas": 2, "maxReplicas": 5},
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "podTemplate": PODS,
    },
    "networkPolicy": {"allowFrom": PEERS},
}
FULL = {"ca": CERTIFICATE, "host": "fd00::1", **EVERYTHING}
WANTED = {"plain": {}, "everything": FULL, "stopped, without a uid": {"state": "Hibernated", "uid": ""}}


def kinds(built):
    return [(each["apiVersion"], each["kind"]) for each in built.children]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_every_manifest_follows_the_published_schema_to_the_letter(version, wanted):
    for manifest in workload(**wanted).children:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_notices_a_field_that_does_not_exist():
    misspelt = deepcopy(workload().deployment)
    misspelt["spec"]["minReadySecond"] = 1

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, KUBERNETES[-1], strict=True)


def test_a_full_workload_has_one_of_each_kind_and_two_secrets():
    emitted = kinds(workload(**EVERYTHING))

    assert set(emitted) == set(KINDS)
    assert sorted(emitted) == sorted([*KINDS, ("v1", "Secret")])


def test_what_pods_need_and_what_confines_them_is_applied_before_them():
    order = [kind for _, kind in kinds(workload(**EVERYTHING))]

    before = {"ServiceAccount", "ConfigMap", "Secret", "NetworkPolicy"}
    assert set(order[: order.index("Deployment")]) == before


@pytest.mark.parametrize(
    ("spec", "absent"),
    [
        (EVERYTHING, set()),
        ({}, {"HorizontalPodAutoscaler"}),
        ({"networkPolicy": {"mode": "Disabled"}}, {"NetworkPolicy", "HorizontalPodAutoscaler"}),
    ],
    ids=["both wanted", "no autoscaling", "neither"],
)
def test_autoscaler_and_network_policy_are_there_when_they_are_asked_for(spec, absent):
    assert {kind for _, kind in KINDS} - {kind for _, kind in kinds(workload(**spec))} == absent


def test_every_child_is_owned_labelled_and_in_the_namespace_of_its_owner():
    owner = {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryNamespace",
        "name": "research",
        "uid": "0d5c7b9e",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = {
        "app.kubernetes.io/name": "memory",
        "app.kubernetes.io/instance": "research",
        "app.kubernetes.io/component": "api",
        "app.kubernetes.io/part-of": "somafractal-memory",
        "app.kubernetes.io/managed-by": "memory-operator",
        "memory.somafractal.io/namespace": "research",
    }
    for child in workload(**EVERYTHING).children:
        metadata = child["metadata"]
        watched = {"memory.somafractal.io/watch": "owned"} if child["kind"] == "Secret" else {}
        assert (metadata["namespace"], metadata["ownerReferences"]) == ("team-a", [owner])
        assert metadata["labels"] == labels | watched


def test_without_a_uid_nothing_claims_an_owner():
    assert all("ownerReferences" not in child["metadata"] for child in workload(uid="").children)


def test_names_are_those_of_the_tenant():
    named = {(each["kind"], each["metadata"]["name"]) for each in workload(**EVERYTHING).children}

    secrets = {("Secret", "research-credentials"), ("Secret", "research-binding")}
    assert named == secrets | {(kind, "research-api") for _, kind in KINDS if kind != "Secret"}


def test_everything_that_selects_pods_selects_those_of_the_deployment():
    built = workload(**EVERYTHING)
    pods = template(built)["metadata"]["labels"]
    selectors = [
        built.service["spec"]["selector"],
        built.deployment["spec"]["selector"]["matchLabels"],
        built.disruption_budget["spec"]["selector"]["matchLabels"],
        built.network_policy["spec"]["podSelector"]["matchLabels"],
    ]

    assert all(each == selector_labels(tenant_names(namespace()), API_COMPONENT) for each in selectors)
    assert selectors[0].items() <= pods.items()


def test_the_service_leads_from_the_well_known_port_to_the_containers_port():
    built = workload()
    (port,) = built.service["spec"]["ports"]

    assert port["port"] == API_PORT
    assert port["targetPort"] == container(built)["ports"][0]["name"]


def test_the_budget_lets_every_drain_go_on():
    spec = workload().disruption_budget["spec"]

    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCpuUtilization": 70}


@pytest.mark.parametrize(
    ("spec", "written", "replicas", "most"),
    [
        ({}, 1, 1, 1),
        ({"api": {"replicas": 3}}, 3, 3, 3),
        ({"api": {"replicas": 3, "autoscaling": AUTOSCALING}}, None, 2, 5),
        ({"api": {"replicas": 3}, "state": "ReadOnly"}, 3, 3, 3),
        ({"api": {"replicas": 3}, "state": "Hibernated"}, 0, 0, 3),
        ({"api": {"replicas": 3}, "state": "Fenced"}, 0, 0, 3),
        ({"api": {"autoscaling": AUTOSCALING}, "state": "Fenced"}, 0, 0, 5),
    ],
    ids=["default", "asked", "autoscaler's", "read only", "hibernated", "fenced", "fenced under an autoscaler"],
)
def test_the_number_of_pods_follows_state_and_specification(spec, written, replicas, most):
    built = workload(**spec)

    assert built.deployment["spec"].get("replicas") == written
    assert (built.replicas, most_replicas(namespace(**spec))) == (replicas, most)


def test_the_autoscaler_has_the_bounds_and_the_target_of_the_specification():
    spec = workload(api={"autoscaling": AUTOSCALING}).autoscaler["spec"]

    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "research-api"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def config_hash(built):
    return template(built)["metadata"]["annotations"][CONFIG_HASH]


PASSWORDS = {"a": "first/pass@word-in-use", "b": "second-password-waits"}


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        ({}, False),
        ({"api": {"replicas": 5}}, False),
        ({"state": "Hibernated"}, False),
        ({"networkPolicy": {"mode": "Disabled"}}, False),
        ({"credentials": Credentials("the-token-of-the-team", PASSWORDS | {"b": "another-that-waits"})}, False),
        ({"credentials": Credentials("the-token-of-the-team", PASSWORDS, redis_password="unused" * 4)}, False),
        ({"api": {"logLevel": "debug"}}, True),
        ({"embedding": {"provider": "hash"}}, True),
        ({"state": "ReadOnly"}, True),
        ({"host": "db2.example.com"}, True),
        ({"ca": CERTIFICATE}, True),
        ({"credentials": Credentials("the-token-of-the-team", PASSWORDS | {"a": "another-in-use"})}, True),
        ({"credentials": Credentials("the-token-of-the-team", PASSWORDS, "b")}, True),
        ({"credentials": Credentials("another-token-of-the-team", PASSWORDS)}, True),
    ],
    ids=[
        "nothing", "replicas", "state", "network", "password not in use", "secret that the process does not read",
        "log level", "embedding", "read only", "host", "authority", "password in use", "slot", "token",
    ],
)  # fmt: skip
def test_pods_are_replaced_when_and_only_when_what_they_read_changes(change, replaced):
    assert (config_hash(workload(**change)) != config_hash(workload())) is replaced


def test_a_new_certificate_replaces_the_pods_though_no_variable_changes():
    assert config_hash(workload(ca=CERTIFICATE)) != config_hash(workload(ca=CERTIFICATE * 2))


def test_the_same_input_gives_the_same_manifests_in_the_same_order():
    first, second = (json.dumps(workload(**FULL).children) for _ in range(2))

    assert first == second


@given(st.permutations(list(PODS["spec"])))
def test_the_order_in_which_fields_were_written_changes_nothing(order):
    shuffled = {"spec": {field: PODS["spec"][field] for field in order}}

    assert workload(api={"podTemplate": shuffled}) == workload(api={"podTemplate": {"spec": PODS["spec"]}})
