"""One level-triggered pass over one MemoryCluster: do its backends answer, and who uses them?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from memory_contracts.api.status import BackendsStatus, BackendStatus, NamespaceCount
from memory_contracts.conditions import ClusterConditionType, ConditionStatus, Reason
from memory_contracts.errors import PlatformError, Unavailable
from memory_contracts.v1alpha1 import MemoryCluster, MemoryClusterStatus
from memory_operator.providers.shapes import BackendFacts
from memory_operator.status import CLUSTER_STAGES, Stage, StageResult, build_conditions, failed, held, passed
from memory_operator.world import Backends, World

READ_ONLY = "read-only"  # a feature that a backend names
_STAGES = {
    "postgres": ClusterConditionType.POSTGRES_READY,
    "qdrant": ClusterConditionType.QDRANT_READY,
    "kafka": ClusterConditionType.KAFKA_READY,
    "redis": ClusterConditionType.REDIS_READY,
}


async def reconcile_cluster(
    cluster: MemoryCluster, users: NamespaceCount, world: World
) -> tuple[MemoryClusterStatus, Backends | None]:
    """Return the status to be written, and the backends when they could be opened."""
    try:
        backends = await world.backends.open(cluster)
    except PlatformError as error:
        results = [failed(_stage_of(error), error)]
        return _status(cluster, results, {}, users, world.now()), None
    found = await backends.facts()
    results = [_result(name, stage, found) for name, stage in _STAGES.items()]
    return _status(cluster, [*results, _capacity(cluster, users)], found, users, world.now()), backends


def _stage_of(error: PlatformError) -> ClusterConditionType:
    """Return the condition of the backend that an error is about."""
    backend = (error.field or "").partition(".")[0]
    return _STAGES.get(backend, ClusterConditionType.POSTGRES_READY)


def _result(name: str, stage: Stage, found: Mapping[str, BackendFacts | PlatformError]) -> StageResult:
    match found.get(name):
        case None:
            return held(stage, Reason.NOT_CONFIGURED, f"spec.{name} is absent")
        case BackendFacts(features=features) if READ_ONLY in features:
            error = Unavailable(
                f"{name.capitalize()} takes no writes: name the primary, or wait for the end of its maintenance",
                reason=Reason.BACKEND_READ_ONLY,
            )
            return failed(stage, error)
        case BackendFacts(version=version):
            return passed(stage, Reason.AVAILABLE, f"{name.capitalize()} {version} answers".replace("  ", " "))
        case error:
            return failed(stage, error)


def _capacity(cluster: MemoryCluster, users: NamespaceCount) -> StageResult:
    stage, limit = ClusterConditionType.CAPACITY_AVAILABLE, cluster.spec.capacity.max_namespaces
    if limit is None:
        return passed(stage, Reason.AVAILABLE, f"{users.total} namespaces, without a limit")
    if users.total <= limit:
        return passed(stage, Reason.AVAILABLE, f"{users.total} of {limit} namespaces")
    return held(
        stage,
        Reason.CAPACITY_EXCEEDED,
        f"{users.total} namespaces refer to this cluster, which takes {limit}; "
        "raise spec.capacity.maxNamespaces, or delete some",
    )


def _status(
    cluster: MemoryCluster,
    results: list[StageResult],
    found: Mapping[str, BackendFacts | PlatformError],
    users: NamespaceCount,
    now: datetime,
) -> MemoryClusterStatus:
    before, generation = cluster.status or MemoryClusterStatus(), cluster.metadata.generation
    conditions = build_conditions(
        results,
        before.conditions,
        generation,
        now,
        stages=CLUSTER_STAGES,
        ready=ClusterConditionType.READY,
        ready_message="all backends answer",
    )
    known = {
        name: BackendStatus(version=facts.version, identity=facts.identity, features=list(facts.features))
        for name, facts in found.items()
        if isinstance(facts, BackendFacts)
    }
    return MemoryClusterStatus(
        observed_generation=generation,
        conditions=conditions,
        # What a backend said last stays while it does not answer.
        backends=BackendsStatus.model_validate(_present(before.backends, cluster) | known),
        namespaces=users,
    )


def _present(backends: BackendsStatus, cluster: MemoryCluster) -> dict[str, BackendStatus]:
    named = {"postgres", *(name for name in _STAGES if getattr(cluster.spec, name) is not None)}
    return {name: each for name in named if (each := getattr(backends, name)) is not None}


def answers_changed(before: MemoryClusterStatus | None, after: MemoryClusterStatus) -> bool:
    """Return whether a backend answers that did not, or the other way round: its users should look again."""
    known = {each.type: each.status for each in before.conditions} if before else {}
    return any(known.get(each.type) is not each.status for each in after.conditions)


def is_unanswered(status: MemoryClusterStatus) -> bool:
    """Return whether a backend that the MemoryCluster names does not answer, or takes no writes."""
    return any(
        each.type in _STAGES.values() and each.status is not ConditionStatus.TRUE
        for each in status.conditions
        if each.reason != Reason.NOT_CONFIGURED
    )
