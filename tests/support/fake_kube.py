"""An API server in memory, as far as decisions need one: versions, uids, generations, and who applied which field.

No schema, no defaults, no garbage collection: what depends on these is tested on a real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from copy import deepcopy
from itertools import count
from typing import Any

from managed_fields import fields_of

from memory_contracts.errors import Conflict
from memory_operator.kube.in_flight import InFlight
from memory_operator.kube.kinds import Kind, kind_of

Object = dict[str, Any]
PAGE = 2


class FakeKube:
    """`KubeClient` over a dictionary. `writes` and `reads` are what was asked of it, in its order."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.in_flight = InFlight()
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.failure: Exception | None = None
        self.on_write: Callable[[Kind, Object], None] = lambda kind, found: None
        self._applied: dict[tuple[tuple[str, str, str], str], Object] = {}
        self._numbers = count(1)

    # --- as the operator uses it --------------------------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        self._asked(self.reads, f"get {kind.kind} {name}")
        return deepcopy(self.objects.get((kind.kind, namespace or "", name)))

    async def pages(self, kind: Kind, *, selector: str = "") -> AsyncIterator[tuple[list[Object], int]]:
        self._asked(self.reads, f"list {kind.kind}")
        found = [each for place, each in sorted(self.objects.items()) if place[0] == kind.kind]
        chosen = [deepcopy(each) for each in found if _selected(each, selector)]
        version = next(self._numbers)
        for begin in range(0, max(len(chosen), 1), PAGE):
            yield chosen[begin : begin + PAGE], version

    async def apply(
        self, manifest: Mapping[str, Any], manager: str, *, subresource: str = "", dry: bool = False
    ) -> Object:
        kind, metadata = kind_of(dict(manifest)), manifest["metadata"]
        place = (kind.kind, metadata["namespace"], metadata["name"])
        self._asked(self.writes, f"apply {kind.kind}{f'/{subresource}' if subresource else ''} {metadata['name']}")
        before = self.objects.get(place)
        if "uid" in metadata and (before is None or before["metadata"]["uid"] != metadata["uid"]):
            raise Conflict(f"{kind.kind} {metadata['name']} is gone")
        now = deepcopy(before) if before else {"metadata": {"uid": f"uid-{next(self._numbers)}"}}
        others = [each for (where, who), each in self._applied.items() if where == place and who != manager]
        _take_back(now, self._applied.get((place, manager), {}), [manifest, *others])
        _merge(now, manifest)
        self._applied[place, manager] = deepcopy(dict(manifest))
        _remember(now, manifest, f"{manager}/{subresource}" if subresource else manager)
        return self._store(kind, now)

    async def create(self, manifest: Mapping[str, Any], manager: str) -> Object:
        kind, metadata = kind_of(dict(manifest)), manifest["metadata"]
        if (kind.kind, metadata["namespace"], metadata["name"]) in self.objects:
            self._asked(self.writes, f"create {kind.kind} {metadata['name']}")
            raise Conflict(f"{kind.kind} {metadata['name']} exists")
        return await self.apply(manifest, manager)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]) -> Object:
        self._asked(self.writes, f"merge {kind.kind} {name}")
        now = deepcopy(self.objects[kind.kind, namespace, name])
        wanted = {key: value for key, value in patch["metadata"].items() if key != "resourceVersion"}
        now["metadata"] |= wanted
        return self._store(kind, now)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        self._asked(self.writes, f"delete {kind.kind} {name}")
        found = self.objects.get((kind.kind, namespace, name))
        if found and found["metadata"]["uid"] == uid:
            self.remove(kind, namespace, name)

    # --- as everybody else does ---------------------------------------------------------------------------------------

    def put(self, kind: Kind, body: Mapping[str, Any]) -> Object:
        """Create an object, or make it what `body` says; what `body` does not name stays, and null goes."""
        metadata = body["metadata"]
        now = deepcopy(self.objects.get((kind.kind, metadata.get("namespace", ""), metadata["name"]), {"metadata": {}}))
        now["metadata"].setdefault("uid", f"uid-{next(self._numbers)}")
        _merge(now, body)
        return self._store(kind, now)

    def remove(self, kind: Kind, namespace: str, name: str) -> Object:
        """Delete an object, or begin to where a finalizer holds it; return its last state."""
        place = (kind.kind, namespace, name)
        found = self.objects[place]
        if found["metadata"].get("finalizers"):
            return self.put(kind, {"metadata": {**found["metadata"], "deletionTimestamp": "2026-11-01T12:00:00Z"}})
        found["metadata"]["resourceVersion"] = str(next(self._numbers))
        self.objects.pop(place)
        for known in [each for each in self._applied if each[0] == place]:
            del self._applied[known]
        return deepcopy(found)

    def _asked(self, log: list[str], what: str) -> None:
        if self.failure:
            raise self.failure
        log.append(what)

    def _store(self, kind: Kind, now: Object) -> Object:
        metadata = now["metadata"]
        place = (kind.kind, metadata.get("namespace", ""), metadata["name"])
        before = self.objects.get(place)
        metadata.setdefault("creationTimestamp", "2026-11-01T12:00:00Z")
        if before is None:
            metadata["generation"] = 1
        elif _without_version(before) == _without_version(now):
            return deepcopy(before)
        elif before.get("spec") != now.get("spec"):
            metadata["generation"] += 1
        metadata["resourceVersion"] = str(next(self._numbers))
        self.objects[place] = now
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            del self.objects[place]
        self.on_write(kind, deepcopy(now))
        return deepcopy(now)


def _selected(body: Object, selector: str) -> bool:
    name, _, value = selector.partition("=")
    labels = body["metadata"].get("labels", {})
    return not selector or (name in labels and value in ("", labels[name]))


def _merge(now: Object, wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if key == "finalizers" and isinstance(value, list) and value:
            now[key] = sorted({*now.get(key, ()), *value})
        elif value is None:
            now.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(now.get(key), dict):
            _merge(now[key], value)
        elif key != "finalizers" or key not in now:
            now[key] = deepcopy(value)


def _take_back(now: Any, former: Mapping[str, Any], wanted: list[Mapping[str, Any]]) -> None:
    """Remove what the manager applied before, and neither it nor another manager does any longer."""
    for key, value in former.items():
        still = [each[key] for each in wanted if key in each]
        if key == "finalizers":
            gone = set(value) - {name for each in still for name in each}
            now[key] = [each for each in now.get(key, ()) if each not in gone]
        elif not still:
            now.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(now.get(key), dict):
            _take_back(now[key], value, still)


def _remember(now: Object, manifest: Mapping[str, Any], manager: str) -> None:
    entries = [each for each in now["metadata"].get("managedFields", ()) if each["manager"] != manager]
    now["metadata"]["managedFields"] = [*entries, {"manager": manager, "fieldsV1": fields_of(dict(manifest))}]


def _without_version(body: Object) -> Object:
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return body | {"metadata": metadata}
