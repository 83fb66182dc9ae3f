"""Whatever somebody changes of what a child was applied with is put back; what they add beside it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from faults import HEAL_SECONDS, Case, kubernetes_namespace, new_case, remove_clusters, stays
from kube import Kube, Object, eventually

THEIRS = {"example.com/theirs": "x"}


@pytest.fixture(scope="module")
def home(kube: Kube, backends, operator) -> Iterator[Case]:
    with kubernetes_namespace(kube, "drift") as place:
        case = new_case(kube, place, "home", backends)
        case.apply(
            api={"autoscaling": {"minReplicas": 1, "maxReplicas": 3}, "resources": {"requests": {"cpu": "100m"}}}
        )
        case.wait()
        yield case
        remove_clusters(kube, [case])


def changed(live: Object, path: str, value: Any) -> Object:
    """A merge patch that puts `value` at `path`; a list on the way is given anew."""
    key, _, rest = path.partition(".")
    if not rest:
        return {key: value}
    if not isinstance(live[key], list):
        return {key: changed(live[key], rest, value)}
    items = deepcopy(live[key])
    *way, last = rest.split(".")
    at: Any = items
    for each in way:
        at = at[int(each)] if isinstance(at, list) else at[each]
    at[last] = value
    return {key: items}


POD, PEER = "spec.template.spec", "spec.ingress.0"
CHANGES = [
    ("Deployment", "api", f"{POD}.containers.0.image", "somebody/else:1"),
    ("Deployment", "api", f"{POD}.containers.0.command", ["sleep", "1"]),
    ("Deployment", "api", f"{POD}.containers.0.env", []),
    ("Deployment", "api", f"{POD}.containers.0.securityContext.readOnlyRootFilesystem", False),
    ("Deployment", "api", f"{POD}.containers.0.securityContext.capabilities.drop", ["ALL", "NET_RAW"]),
    ("Deployment", "api", f"{POD}.containers.0.readinessProbe", None),
    ("Deployment", "api", f"{POD}.automountServiceAccountToken", True),
    ("Deployment", "api", f"{POD}.topologySpreadConstraints", None),
    ("Deployment", "api", "spec.strategy", {"type": "Recreate", "rollingUpdate": None}),
    ("Service", "api", "spec.selector", THEIRS),
    ("Service", "api", "spec.type", "NodePort"),
    ("Service", "api", "spec.ports.0.targetPort", 1),
    ("ConfigMap", "api", "data.POSTGRES_SCHEMA", "theirs"),
    ("ServiceAccount", "api", "automountServiceAccountToken", True),
    ("PodDisruptionBudget", "api", "spec.maxUnavailable", 0),
    ("PodDisruptionBudget", "api", "spec.selector.matchLabels", THEIRS),
    ("HorizontalPodAutoscaler", "api", "spec.maxReplicas", 9),
    ("HorizontalPodAutoscaler", "api", "spec.metrics.0.resource.target.averageUtilization", 1),
    ("NetworkPolicy", "api", "spec.podSelector.matchLabels", THEIRS),
    ("NetworkPolicy", "api", "spec.policyTypes", ["Ingress"]),
    ("NetworkPolicy", "api", "spec.ingress", [{}]),
    ("NetworkPolicy", "api", f"{PEER}.from.0.namespaceSelector", {}),
    ("NetworkPolicy", "api", f"{PEER}.ports.0.endPort", 9999),
    ("Secret", "credentials", "data.POSTGRES_URL", "eA=="),
    ("Secret", "binding", "data.uri", "eA=="),
    ("Secret", "binding", "metadata.labels", {"app.kubernetes.io/instance": "x"}),
]


@pytest.mark.parametrize(("kind", "suffix", "path", "value"), CHANGES, ids=lambda each: str(each)[-40:])
def test_a_change_is_put_back(home, kind, suffix, path, value):
    before = home.child(kind, suffix)
    answer = home.kube.edit(kind, home.namespace, f"{home.name}-{suffix}", changed(before, path, value))
    assert content(answer.raise_for_status().json()) != content(before)

    eventually(lambda: content(home.child(kind, suffix)) == content(before), HEAL_SECONDS)

    assert home.child(kind, suffix)["metadata"]["uid"] == before["metadata"]["uid"]


def content(found: Object) -> Object:
    """What somebody may have written, but for what Kubernetes itself adds for a type of Service."""
    spec = {key: value for key, value in found.get("spec", {}).items() if key != "externalTrafficPolicy"}
    parts = {key: found.get(key) for key in ("data", "automountServiceAccountToken")}
    return {"labels": found["metadata"]["labels"], "spec": spec, **parts}


ADDITIONS: list[tuple[str, Callable[[Object], Object]]] = [
    ("Deployment", lambda live: {"spec": {"template": {"metadata": {"annotations": THEIRS}}}}),
    ("Deployment", lambda live: {"spec": {"template": {"spec": {"priorityClassName": "system-cluster-critical"}}}}),
    ("Service", lambda live: {"metadata": {"annotations": THEIRS}, "spec": {"sessionAffinity": "ClientIP"}}),
    ("ConfigMap", lambda live: {"data": {"theirs": "x"}}),
]


def test_what_somebody_adds_beside_it_stays(home):
    home.wait("Synced")
    for kind, addition in ADDITIONS:
        home.edit_child(kind, addition(home.child(kind)))
    after = {kind: content(home.child(kind)) for kind, _ in ADDITIONS}

    stays(
        lambda: all(content(home.child(kind)) == after[kind] for kind, _ in ADDITIONS), 7, lambda: "it was taken away"
    )


def test_less_of_what_was_asked_for_reaches_the_pods(home):
    """Regression: a key that was taken out of a node selector stayed on the pods for ever."""
    home.edit(api={"podTemplate": {"spec": {"nodeSelector": {"disk": "ssd", "zone": "a"}}}})
    eventually(lambda: selected(home) == {"disk": "ssd", "zone": "a"}, HEAL_SECONDS)

    home.edit(api={"podTemplate": {"spec": {"nodeSelector": {"zone": None}}}})
    eventually(lambda: selected(home) == {"disk": "ssd"}, HEAL_SECONDS)

    home.edit(api={"podTemplate": None})
    eventually(lambda: selected(home) is None, HEAL_SECONDS)


def selected(case: Case) -> Any:
    return case.child("Deployment")["spec"]["template"]["spec"].get("nodeSelector")
