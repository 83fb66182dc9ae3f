"""What a MemoryNamespace owns in Kubernetes: which of it has to be applied or removed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from memory_contracts.conditions import Reason
from memory_operator.kube.compare import differences
from memory_operator.kube.kinds import Kind
from memory_operator.kube.ownership import leftovers, takeovers
from memory_operator.providers.shapes import Blocked
from memory_operator.specs.labels import Manifest

FIELD_MANAGER = "memory-operator"
HANDOVER_MANAGER = "memory-operator-handover"


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object that is not there; one that is there after all is left as it is."""

    manifest: Manifest = field(repr=False)

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"create {self.manifest['kind']} {self.manifest['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the object what the manifest says."""

    summary: str
    manifest: Manifest = field(repr=False)
    manager: str = FIELD_MANAGER


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete an object that is no longer wanted."""

    kind: Kind
    namespace: str
    name: str
    uid: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"delete {self.kind.kind} {self.name}"


ChildStep: TypeAlias = Create | Apply | Remove


def plan_child(manifest: Manifest, live: Mapping[str, Any] | None, owner_uid: str) -> list[ChildStep] | Blocked:
    """Return the steps for one object; an object that is being deleted is waited for."""
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    if live is None:
        return [Create(manifest)]
    if not is_ours(live, owner_uid):
        return Blocked(
            Reason.FOREIGN_OBJECT,
            f"{what} exists in namespace {manifest['metadata']['namespace']} and was not made by the operator; "
            "delete or rename it",
        )
    if "deletionTimestamp" in live["metadata"]:
        return []
    changed = _changed(manifest, live)
    if not changed:
        return []
    return [*_hand_over_replicas(manifest, live), Apply(f"correct {what}: {', '.join(changed[:5])}", manifest)]


def _changed(manifest: Manifest, live: Mapping[str, Any]) -> list[str]:
    """Return what is not as the manifest says, each field once."""
    owned = _owned_fields(live)
    found = list(differences(manifest, live))
    taken = [path for path in takeovers(manifest, owned, live) if not any(each.startswith(path) for each in found)]
    return [*found, *taken, *(f"no {path}" for path in leftovers(manifest, owned))]


def is_ours(live: Mapping[str, Any], owner_uid: str) -> bool:
    """Return whether the operator made the object: it says so itself, or the server remembers who applied it."""
    metadata = live["metadata"]
    owned = any(each["uid"] == owner_uid for each in metadata.get("ownerReferences", ()))
    return owned or any(each.get("manager") == FIELD_MANAGER for each in metadata.get("managedFields", ()))


def excess(desired: Sequence[Manifest], present: Sequence[tuple[Kind, str, str, str]]) -> list[ChildStep]:
    """Return the removal of each (kind, namespace, name, uid) that is present and not desired."""
    wanted = {(each["kind"], each["metadata"]["name"]) for each in desired}
    return [
        Remove(kind, namespace, name, uid) for kind, namespace, name, uid in present if (kind.kind, name) not in wanted
    ]


def _hand_over_replicas(manifest: Manifest, live: Mapping[str, Any]) -> list[ChildStep]:
    """Keep the number of replicas while we give up its ownership to an autoscaler; it would fall back to 1."""
    owned = _owned_fields(live).get("f:spec", {})
    if manifest["kind"] != "Deployment" or "replicas" in manifest["spec"] or "f:replicas" not in owned:
        return []
    # An autoscaler leaves a Deployment of no replicas alone; that is what waking up from Hibernated finds.
    replicas = live["spec"]["replicas"] or 1
    kept = {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {name: manifest["metadata"][name] for name in ("name", "namespace")}
        | {"uid": live["metadata"]["uid"]},
        "spec": {"replicas": replicas},
    }
    name = manifest["metadata"]["name"]
    return [Apply(f"leave the replicas of Deployment {name} to the autoscaler", kept, HANDOVER_MANAGER)]


def _owned_fields(live: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields that the operator has applied, as the server remembers them."""
    entries = live["metadata"].get("managedFields", ())
    return next((each.get("fieldsV1", {}) for each in entries if each.get("manager") == FIELD_MANAGER), {})
