"""The workload target of a cluster: applies manifests, and reads from the cache how far the pods are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, Rejected
from memory_contracts.naming import TenantNames
from memory_contracts.settings import API_PORT
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.controller.tasks import all_of
from memory_operator.keys import Key, key_of
from memory_operator.kube.cache import Cache
from memory_operator.kube.children import FIELD_MANAGER, Apply, Create, Remove, excess, plan_child
from memory_operator.kube.client import KubeClient
from memory_operator.kube.compare import content_digest, manifest_digest
from memory_operator.kube.entries import Child, version_of
from memory_operator.kube.kinds import (
    AUTOSCALER,
    CHILD_KINDS,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    Kind,
    kind_of,
)
from memory_operator.providers.shapes import Blocked, Step
from memory_operator.specs.labels import Manifest, selector_labels
from memory_operator.specs.service import service_url
from memory_operator.specs.tenant import Listen, tenant_names
from memory_operator.specs.workload import Workload
from memory_operator.world import Availability

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a pod has an address of its own
logger = logging.getLogger(__name__)


class KubeWorkloads:
    """Remembers of each child what was last found right, so that a converged one costs neither a read nor a write.

    A child that was never there is made without looking first where the cache is `complete`: making it shows whether
    something is in its place.
    """

    def __init__(self, client: KubeClient, cache: Cache, *, complete: bool = False) -> None:
        self._client = client
        self._cache = cache
        self._complete = complete
        self._right: dict[Key, dict[tuple[str, str], tuple[str, str, str]]] = {}

    def listen(self, names: TenantNames) -> Listen:
        """Return the address the API listens on in its pod."""
        return Listen(EVERY_ADDRESS, API_PORT)

    async def plan(self, namespace: MemoryNamespace, workload: Workload) -> list[Step] | Blocked:
        """Return what has to be applied or removed."""
        owner, uid = key_of(namespace), namespace.metadata.uid
        unsure = [each for each in workload.children if not self._is_right(owner, each)]
        live = await asyncio.gather(*[self._look(owner, each) for each in unsure])
        steps: list[Step] = []
        for manifest, found in zip(unsure, live, strict=True):
            planned = plan_child(manifest, found, uid)
            if isinstance(planned, Blocked):
                return planned
            if found and not planned and "deletionTimestamp" not in found["metadata"]:
                self._note_right(owner, manifest, found)
            steps.extend(planned)
        return [*steps, *excess(workload.children, self._owned(owner, uid))]

    async def apply(self, namespace: MemoryNamespace, steps: Sequence[Step]) -> None:
        """Carry out the steps; those of one object in their order, different objects at once."""
        groups: dict[str, list[Step]] = {}
        for step in steps:
            groups.setdefault(_object_of(step), []).append(step)
        # Pods refer to account, settings and secrets, so these come first.
        first = [group for name, group in groups.items() if not _is_workload(name)]
        second = [group for name, group in groups.items() if _is_workload(name)]
        for batch in (first, second):
            await all_of(*[self._carry_out(namespace, group) for group in batch])

    async def keep(self, namespace: MemoryNamespace, manifest: Manifest, *, new: bool) -> None:
        """Write one manifest now, before anything depends on it; a `new` one raises `Conflict` when it is there."""
        if new:
            self._note_made(namespace, manifest, await self._client.create(manifest, FIELD_MANAGER))
            _tell(namespace, Create(manifest))
        else:
            await self._carry_out(namespace, [Apply(f"write Secret {manifest['metadata']['name']}", manifest)])

    async def availability(self, namespace: MemoryNamespace, workload: Workload) -> Availability:
        """Return how many pods are ready, as kubelet and the EndpointSlices of the Service report it."""
        owner, names = key_of(namespace), tenant_names(namespace)
        deployment = self._cache.child(owner, DEPLOYMENT, workload.deployment["metadata"]["name"])
        service = workload.service["metadata"]["name"]
        facts = deployment.facts if deployment else {}
        slices = self._slices(owner, service)
        ready = sum(each.facts["ready"] for each in slices)
        wanted = workload.deployment["spec"].get("replicas", facts.get("wanted", 1))
        reason, detail = _explain(facts, self._stuck(owner))
        return Availability(
            endpoint=service_url(names),
            wanted=wanted,
            # During a roll-out an old pod serves beside its successor; no more than are asked for count.
            ready=min(ready, facts.get("readyReplicas", 0), wanted),
            reason=reason,
            detail=detail,
            present=facts.get("replicas", 0),
            rolled_out=_rolled_out(facts, wanted),
            leaving=sum(each.facts["leaving"] for each in slices),
            selector=",".join(f"{name}={value}" for name, value in selector_labels(names, "api").items()),
        )

    async def stop(self, namespace: MemoryNamespace) -> None:
        """Delete what runs or starts pods; the rest goes with its owner."""
        uid = namespace.metadata.uid
        for kind in (AUTOSCALER, DEPLOYMENT):
            for child in self._cache.children(key_of(namespace)):
                if child.kind is kind and child.owner_uid == uid:
                    await self._client.delete(kind, child.namespace, child.name, child.uid)

    def forget(self, owner: Key) -> None:
        """Drop what is remembered of an owner that is gone."""
        self._right.pop(owner, None)

    # --- parts --------------------------------------------------------------------------------------------------------

    async def _look(self, owner: Key, manifest: Manifest) -> Mapping[str, Any] | None:
        seen = self._cache.child(owner, kind_of(manifest), manifest["metadata"]["name"])
        new = seen is None and _place(manifest) not in self._right.get(owner, {})
        return None if new and self._complete else await self._get(manifest)

    async def _get(self, manifest: Manifest) -> Mapping[str, Any] | None:
        metadata = manifest["metadata"]
        found = await self._client.get(kind_of(manifest), metadata["namespace"], metadata["name"])
        if found:
            self._cache.see(kind_of(manifest), found)
        return found

    async def _carry_out(self, namespace: MemoryNamespace, steps: Sequence[Step]) -> None:
        for step in steps:
            await self._step(namespace, step)
            _tell(namespace, step)

    async def _step(self, namespace: MemoryNamespace, step: Step) -> None:
        match step:
            case Create(manifest=manifest):
                await self._create(namespace, manifest)
            case Apply(manifest=manifest, manager=manager):
                found = await self._client.apply(manifest, manager)
                self._cache.see(kind_of(manifest), found)
                if manager == FIELD_MANAGER:
                    self._note_right(key_of(namespace), manifest, found)
            case Remove(kind, place, name, uid):
                await self._client.delete(kind, place, name, uid)
            case _:
                raise TypeError(f"{step!r} is no step of this target")

    async def _create(self, namespace: MemoryNamespace, manifest: Manifest) -> None:
        """Make the object; one that is there after all is made right where it is ours, and refused where it is not."""
        try:
            made = await self._client.create(manifest, FIELD_MANAGER)
        except Conflict:
            if (found := await self._get(manifest)) is None:
                raise
            planned = plan_child(manifest, found, namespace.metadata.uid)
            if isinstance(planned, Blocked):
                raise Rejected(planned.message, reason=planned.reason) from None
            return await self._carry_out(namespace, planned)
        return self._note_made(namespace, manifest, made)

    def _note_made(self, namespace: MemoryNamespace, manifest: Manifest, made: Mapping[str, Any]) -> None:
        self._cache.see(kind_of(manifest), made)
        self._note_right(key_of(namespace), manifest, made)

    def _is_right(self, owner: Key, manifest: Manifest) -> bool:
        child = self._cache.child(owner, kind_of(manifest), manifest["metadata"]["name"])
        remembered = self._right.get(owner, {}).get(_place(manifest))
        return child is not None and remembered == (manifest_digest(manifest), child.digest, child.uid)

    def _note_right(self, owner: Key, manifest: Manifest, found: Mapping[str, Any]) -> None:
        kept, metadata = self._cache.child(owner, kind_of(manifest), manifest["metadata"]["name"]), found["metadata"]
        same = kept is not None and kept.version == version_of(metadata)
        digest = kept.digest if kept and same else content_digest(found)
        self._right.setdefault(owner, {})[_place(manifest)] = (manifest_digest(manifest), digest, metadata["uid"])

    def _owned(self, owner: Key, uid: str) -> list[tuple[Kind, str, str, str]]:
        return [
            (each.kind, each.namespace, each.name, each.uid)
            for each in self._cache.children(owner)
            if each.kind in CHILD_KINDS and each.owner_uid == uid and not each.stuck
        ]

    def _slices(self, owner: Key, service: str) -> list[Child]:
        found = self._cache.children(owner)
        return [each for each in found if each.kind is ENDPOINT_SLICE and each.facts["service"] == service]

    def _stuck(self, owner: Key) -> str:
        held = [each for each in self._cache.children(owner) if each.stuck and each.kind in CHILD_KINDS]
        return "; ".join(
            f"{each.kind.kind} {each.name} is being deleted, but finalizer {each.stuck} holds it; "
            "remove the finalizer, or let its owner finish"
            for each in held
        )


def _tell(namespace: MemoryNamespace, step: Step) -> None:
    tenant = f"{namespace.metadata.namespace}/{namespace.metadata.name}"
    logger.info(step.summary, extra={"event": "kubernetes.step", "tenant": tenant})


def _place(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _object_of(step: Step) -> str:
    match step:
        case Create(manifest=manifest) | Apply(manifest=manifest):
            return f"{manifest['kind']}/{manifest['metadata']['name']}"
        case Remove(kind, _, name, _):
            return f"{kind.kind}/{name}"
    raise TypeError(f"{step!r} is no step of this target")


def _is_workload(name: str) -> bool:
    return name.startswith(DEPLOYMENT.kind)


def _explain(facts: Mapping[str, Any], stuck: str) -> tuple[Reason, str]:
    """Return why pods are missing, as far as the Deployment says it."""
    if stuck:
        return Reason.BLOCKED, stuck
    problems = facts.get("problems", {})
    if failure := problems.get("ReplicaFailure"):
        return (Reason.QUOTA_EXCEEDED if "exceeded quota" in failure else Reason.BLOCKED), failure
    if late := problems.get("Progressing"):
        return Reason.BLOCKED, f"{late} See the events and logs of the pods."
    return Reason.PROGRESSING, "waiting for the readiness probe" if facts else "the Deployment was just made"


def _rolled_out(facts: Mapping[str, Any], wanted: int) -> bool:
    seen = facts.get("observedGeneration", 0) >= facts.get("generation", 1)
    updated = facts.get("updatedReplicas", 0) >= wanted and facts.get("replicas", 0) == wanted
    return bool(seen and updated)
