"""Objects that the API server let through, but this version cannot read: made under older rules, or a newer schema."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from memory_contracts.conditions import ClusterConditionType, ConditionType
from memory_contracts.errors import Rejected
from memory_contracts.v1alpha1 import MemoryClusterStatus, MemoryNamespace, MemoryNamespaceStatus
from memory_operator.kube.entries import Entry
from memory_operator.status import CLUSTER_STAGES, build_conditions, failed

Status = TypeVar("Status", MemoryNamespaceStatus, MemoryClusterStatus)


def refused_namespace(entry: Entry, error: ValidationError, now: datetime) -> MemoryNamespaceStatus:
    """Return the status of a MemoryNamespace that cannot be read, or whose MemoryCluster cannot; the rest stays."""
    before = _status_of(entry, MemoryNamespaceStatus)
    about = f"MemoryCluster {entry.cluster.namespace}/{entry.cluster.name}: " if entry.cluster else ""
    sentence = (about if error.title == "MemoryCluster" else "") + _sentence(error)
    results = [failed(ConditionType.CLUSTER_ACCEPTED, Rejected(sentence))]
    conditions = build_conditions(results, before.conditions, entry.generation, now)
    return before.model_copy(update={"observed_generation": entry.generation, "conditions": conditions})


def refused_cluster(entry: Entry, error: ValidationError, now: datetime) -> MemoryClusterStatus:
    """Return the status of a MemoryCluster that cannot be read; the rest stays."""
    before = _status_of(entry, MemoryClusterStatus)
    results = [failed(ClusterConditionType.POSTGRES_READY, Rejected(_sentence(error)))]
    conditions = build_conditions(
        results, before.conditions, entry.generation, now, stages=CLUSTER_STAGES, ready=ClusterConditionType.READY
    )
    return before.model_copy(update={"observed_generation": entry.generation, "conditions": conditions})


def departing(entry: Entry) -> MemoryNamespace | None:
    """Return the object with no more of its specification than a deletion looks at; None if that is bad, too."""
    spec = entry.body.get("spec") or {}
    needed = {name: spec[name] for name in ("clusterRef", "deletion") if name in spec}
    try:
        return MemoryNamespace.model_validate({**entry.body, "spec": needed})
    except ValidationError:
        return None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"


def _status_of(entry: Entry, model: type[Status]) -> Status:
    try:
        return model.model_validate(entry.body.get("status") or {})
    except ValidationError:  # it is what cannot be read
        return model()
