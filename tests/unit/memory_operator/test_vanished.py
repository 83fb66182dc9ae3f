"""Objects that go while they are being made: nobody takes them for alive, and their end is seen to."""

import pytest

from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.kinds import MEMORY_NAMESPACE
from memory_operator.kube.resources import FINALIZER
from memory_operator.shell.vanished import Vanished

KEY = Key("MemoryNamespace", "team-a", "notes")


def body(version: int = 7, uid: str = "uid-1", **metadata: object) -> dict[str, object]:
    return {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryNamespace",
        "metadata": {
            "namespace": "team-a",
            "name": "notes",
            "uid": uid,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": "2026-11-21T12:00:00Z",
            "finalizers": [FINALIZER],
            **metadata,
        },
        "spec": {"deletion": {"policy": "Delete", "acknowledgeDataLoss": True}},
    }


def test_a_listing_from_before_the_end_does_not_bring_an_object_back():
    cache = Cache()
    cache.see(MEMORY_NAMESPACE, body(version=7))

    assert cache.lose(MEMORY_NAMESPACE, body(version=9)) == {KEY}

    assert cache.see(MEMORY_NAMESPACE, body(version=7)) == set()
    assert cache.see(MEMORY_NAMESPACE, body(version=8)) == set()
    assert cache.entry(KEY) is None


def test_the_end_of_an_object_is_not_that_of_its_successor():
    cache = Cache()
    cache.see(MEMORY_NAMESPACE, body(version=7))
    cache.see(MEMORY_NAMESPACE, body(version=10, uid="uid-2"))

    assert cache.lose(MEMORY_NAMESPACE, body(version=9)) == set()

    entry = cache.entry(KEY)
    assert entry is not None
    assert entry.uid == "uid-2"


def test_an_object_that_was_removed_in_spite_of_its_finalizer_is_remembered_with_its_policy():
    vanished = Vanished()

    vanished.note(body())

    namespace = vanished.get(KEY)
    assert namespace is not None
    assert namespace.spec.deletion.policy == "Delete"
    vanished.forget(KEY)
    assert vanished.get(KEY) is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"finalizers": []},
        {"finalizers": ["somebody/else"]},
        {"deletionTimestamp": "2026-11-21T12:01:00Z"},
        {"deletionTimestamp": "2026-11-21T12:01:00Z", "finalizers": []},
    ],
    ids=["never held", "held by another", "in deletion", "released"],
)
def test_any_other_end_needs_nothing(metadata):
    vanished = Vanished()

    vanished.note(body(**metadata))

    assert vanished.get(KEY) is None


def test_what_cannot_be_read_was_never_acted_upon():
    vanished = Vanished()

    vanished.note(body() | {"spec": {"deletion": "now"}})

    assert vanished.get(KEY) is None
