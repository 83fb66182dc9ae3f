"""The end of a MemoryNamespace: a branch of the reconcile, with a defined exit whatever does not answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from memory_contracts.api.base import parse_duration
from memory_contracts.api.status import DeletionStatus
from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.errors import PlatformError, Rejected
from memory_contracts.v1alpha1 import MemoryCluster, MemoryClusterSpec, MemoryNamespace, MemoryNamespaceStatus
from memory_operator.providers.shapes import Blocked
from memory_operator.specs.tenant import NO_CREDENTIALS, Tenant, tenant_names
from memory_operator.status import build_conditions, held
from memory_operator.world import Backends, World

logger = logging.getLogger(__name__)

# Rows are dropped last, for the ledger beside them says what else is ours.
REMOVAL_ORDER = (
    ConditionType.CACHE_READY,
    ConditionType.TOPIC_READY,
    ConditionType.COLLECTION_READY,
    ConditionType.SCHEMA_READY,
)
RETRY_SECONDS = 10.0
# Stands for a MemoryCluster that is gone; a removal needs nothing of it but the connections that are open still.
GONE = MemoryCluster.model_construct(spec=MemoryClusterSpec.model_construct())


@dataclass(frozen=True, slots=True)
class Departure:
    """How far the deletion is. `done`: the finalizer may go. `left_behind` says what could not be removed, if any."""

    status: MemoryNamespaceStatus
    done: bool
    wait_seconds: float = 0.0
    left_behind: str = ""


async def depart(
    namespace: MemoryNamespace,
    cluster: MemoryCluster | None,
    world: World,
    last: Backends | None,
    *,
    stranded: bool = False,
) -> Departure:
    """Take the next steps of the deletion: stop, fence, wait out the grace period, remove, release.

    `last` are the backends as they were last reached; they serve when the MemoryCluster or its Secret is gone already.
    `stranded`: these cannot come back before this object is gone, so nothing waits for them.
    """
    before = _progress(namespace)
    try:
        await world.workloads.stop(namespace)
        backends = await _reach(cluster, world, last)
        if blocked := await _claim(namespace, backends):
            return Departure(_status(namespace, before, Reason.TERMINATING, blocked.message, world.now()), done=True)
        return await _remove(namespace, _tenant(namespace, cluster, world), backends, before, world.now())
    except PlatformError as error:
        logger.warning(error.detail, extra={"event": "deletion.held"})
        missing = error.reason in (Reason.CLUSTER_NOT_FOUND, Reason.SECRET_NOT_FOUND)
        # Retained data needs nothing of a backend that cannot even be named any more.
        waits = not missing or not (stranded or (namespace.spec.deletion.policy == "Retain" and cluster is None))
        return _failed(namespace, before, error, world.now(), waits=waits)


async def _reach(cluster: MemoryCluster | None, world: World, last: Backends | None) -> Backends:
    if cluster is None:
        if last is None:
            raise Rejected(
                "the MemoryCluster that spec.clusterRef names does not exist any more; create it again, "
                "or set spec.deletion.onTimeout: Orphan to leave the data behind",
                reason=Reason.CLUSTER_NOT_FOUND,
            )
        return last
    try:
        return await world.backends.open(cluster)
    except Rejected:
        if last is None:
            raise
        return last


async def _claim(namespace: MemoryNamespace, backends: Backends) -> Blocked | None:
    """Learn what is ours, also of what earlier objects left; another's data is no reason to stay.

    What is to be dropped is claimed first: nobody else can begin to use it.
    """
    keeps = namespace.spec.deletion.policy == "Retain"
    return await backends.claim(tenant_names(namespace), namespace.metadata.uid, dry=keeps)


def _tenant(namespace: MemoryNamespace, cluster: MemoryCluster | None, world: World) -> Tenant:
    listen = world.workloads.listen(tenant_names(namespace))
    return Tenant(namespace, cluster or GONE, listen, NO_CREDENTIALS)


async def _remove(
    namespace: MemoryNamespace, tenant: Tenant, backends: Backends, before: DeletionStatus, now: datetime
) -> Departure:
    deletion = namespace.spec.deletion
    drop = deletion.policy == "Delete"
    fenced_at = before.fenced_at or now
    if before.fenced_at is None:
        await _fence(tenant, backends)
    due = fenced_at + parse_duration(deletion.grace_period)
    progress = DeletionStatus(fenced_at=fenced_at)
    if drop and now < due:
        message = f"nobody reaches the data any more; it is dropped at {due:%Y-%m-%d %H:%M:%S} UTC (gracePeriod)"
        status = _status(namespace, progress, Reason.TERMINATING, message, now)
        return Departure(status, done=False, wait_seconds=(due - now).total_seconds())
    await _remove_everywhere(tenant, backends, drop=drop)
    await backends.disclaim(tenant.names, namespace.metadata.uid, drop=drop)
    return Departure(_status(namespace, progress, Reason.TERMINATING, "all is removed", now), done=True)


async def _fence(tenant: Tenant, backends: Backends) -> None:
    """Keep everybody out before anything is dropped; a cache is no data, and goes at once."""
    for stage in (ConditionType.SCHEMA_READY, ConditionType.CACHE_READY):
        if share := backends.share(stage, tenant):
            _refuse(await share.remove(drop=False))


async def _remove_everywhere(tenant: Tenant, backends: Backends, *, drop: bool) -> None:
    """Remove from every backend that answers; those that do not are named together."""
    failures: list[PlatformError] = []
    for stage in REMOVAL_ORDER:
        try:
            if share := backends.share(stage, tenant):
                _refuse(await share.remove(drop=drop))
        except PlatformError as error:
            failures.append(error)
    if failures:
        first = failures[0]
        raise type(first)("; ".join(each.detail for each in failures), reason=first.reason)


def _refuse(result: object) -> None:
    """A foreign object under our name is left alone; that is no reason to stay."""
    if isinstance(result, Blocked) and result.reason not in (Reason.FOREIGN_OBJECT, Reason.CLAIMED_BY_ANOTHER):
        raise Rejected(result.message, reason=result.reason)


def _failed(
    namespace: MemoryNamespace, before: DeletionStatus, error: PlatformError, now: datetime, *, waits: bool
) -> Departure:
    deletion, since = namespace.spec.deletion, before.failing_since or now
    progress = DeletionStatus(fenced_at=before.fenced_at, failing_since=since)
    keeps = deletion.policy == "Retain"
    expired = now - since >= parse_duration(deletion.timeout)
    if not waits or (expired and (keeps or deletion.on_timeout == "Orphan")):
        left = f"the data of {tenant_names(namespace).qualified} was left behind: {error.detail}"
        return Departure(_status(namespace, progress, Reason.TERMINATING, left, now), done=True, left_behind=left)
    remedy = "" if keeps else "; mend that, or set spec.deletion.onTimeout: Orphan to leave the data behind"
    status = _status(namespace, progress, Reason.DELETION_BLOCKED, error.detail + remedy, now)
    return Departure(status, done=False, wait_seconds=_patience(since, deletion.timeout, now))


def _patience(since: datetime, timeout: str, now: datetime) -> float:
    remaining = (since + parse_duration(timeout) - now) / timedelta(seconds=1)
    return min(RETRY_SECONDS, remaining) if remaining > 0 else RETRY_SECONDS


def _progress(namespace: MemoryNamespace) -> DeletionStatus:
    return (namespace.status.deletion if namespace.status else None) or DeletionStatus()


def _status(
    namespace: MemoryNamespace, progress: DeletionStatus, reason: Reason, message: str, now: datetime
) -> MemoryNamespaceStatus:
    before, generation = namespace.status or MemoryNamespaceStatus(), namespace.metadata.generation
    results = [held(ConditionType.CLUSTER_ACCEPTED, reason, message)]
    conditions = build_conditions(results, before.conditions, generation, now)
    return before.model_copy(update={"observed_generation": generation, "deletion": progress, "conditions": conditions})
