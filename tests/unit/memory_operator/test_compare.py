"""Whether a live object holds what its manifest says: what a server adds never counts, what somebody changed always."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lived_in import MANIFESTS, at, leaves, lived_in, manifests

from memory_operator.kube.compare import content_digest, differences, manifest_digest

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- differences ------------------------------------------------------------------------------------------------------


@unhurried
@given(st.data(), manifests)
def test_what_a_server_adds_or_drops_is_no_difference(data, manifest):
    live = data.draw(lived_in(manifest))

    assert list(differences(manifest, live)) == []


@unhurried
@given(st.data(), manifests)
def test_every_single_change_is_found(data, manifest):
    *way, key = data.draw(st.sampled_from(leaves(manifest)))
    live = deepcopy(manifest)
    before = at(live, (*way, key))
    at(live, tuple(way))[key] = data.draw(st.sampled_from(["changed", 987654321, not before, None]))

    (found,) = differences(manifest, live)

    assert found.startswith(str((*way, key)[0]))


@unhurried
@given(st.data(), manifests)
def test_every_removed_value_is_found(data, manifest):
    *way, key = data.draw(st.sampled_from(leaves(manifest)))
    live = deepcopy(manifest)
    del at(live, tuple(way))[key]

    assert len(list(differences(manifest, live))) == 1


@pytest.mark.parametrize(
    ("desired", "live", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b"]),
        ({"a": {"b": 1}}, {}, ["a"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": {"b": 1}}, {"a": "text"}, ["a"]),
        ({"a": {}, "b": [], "c": None}, {}, []),
        ({"a": {}, "b": []}, {"a": None, "b": None}, []),
        ({"a": {}}, {"a": "text"}, ["a"]),
        ({"a": []}, {"a": {"b": 1}}, ["a"]),
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a[0]", "a[1]"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ({"a": [1]}, {}, ["a"]),
        ({"a": 0, "b": False, "c": ""}, {}, ["a", "b", "c"]),
        ({"a": True}, {"a": "true"}, ["a"]),
        ({"a": 9595}, {"a": "9595"}, ["a"]),
    ],
)
def test_values_are_compared_as_they_are(desired, live, found):
    assert list(differences(desired, live)) == found


@pytest.mark.parametrize(
    ("desired", "live", "found"),
    [
        ([{"name": "x", "v": 1}, {"name": "y", "v": 2}], [{"name": "y", "v": 2}, {"name": "x", "v": 1}], []),
        ([{"name": "x", "v": 1}], [{"name": "injected"}, {"name": "x", "v": 1}], []),
        ([{"name": "x", "v": 1}], [{"name": "x", "v": 2}], ["items[x].v"]),
        ([{"name": "x", "v": 1}], [{"name": "renamed", "v": 1}], ["items[x]"]),
        ([{"name": "x", "v": 1}], [], ["items[x]"]),
        ([{"name": "x"}, {"v": 1}], [{"v": 1}, {"name": "x"}], ["items[0].name", "items[1].v"]),
        # Of two variables of one name the last one counts.
        ([{"name": "x", "value": "a"}], [{"name": "x", "value": "b"}, {"name": "x", "value": "a"}], []),
        ([{"name": "x", "value": "a"}], [{"name": "x", "value": "a"}, {"name": "x", "value": "b"}], ["items[x].value"]),
        # Owners have names, but are told apart by their uid.
        ([{"name": "x", "uid": "1"}], [{"name": "x", "uid": "1"}, {"name": "x", "uid": "2"}], []),
    ],
)
def test_named_items_are_compared_by_name_as_the_server_merges_them(desired, live, found):
    assert list(differences({"items": desired}, {"items": live})) == found


QUANTITY = "spec.containers[api].resources.requests.cpu"


@pytest.mark.parametrize(
    ("desired", "live", "same"),
    [
        ("1000m", "1", True),
        (2, "2", True),
        ("1024Mi", "1Gi", True),
        ("1.5Gi", "1536Mi", True),
        ("0.5", "500m", True),
        ("1e3", "1k", True),
        ("1k", "1Ki", False),
        ("1000m", "1001m", False),
        ("1G", "1Gi", False),
        ("1", "one", False),
        (".", "..", False),
    ],
)
def test_quantities_are_compared_by_what_they_stand_for(desired, live, same):
    def pod(value: Any) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "api", "resources": {"requests": {"cpu": value}}}]}}

    assert list(differences(pod(desired), pod(live))) == ([] if same else [QUANTITY])


@pytest.mark.parametrize("place", [("data", "LIMIT"), ("metadata", "labels"), ("data", "resources.limits.x")])
def test_elsewhere_a_text_that_looks_like_a_quantity_is_a_text(place):
    def config(value: str) -> dict[str, Any]:
        return {place[0]: {place[1]: value}}

    assert list(differences(config("1000m"), config("1"))) == [".".join(place)]


@pytest.mark.parametrize(
    ("desired", "live", "found"),
    [
        ({"tolerations": [{"key": "a", "value": "", "effect": ""}]}, {"tolerations": [{"key": "a"}]}, []),
        ({"tolerations": [{"value": ""}]}, {"tolerations": [{"value": "b"}]}, ["spec.tolerations[0].value"]),
        ({"nodeSelector": {"value": ""}}, {"nodeSelector": {}}, ["spec.nodeSelector.value"]),
    ],
)
def test_a_text_that_the_server_drops_when_it_is_empty_is_not_missed(desired, live, found):
    assert list(differences({"spec": desired}, {"spec": live})) == found


# --- digests ----------------------------------------------------------------------------------------------------------

LIVE: dict[str, Any] = {
    "metadata": {
        "name": "x",
        "uid": "1",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2026-11-01T12:00:00Z",
        "selfLink": "/x",
        "managedFields": [{"manager": "memory-operator"}],
        "labels": {"a": "b"},
    },
    "spec": {"replicas": 1},
    "status": {"replicas": 1},
}


@pytest.mark.parametrize(
    "bookkeeping",
    ["uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields"],
)
def test_the_bookkeeping_of_the_server_does_not_move_the_digest(bookkeeping):
    changed = deepcopy(LIVE)
    changed["metadata"][bookkeeping] = "another"

    assert content_digest(changed) == content_digest(LIVE)


def test_the_status_does_not_move_the_digest():
    assert content_digest(LIVE | {"status": {"replicas": 2}}) == content_digest(LIVE)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("metadata", {"labels": {"a": "c"}}),
        ("metadata", {"annotations": {"note": "1"}}),
        ("metadata", {"ownerReferences": [{"uid": "2"}]}),
        ("metadata", {"finalizers": ["somebody/waits"]}),
        ("metadata", {"deletionTimestamp": "2026-11-01T12:00:00Z"}),
        ("spec", {"replicas": 2}),
        ("data", {"key": "value"}),
    ],
)
def test_whatever_somebody_may_have_written_moves_the_digest(part, change):
    changed = LIVE | {part: LIVE.get(part, {}) | change}

    assert content_digest(changed) != content_digest(LIVE)


def test_manifests_are_the_same_in_whatever_order_they_were_written():
    assert manifest_digest({"a": 1, "b": {"c": 2, "d": 3}}) == manifest_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert len({manifest_digest(each) for each in MANIFESTS}) == len({str(each) for each in MANIFESTS})
