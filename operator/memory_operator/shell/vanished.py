"""MemoryNamespaces that the API server has removed although our finalizer was on them.

Its deletion looks for finalizers first and removes afterwards, without a condition: one that is set in between is lost,
and so is the object, while the pass that set it goes on to make schemas and topics. Who deletes an object right after
its creation causes that. What was made is then removed by the deletion policy, as if the finalizer had held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.keys import Key, key_of
from memory_operator.kube.resources import FINALIZER


class Vanished:
    """Those of them that were not dealt with yet. It belongs to one event loop.

    One that was lost with a restart of the operator is left to a successor: its claim says what is there.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, MemoryNamespace] = {}

    def note(self, body: Mapping[str, Any]) -> None:
        """Take in the last state of an object that is gone.

        One that was being deleted has been released, by us or by somebody who wanted that; so has one without our
        finalizer.
        """
        metadata = body["metadata"]
        if "deletionTimestamp" in metadata or FINALIZER not in metadata.get("finalizers", ()):
            return
        try:
            namespace = MemoryNamespace.model_validate(dict(body))
        except ValidationError:
            return  # nothing was ever made for it
        self._objects[key_of(namespace)] = namespace

    def get(self, key: Key) -> MemoryNamespace | None:
        """Return the object of this name, if there is one to be dealt with."""
        return self._objects.get(key)

    def put(self, namespace: MemoryNamespace) -> None:
        """Remember how far its deletion is."""
        self._objects[key_of(namespace)] = namespace

    def forget(self, key: Key) -> None:
        """Forget it: all is done, or an object of the same name takes over what it left."""
        self._objects.pop(key, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._objects.clear()
