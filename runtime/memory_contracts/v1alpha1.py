"""The API types of ``memory.somafractal.io/v1alpha1``: MemoryCluster and MemoryNamespace.

With the parts in ``memory_contracts.api`` this is the source of the CRDs: texts, defaults, bounds and rules.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field, model_validator

from memory_contracts.api.backends import KafkaBackend, PostgresBackend, QdrantBackend, RedisBackend, Resync
from memory_contracts.api.base import ApiModel, DnsLabel, Duration, ObjectMeta, cel, parse_duration
from memory_contracts.api.lifecycle import Deletion, DriftPolicy, State
from memory_contracts.api.network import NetworkPolicy
from memory_contracts.api.status import (
    BackendsStatus,
    BindingStatus,
    Conditions,
    CredentialsStatus,
    DeletionStatus,
    DriftStatus,
    ExternalNames,
    NamespaceCount,
    ReplicaStatus,
    StatusModel,
)
from memory_contracts.api.workload import Api, LabelSelector, ResourceRequirements

API_VERSION: Final = "memory.somafractal.io/v1alpha1"
NAME_RULE = (
    "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
    "metadata.name becomes part of other names; use at most 63 lower-case letters, digits and '-'",
)


# --- MemoryCluster ---------------------------------------------------------------------------------------------------

_SELECTOR_MESSAGE = "allowedNamespaces.selector goes with from: Selector, and only with it"


class AllowedNamespaces(ApiModel):
    """Which Kubernetes namespaces may use this cluster: the consent of its owner."""

    model_config = ConfigDict(
        json_schema_extra=cel(("(self.from == 'Selector') == has(self.selector)", _SELECTOR_MESSAGE)),
    )

    from_: Literal["Same", "Selector", "All"] = Field(
        default="Same",
        alias="from",
        description="Same: the namespace of the MemoryCluster. Selector: namespaces with matching labels. "
        "All: every namespace.",
    )
    selector: LabelSelector | None = Field(default=None, description="Labels of the namespaces, for from: Selector.")

    @model_validator(mode="after")
    def _selector_belongs(self) -> AllowedNamespaces:
        if (self.from_ == "Selector") != (self.selector is not None):
            raise ValueError(_SELECTOR_MESSAGE)
        return self


class ClusterDefaults(ApiModel):
    """Values for every MemoryNamespace that does not set its own."""

    image: str = Field(
        default="memory-runtime:latest",
        min_length=1,
        max_length=512,
        pattern=r"^[!-~]+$",
        description="Image of the API containers.",
    )
    resources: ResourceRequirements = Field(
        default=ResourceRequirements(requests={"cpu": "50m", "memory": "256Mi"}, limits={"memory": "1Gi"}),
        description="Compute resources of an API process.",
    )


class Capacity(ApiModel):
    """How much this cluster takes on."""

    max_namespaces: int | None = Field(
        default=None, ge=1, le=100_000, description="Most MemoryNamespaces, the oldest first; no limit when absent."
    )


class MemoryClusterSpec(ApiModel):
    """The backends that the namespaces of this cluster share."""

    allowed_namespaces: AllowedNamespaces = Field(
        default=AllowedNamespaces(), description="Which Kubernetes namespaces may refer to this cluster."
    )
    postgres: PostgresBackend = Field(description="The database of record.")
    qdrant: QdrantBackend | None = Field(
        default=None, description="The vector store; without it vectors are only in memory."
    )
    kafka: KafkaBackend | None = Field(default=None, description="The event log; without it changes are not published.")
    redis: RedisBackend | None = Field(default=None, description="The cache; without it each process has its own.")
    defaults: ClusterDefaults = Field(default=ClusterDefaults(), description="Defaults for the namespaces.")
    capacity: Capacity = Field(default=Capacity(), description="How much this cluster takes on.")
    resync: Resync = Field(default=Resync(), description="How often the backends are compared with the specification.")
    paused: bool = Field(
        default=False,
        description="True: nothing is changed, in Kubernetes or in the backends, until it is false again.",
    )


class MemoryClusterStatus(StatusModel):
    """What is known of the backends; written by the operator only."""

    observed_generation: int = Field(default=0, description="Generation of the specification that this is about.")
    conditions: Conditions = Field(default_factory=list, description="Ready, and one condition a backend.")
    backends: BackendsStatus = Field(default=BackendsStatus(), description="What the backends say about themselves.")
    namespaces: NamespaceCount = Field(default=NamespaceCount(), description="Who uses this cluster.")


class MemoryCluster(ApiModel):
    """Where memories live: one set of backends, shared by many MemoryNamespaces."""

    model_config = ConfigDict(json_schema_extra=cel(NAME_RULE))

    api_version: Literal["memory.somafractal.io/v1alpha1"] = API_VERSION
    kind: Literal["MemoryCluster"] = "MemoryCluster"
    metadata: ObjectMeta
    spec: MemoryClusterSpec = Field(description="The backends, and who may use them.")
    status: MemoryClusterStatus | None = Field(
        default=None, description="What is known of the backends; written by the operator only."
    )


# --- MemoryNamespace -------------------------------------------------------------------------------------------------


class ClusterReference(ApiModel):
    """Names the MemoryCluster that holds this namespace's memories."""

    name: DnsLabel = Field(default="default", description="Name of the MemoryCluster.")
    namespace: DnsLabel | None = Field(default=None, description="Its namespace; the object's own when absent.")


_DIMENSIONS_MESSAGE = "embedding.dimensions goes with provider hash only; the builtin model has 256"


class Embedding(ApiModel):
    """How text becomes vectors."""

    model_config = ConfigDict(
        json_schema_extra=cel(("self.provider == 'hash' || !has(self.dimensions)", _DIMENSIONS_MESSAGE)),
    )

    provider: Literal["builtin", "hash"] = Field(
        default="builtin",
        description="builtin: potion-base-8M, in the image, offline. hash: feature hashing, no model at all.",
    )
    dimensions: int | None = Field(
        default=None, ge=64, le=4096, description="Length of the vectors of the hash provider; 512 when absent."
    )

    @model_validator(mode="after")
    def _dimensions_belong_to_hash(self) -> Embedding:
        if self.provider == "builtin" and self.dimensions is not None:
            raise ValueError(_DIMENSIONS_MESSAGE)
        return self

    @property
    def length(self) -> int:
        """Length of the vectors."""
        return 256 if self.provider == "builtin" else self.dimensions or 512


class Vectors(ApiModel):
    """How vectors are kept in Qdrant."""

    distance: Literal["Cosine"] = Field(default="Cosine", description="Measure of similarity.")


_PARTITIONS = "events.partitions can only grow, for Kafka cannot remove partitions; restore the former number"
_RETENTION = "events.retention is at least 1m; choose a longer time"


class Events(ApiModel):
    """The Kafka topics of the namespace."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("self.partitions >= oldSelf.partitions", _PARTITIONS),
            ("duration(self.retention) >= duration('1m')", _RETENTION),
        ),
    )

    partitions: int = Field(
        default=3, ge=1, le=1000, description="Partitions of the topics events and ingest; they can only grow."
    )
    retention: Duration = Field(default="168h", description="How long Kafka keeps events; at least 1m.")

    @model_validator(mode="after")
    def _kept_for_a_while(self) -> Events:
        if parse_duration(self.retention).total_seconds() < 60:
            raise ValueError(_RETENTION)
        return self


_CLUSTER_REF = (
    "clusterRef cannot change, for memories do not move between clusters; restore it, or make a new MemoryNamespace"
)
_EMBEDDING = (
    "embedding cannot change, for stored vectors belong to the model that made them; "
    "restore it, or make a new MemoryNamespace"
)


class MemoryNamespaceSpec(ApiModel):
    """What one tenant's memory should be."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("self.clusterRef == oldSelf.clusterRef", _CLUSTER_REF),
            ("self.embedding == oldSelf.embedding", _EMBEDDING),
        ),
    )

    cluster_ref: ClusterReference = Field(default=ClusterReference(), description="The backends; immutable.")
    embedding: Embedding = Field(default=Embedding(), description="How text becomes vectors; immutable.")
    vectors: Vectors = Field(default=Vectors(), description="How vectors are kept in Qdrant.")
    events: Events = Field(default=Events(), description="The Kafka topics.")
    api: Api = Field(default=Api(), description="The HTTP service.")
    network_policy: NetworkPolicy = Field(default=NetworkPolicy(), description="Which traffic is let through.")
    drift_policy: DriftPolicy = Field(
        default="Correct",
        description="Correct: what somebody else changed is set right. Report: it is reported and left as it is.",
    )
    state: State = Field(
        default="Active",
        description="Active: stores and recalls. ReadOnly: recalls only. Fenced: nobody reaches the data. "
        "Hibernated: as Active, with no process running.",
    )
    deletion: Deletion = Field(
        default=Deletion(), description="What happens to the memories when the object is deleted."
    )

    def refused_changes(self, former: MemoryNamespaceSpec) -> list[str]:
        """Return a sentence for each change since `former` that an API server would refuse, where there is none."""
        refused = {
            _CLUSTER_REF: self.cluster_ref != former.cluster_ref,
            _EMBEDDING: self.embedding != former.embedding,
            _PARTITIONS: self.events.partitions < former.events.partitions,
        }
        return [sentence for sentence, broken in refused.items() if broken]


class MemoryNamespaceStatus(StatusModel):
    """What is known of the namespace; written by the operator only."""

    observed_generation: int = Field(default=0, description="Generation of the specification that this is about.")
    observed_inputs: str = Field(
        default="", description="Hash of all that this status follows from; what changes while it stays is drift."
    )
    endpoint: str | None = Field(default=None, description="Where the API answers.")
    external: ExternalNames | None = Field(default=None, description="Names in the backends.")
    credentials: CredentialsStatus | None = Field(default=None, description="Which database role is in use.")
    drift: DriftStatus | None = Field(default=None, description="What somebody else changed.")
    api: ReplicaStatus | None = Field(default=None, description="The API's pods.")
    binding: BindingStatus | None = Field(default=None, description="The Secret for servicebinding.io.")
    deletion: DeletionStatus | None = Field(default=None, description="How far the deletion is.")
    conditions: Conditions = Field(default_factory=list, description="Ready, and one condition a stage.")


class MemoryNamespace(ApiModel):
    """One tenant's memory: a schema in the backends and an HTTP service that stores and recalls."""

    model_config = ConfigDict(json_schema_extra=cel(NAME_RULE))

    api_version: Literal["memory.somafractal.io/v1alpha1"] = API_VERSION
    kind: Literal["MemoryNamespace"] = "MemoryNamespace"
    metadata: ObjectMeta
    spec: MemoryNamespaceSpec = Field(
        default=MemoryNamespaceSpec(), description="What this memory should be; each part has defaults."
    )
    status: MemoryNamespaceStatus | None = Field(
        default=None, description="What is known of this memory; written by the operator only."
    )
