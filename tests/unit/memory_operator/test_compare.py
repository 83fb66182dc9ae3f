"""Whether a live object holds what its manifest says: what a server adds never counts, what somebody changed always."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from managed_fields import ATOMIC, fields_of
from tenants import workload

from memory_operator.kube.compare import content_digest, differences, leftovers, manifest_digest, takeovers

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FULL = {
    "api": {
        "autoscaling": {"minReplicas": 2, "maxReplicas": 5},
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": 2, "memory": "1.5Gi"}},
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}, "annotations": {"example.com/note": "1"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "spot", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}],
                "imagePullSecrets": [{"name": "registry"}],
            },
        },
    },
    "networkPolicy": {"mode": "Strict", "allowFrom": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]},
}
MANIFESTS = [*workload(ca="a certificate", **FULL).children, *workload().children]
manifests = st.sampled_from(MANIFESTS)
additions = st.dictionaries(st.from_regex(r"added[A-Z]", fullmatch=True), st.sampled_from([1, "x", {}, [], None]))


@st.composite
def lived_in(draw: st.DrawFn, value: Any) -> Any:
    """What the API server may make of `value`: more fields, more named items in any order, nothing that is empty."""
    if isinstance(value, dict):
        kept = {
            key: each if key in ATOMIC else draw(lived_in(each))
            for key, each in value.items()
            if each not in ({}, []) or draw(st.booleans())
        }
        return kept | draw(additions)
    if not isinstance(value, list):
        return value
    items = [draw(lived_in(each)) for each in value]
    if value and all(isinstance(each, dict) and "name" in each for each in value):
        return draw(st.permutations([*items, *({"name": name} for name in draw(st.sets(st.sampled_from("XYZ"))))]))
    return items


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value that is neither a mapping nor a list."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        return [path]
    return [leaf for key, each in inner for leaf in leaves(each, (*path, key))]


def within_wholes(
    value: Any, path: tuple[Any, ...] = (), whole: tuple[Any, ...] | None = None
) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The places of every mapping in what has one owner as a whole, and of that; no list is on the way to it."""
    if not isinstance(value, dict) and whole is None:
        return []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    own = [(path, whole)] if isinstance(value, dict) and whole else []
    found = [
        within_wholes(each, (*path, key), whole or ((*path, key) if key in ATOMIC else None)) for key, each in inner
    ]
    return [*own, *(pair for each in found for pair in each)]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


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


# --- leftovers --------------------------------------------------------------------------------------------------------


@unhurried
@given(manifests)
def test_what_is_still_wanted_is_no_leftover(manifest):
    assert list(leftovers(manifest, fields_of(manifest))) == []


IDENTITY = [("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")]


@unhurried
@given(st.data(), manifests)
def test_whatever_is_no_longer_wanted_is_found(data, manifest):
    ways = [each for each in leaves(manifest) if not any(isinstance(key, int) for key in each)]
    places = [each for each in ways if not any(key in ATOMIC for key in each[:-1]) and each not in IDENTITY]
    *way, key = data.draw(st.sampled_from(places))
    wanted = deepcopy(manifest)
    del at(wanted, tuple(way))[key]

    assert list(leftovers(wanted, fields_of(manifest))) == [".".join((*way, key))]


@pytest.mark.parametrize(
    ("desired", "fields", "found"),
    [
        ({"a": [{"name": "x"}]}, {"f:a": {'k:{"name":"x"}': {}, 'k:{"name":"y"}': {}}}, ["a[y]"]),
        ({"a": [{"name": "x"}]}, {"f:a": {'k:{"name":"x"}': {"f:value": {}}}}, ["a[x].value"]),
        ({"a": []}, {"f:a": {'k:{"port":9595,"protocol":"TCP"}': {}}}, ["a[9595/TCP]"]),
        # What an item does not give has its default.
        ({"a": [{"port": 9595}]}, {"f:a": {'k:{"port":9595,"protocol":"TCP"}': {}}}, []),
        ({"a": ["x"]}, {"f:a": {'v:"x"': {}}}, []),
        ({"a": {"b": 1}}, {"f:a": {".": {}, "f:b": {}}}, []),
        ({}, {}, []),
    ],
)
def test_leftovers_are_found_in_lists_by_the_keys_of_the_server(desired, fields, found):
    assert list(leftovers(desired, fields)) == found


# --- takeovers --------------------------------------------------------------------------------------------------------


@unhurried
@given(st.data(), manifests)
def test_what_a_server_adds_is_no_takeover(data, manifest):
    live = data.draw(lived_in(manifest))

    assert list(takeovers(manifest, fields_of(manifest), live)) == []


def owned_places(owned: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The place of every field and item that has an owner of its own, and brothers; what is empty needs none."""
    inner = [(*path, name) for name in owned if name not in {".", "f:emptyDir"}]
    deeper = [place for each in inner for place in owned_places(owned[each[-1]], each)]
    return [*inner, *deeper] if len(inner) > 1 else deeper


@unhurried
@given(st.data(), manifests)
def test_whatever_another_has_written_is_found(data, manifest):
    owned = fields_of(manifest)
    *way, last = data.draw(st.sampled_from(owned_places(owned)))
    del at(owned, tuple(way))[last]

    (found,) = takeovers(manifest, owned, manifest)

    assert found.startswith((*way, last)[0].partition(":")[2])


@unhurried
@given(st.data(), st.sampled_from([each for each in MANIFESTS if within_wholes(each)]))
def test_more_than_is_wanted_of_what_is_owned_as_a_whole_is_found(data, manifest):
    """Regression: a key that was taken out of a node selector stayed in the pods for ever."""
    live = deepcopy(manifest)
    inner, place = data.draw(st.sampled_from(within_wholes(manifest)))
    at(live, inner)["added"] = "x"

    assert list(takeovers(manifest, fields_of(manifest), live)) == [".".join(place)]


@pytest.mark.parametrize(
    ("desired", "fields", "live", "found"),
    [
        ({"a": {"b": 1}}, {"f:a": {}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1}}, {"f:a": {}}, {"a": {"b": 1, "c": 2}}, ["a"]),
        ({"a": {"b": 1}}, {"f:a": {"f:b": {}}}, {"a": {"b": 1, "c": 2}}, []),
        ({"a": {"b": 1, "c": 2}}, {"f:a": {"f:b": {}}}, {"a": {"b": 1, "c": 2}}, ["a.c"]),
        ({"a": {"b": 1}}, {}, {"a": {"b": 1}}, ["a"]),
        ({"a": {}, "b": [], "c": None}, {}, {}, []),
        ({"a": 0, "b": False}, {}, {"a": 0, "b": False}, ["a", "b"]),
        ({"a": [{"port": 1}]}, {"f:a": {}}, {"a": [{"port": 1, "protocol": "TCP"}]}, []),
        ({"a": [{"port": 1}]}, {"f:a": {}}, {"a": [{"port": 1, "endPort": 9}]}, ["a"]),
        ({"a": [{"peer": {}}]}, {"f:a": {}}, {"a": [{"peer": {"labels": {"x": "y"}}}]}, ["a"]),
        ({"a": [{"peer": {"x": 1}}]}, {"f:a": {}}, {"a": [{"peer": {"x": 1}, "other": {}}]}, []),
        ({"a": ["x", "y"]}, {"f:a": {'v:"x"': {}}}, {"a": ["x", "y"]}, ["a[1]"]),
        ({"a": ["x"]}, {"f:a": {}}, {"a": ["x"]}, []),
    ],
)
def test_takeovers_are_found_as_the_server_keeps_owners(desired, fields, live, found):
    assert list(takeovers(desired, fields, live)) == found


TCP_9595 = 'k:{"port":9595,"protocol":"TCP"}'


@pytest.mark.parametrize(
    ("items", "fields", "found"),
    [
        ([{"name": "x"}, {"name": "y"}], {'k:{"name":"x"}': {}}, ["a[y]"]),
        ([{"port": 9595}], {TCP_9595: {}}, []),
        ([{"port": 9595}, {"port": 1}], {TCP_9595: {}}, ["a[1]"]),
        ([{"port": 9595, "to": {"b": 1}}], {TCP_9595: {"f:port": {}, "f:to": {}}}, []),
    ],
)
def test_items_are_found_by_the_keys_of_the_server(items, fields, found):
    assert list(takeovers({"a": items}, {"f:a": fields}, {"a": items})) == found


def test_the_name_of_an_object_has_no_owner():
    named = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "y", "labels": {"a": "b"}}}

    assert list(takeovers(named, {"f:metadata": {"f:labels": {}}}, named)) == []


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
