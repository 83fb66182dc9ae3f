"""Who may use a MemoryCluster: its owner says which namespaces, and how many, the oldest first."""

import pytest
from tenants import cluster, namespace

from memory_contracts.api.workload import LabelSelector
from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.consent import KubeConsent, matches
from memory_operator.kube.cache import Cache
from memory_operator.kube.kinds import MEMORY_NAMESPACE, NAMESPACE

LABELS = {"team": "a", "stage": "live"}
TEAM_A = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}


@pytest.fixture
def cache() -> Cache:
    return Cache()


def label(cache: Cache, name: str, version: int = 1, **labels: str) -> None:
    metadata = {"name": name, "uid": f"ns-{name}", "resourceVersion": str(version), "labels": labels}
    cache.see(NAMESPACE, {"metadata": metadata})


def tenant(place: str = "team-a", name: str = "research") -> MemoryNamespace:
    found = namespace()
    metadata = found.metadata.model_copy(update={"namespace": place, "name": name})
    return found.model_copy(update={"metadata": metadata})


def register(cache: Cache, place: str, name: str, created: str) -> None:
    """Let a MemoryNamespace that uses ``memory-system/default`` be known."""
    metadata = {
        "namespace": place,
        "name": name,
        "uid": f"{place}/{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": f"2026-11-01T{created}:00Z",
    }
    spec = {"clusterRef": {"name": "default", "namespace": "memory-system"}}
    cache.see(MEMORY_NAMESPACE, {"metadata": metadata, "spec": spec})


async def answer(cache: Cache, who: MemoryNamespace, **spec: object) -> Reason | None:
    """The reason of a refusal, or None for consent."""
    try:
        await KubeConsent(cache).check(who, cluster(**spec))
    except PlatformError as error:
        return error.reason
    return None


# --- which namespaces -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "place", "refused"),
    [
        ({"from": "Same"}, "memory-system", False),
        ({"from": "Same"}, "team-a", True),
        ({}, "team-a", True),
        ({"from": "All"}, "team-a", False),
        ({"from": "All"}, "never-seen", False),
        (TEAM_A, "team-a", False),
        (TEAM_A, "team-b", True),
        (TEAM_A, "memory-system", True),
        ({"from": "Selector", "selector": {}}, "team-b", False),
    ],
    ids=["same", "another", "default", "all", "all, unseen", "label", "other label", "home is no exception", "empty"],
)
async def test_the_owner_says_which_namespaces(cache, rules, place, refused):
    label(cache, "team-a", team="a")
    label(cache, "team-b", team="b")
    label(cache, "memory-system")

    assert await answer(cache, tenant(place), allowedNamespaces=rules) == (
        Reason.NAMESPACE_NOT_ALLOWED if refused else None
    )


async def test_a_refusal_names_both_and_who_can_change_it(cache):
    with pytest.raises(PlatformError) as refused:
        await KubeConsent(cache).check(tenant(), cluster())

    assert str(refused.value) == (
        "MemoryCluster memory-system/default does not allow namespace team-a; its owner can, in spec.allowedNamespaces"
    )


async def test_consent_follows_the_labels(cache):
    label(cache, "team-a", 1, team="a")
    assert await answer(cache, tenant(), allowedNamespaces=TEAM_A) is None

    label(cache, "team-a", 2, team="b")
    assert await answer(cache, tenant(), allowedNamespaces=TEAM_A) is Reason.NAMESPACE_NOT_ALLOWED


@pytest.mark.parametrize("operator", [{"operator": "DoesNotExist"}, {"operator": "NotIn", "values": ["closed"]}])
async def test_labels_that_are_not_known_yet_give_no_consent(cache, operator):
    """Regression: an unknown namespace has no labels, which is what such a selector asks for."""
    rules = {"from": "Selector", "selector": {"matchExpressions": [{"key": "access", **operator}]}}

    assert await answer(cache, tenant(), allowedNamespaces=rules) is Reason.PROGRESSING
    label(cache, "team-a", access="closed")
    assert await answer(cache, tenant(), allowedNamespaces=rules) is Reason.NAMESPACE_NOT_ALLOWED


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ({"key": "team", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "team", "operator": "In", "values": ["b"]}, False),
        ({"key": "absent", "operator": "In", "values": ["a"]}, False),
        ({"key": "team", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "team", "operator": "NotIn", "values": ["b"]}, True),
        ({"key": "absent", "operator": "NotIn", "values": ["a"]}, True),
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "absent", "operator": "Exists"}, False),
        ({"key": "team", "operator": "DoesNotExist"}, False),
        ({"key": "absent", "operator": "DoesNotExist"}, True),
    ],
    ids=lambda value: f"{value['key']} {value['operator']}" if isinstance(value, dict) else None,
)
def test_expressions_mean_what_they_mean_in_kubernetes(expression, holds):
    assert matches(LabelSelector.model_validate({"matchExpressions": [expression]}), LABELS) is holds


def test_all_parts_of_a_selector_must_hold():
    both = {
        "matchLabels": {"team": "a", "stage": "live"},
        "matchExpressions": [{"key": "closed", "operator": "DoesNotExist"}],
    }

    assert matches(LabelSelector.model_validate(both), LABELS)
    assert not matches(LabelSelector.model_validate(both), LABELS | {"closed": "yes"})
    assert not matches(LabelSelector.model_validate(both), {"team": "a"})
    assert matches(LabelSelector(), {})


# --- how many ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(cache) -> Cache:
    """Three, of which the names say in which order they came."""
    for created, name in (("10:00", "third"), ("08:00", "first"), ("09:00", "second")):
        register(cache, "team-a", name, created)
    return cache


@pytest.mark.parametrize(("limit", "let_in"), [(1, 1), (2, 2), (3, 3), (9, 3), (None, 3)])
async def test_the_oldest_come_first(crowd, limit, let_in):
    answers = [
        await answer(crowd, tenant(name=name), allowedNamespaces={"from": "All"}, capacity={"maxNamespaces": limit})
        for name in ("first", "second", "third")
    ]

    assert answers == [None] * let_in + [Reason.CAPACITY_EXCEEDED] * (3 - let_in)


async def test_of_those_of_one_second_the_name_decides(cache):
    for name in ("b", "a"):
        register(cache, "team-a", name, "10:00")
    rules = {"allowedNamespaces": {"from": "All"}, "capacity": {"maxNamespaces": 1}}

    assert await answer(cache, tenant(name="a"), **rules) is None
    assert await answer(cache, tenant(name="b"), **rules) is Reason.CAPACITY_EXCEEDED


async def test_a_place_that_becomes_free_goes_to_the_next(crowd):
    rules = {"allowedNamespaces": {"from": "All"}, "capacity": {"maxNamespaces": 2}}
    metadata = {"namespace": "team-a", "name": "first", "uid": "team-a/first", "resourceVersion": "5"}

    crowd.lose(MEMORY_NAMESPACE, {"metadata": metadata})

    assert await answer(crowd, tenant(name="third"), **rules) is None


async def test_those_who_are_not_let_in_take_nobodys_place(cache):
    """Regression: anybody who could create objects could use up the room of a cluster that refused him."""
    label(cache, "team-a", team="a")
    label(cache, "stranger", team="x")
    for number in range(5):
        register(cache, "stranger", f"greedy-{number}", "08:00")
    register(cache, "team-a", "research", "10:00")

    assert await answer(cache, tenant(), allowedNamespaces=TEAM_A, capacity={"maxNamespaces": 1}) is None


async def test_one_that_is_not_known_yet_comes_last(crowd):
    """As in a plan for a file."""
    rules = {"allowedNamespaces": {"from": "All"}}

    assert await answer(crowd, tenant(name="new"), **rules, capacity={"maxNamespaces": 3}) is Reason.CAPACITY_EXCEEDED
    assert await answer(crowd, tenant(name="new"), **rules, capacity={"maxNamespaces": 4}) is None
