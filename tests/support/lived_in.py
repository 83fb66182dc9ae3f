"""The manifests of a tenant with everything, and what an API server may make of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from managed_fields import ATOMIC
from tenants import workload

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


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value
