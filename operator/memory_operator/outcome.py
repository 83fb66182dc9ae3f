"""What one pass came to, and the status that follows from it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

import orjson

from memory_contracts.api.status import (
    BindingStatus,
    CredentialsStatus,
    DriftStatus,
    ExternalNames,
    KafkaNames,
    PostgresNames,
    QdrantNames,
    RedisNames,
    ReplicaStatus,
)
from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.naming import TenantNames, TopicKind
from memory_contracts.v1alpha1 import MemoryNamespace, MemoryNamespaceStatus
from memory_operator.specs.autoscaler import nothing_to_measure
from memory_operator.specs.tenant import Tenant
from memory_operator.specs.workload import Workload
from memory_operator.status import StageResult, build_conditions, held, passed
from memory_operator.world import Availability

LISTED_STEPS = 5
VERSION = version("memory-operator")
ORDER = {kind: number for number, kind in enumerate(ConditionType)}


@dataclass(slots=True)
class Outcome:
    """What the stages left behind; what was not reached is empty."""

    names: TenantNames
    results: list[StageResult] = field(default_factory=list)
    tenant: Tenant | None = None
    inputs: str = ""
    availability: Availability | None = None

    @property
    def applied(self) -> list[str]:
        """Summaries of all steps that were carried out."""
        return [summary for result in self.results for summary in result.applied]

    @property
    def withheld(self) -> list[str]:
        """Summaries of all steps that were only reported."""
        return [summary for result in self.results for summary in result.withheld]

    @property
    def unmet(self) -> str | None:
        """What the specification asks for and cannot have, with the remedy; the rest is done all the same."""
        return nothing_to_measure(self.tenant) if self.tenant else None

    @property
    def settled(self) -> bool:
        """Whether every stage was reached and has nothing more to do."""
        return self.availability is not None and all(each.passed for each in self.results[:-1])


_OF_THE_CLUSTER = {"resync", "capacity", "allowed_namespaces", "paused"}


def inputs_digest(tenant: Tenant, workload: Workload) -> str:
    """Return a hash of everything that decides what should be there: specifications, secrets, this version.

    What the MemoryCluster says of itself decides nothing: an edit of it would else be written into each status.
    """
    content = [
        tenant.namespace.spec.model_dump(mode="json", exclude={"drift_policy"}),
        tenant.cluster.spec.model_dump(mode="json", exclude=_OF_THE_CLUSTER),
        list(workload.children),
        VERSION,
    ]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def build_status(namespace: MemoryNamespace, outcome: Outcome, now: datetime) -> MemoryNamespaceStatus:
    """Return the status after a pass. What the pass did not reach stays as it was."""
    before = namespace.status or MemoryNamespaceStatus()
    drifted = bool(outcome.inputs) and before.observed_inputs == outcome.inputs
    results = [*outcome.results, *_synced(outcome)]
    return before.model_copy(
        update={
            "observed_generation": namespace.metadata.generation,
            "conditions": build_conditions(
                results, before.conditions, namespace.metadata.generation, now, ready_message=_ready_message(namespace)
            ),
            "drift": _drift(before, outcome, now) if drifted else before.drift,
        }
        | _reached(outcome, before, now)
    )


def paused_status(namespace: MemoryNamespace, now: datetime) -> MemoryNamespaceStatus:
    """Return the status while the MemoryCluster is paused: what was known stays, only Synced says why nothing moves."""
    before = namespace.status or MemoryNamespaceStatus()
    generation = namespace.metadata.generation
    message = "spec.paused of the MemoryCluster is true: nothing is changed until it is false"
    (synced,) = build_conditions(
        [held(ConditionType.SYNCED, Reason.PAUSED, message)],
        before.conditions,
        generation,
        now,
        stages=(ConditionType.SYNCED,),
    )[:1]
    others = [each for each in before.conditions if each.type is not ConditionType.SYNCED]
    return before.model_copy(update={"conditions": sorted([*others, synced], key=lambda each: ORDER[each.type])})


def external_names(tenant: Tenant) -> ExternalNames:
    """Return the names of what the tenant has in the backends of its cluster."""
    names, backends = tenant.names, tenant.cluster.spec
    role = names.login_role(tenant.credentials.slot)
    events, ingest, dead_letter = (names.topic(kind) for kind in TopicKind)
    return ExternalNames(
        postgres=PostgresNames(schema=names.schema, owner=names.owner_role, role=role),
        qdrant=QdrantNames(collection=names.collection, alias=names.alias) if backends.qdrant else None,
        kafka=KafkaNames(events=events, ingest=ingest, dead_letter=dead_letter) if backends.kafka else None,
        redis=RedisNames(user=names.redis_user, prefix=names.redis_prefix) if backends.redis else None,
    )


def _reached(outcome: Outcome, before: MemoryNamespaceStatus, now: datetime) -> dict[str, object]:
    found: dict[str, object] = {}
    if outcome.tenant:
        slot = outcome.tenant.credentials.slot
        kept = before.credentials
        found["external"] = external_names(outcome.tenant)
        found["credentials"] = kept if kept and kept.slot == slot else CredentialsStatus(slot=slot, rotated_at=now)
    if outcome.settled:
        found["observed_inputs"] = outcome.inputs
    if outcome.availability:
        available = outcome.availability
        found["endpoint"] = available.endpoint
        found["binding"] = BindingStatus(name=outcome.names.binding)
        found["api"] = ReplicaStatus(replicas=available.present, ready=available.ready, selector=available.selector)
    return found


def _synced(outcome: Outcome) -> list[StageResult]:
    if outcome.availability is None:
        return []
    stage = ConditionType.SYNCED
    if outcome.withheld:
        what = listed(outcome.withheld)
        return [held(stage, Reason.DRIFT_DETECTED, f"driftPolicy is Report, so this was not done: {what}")]
    if missing := _missing(outcome, outcome.availability):
        return [held(stage, *missing)]
    return [passed(stage, Reason.IN_SYNC, "everything is as the specification says")]


def _missing(outcome: Outcome, available: Availability) -> tuple[Reason, str] | None:
    """Return what is not there yet, although everything for it was done."""
    if outcome.unmet:
        return Reason.REJECTED, outcome.unmet
    if available.reason is not Reason.PROGRESSING:
        return available.reason, available.detail
    if not available.rolled_out:
        return Reason.PROGRESSING, "not every process runs the present settings yet"
    if not available.complete:
        return Reason.PROGRESSING, f"{available.counted}; {available.detail}"
    unsettled = [str(each.stage) for each in outcome.results[:-1] if not each.passed]
    return (Reason.PROGRESSING, f"waiting for {', '.join(unsettled)}") if unsettled else None


def _drift(before: MemoryNamespaceStatus, outcome: Outcome, now: datetime) -> DriftStatus | None:
    """Count what changed although nothing of ours did; what is only reported moves the time when it is new."""
    found = outcome.applied or outcome.withheld
    if not found:
        return before.drift
    known, detail = before.drift or DriftStatus(), listed(found)
    reported = any(each.reason is Reason.DRIFT_DETECTED for each in before.conditions)
    if outcome.withheld and reported and known.detail == detail:
        return known
    return DriftStatus(last_detected=now, detail=detail, corrected=known.corrected + bool(outcome.applied))


def listed(summaries: Sequence[str]) -> str:
    """Return the first few of them, and how many more there are."""
    shown, more = summaries[:LISTED_STEPS], len(summaries) - LISTED_STEPS
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _ready_message(namespace: MemoryNamespace) -> str:
    if namespace.spec.state == "ReadOnly":
        return "recalls memories; spec.state is ReadOnly, so nothing is stored"
    return "stores and recalls memories"
