"""Who wrote a field: what we applied and want no longer, what another has written since, what is more than we want."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lived_in import MANIFESTS, at, leaves, lived_in, manifests
from managed_fields import ATOMIC, fields_of

from memory_operator.kube.ownership import leftovers, takeovers

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

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
