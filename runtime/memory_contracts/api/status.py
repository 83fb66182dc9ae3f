"""What the operator reports; written by the operator only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from memory_contracts.api.base import ApiModel
from memory_contracts.conditions import ClusterConditionType, Condition, ConditionType, Reason

Time = Annotated[datetime, Field(strict=False)]

# The schema of metav1.Condition. Types and reasons are open there: another manager may add conditions of its own.
_CONDITION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "One aspect of the present state.",
    "required": ["type", "status", "reason"],
    "properties": {
        "type": {
            "type": "string",
            "maxLength": 316,
            "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            "description": "The aspect.",
        },
        "status": {
            "type": "string",
            "enum": ["True", "False", "Unknown"],
            "description": "Whether it holds. Unknown: a backend did not answer; the last known state may still hold.",
        },
        "reason": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            "description": "Why, in one word; docs/conditions.md says what to do about each.",
        },
        "message": {"type": "string", "maxLength": 32768, "description": "Why, as a sentence with the remedy."},
        "observedGeneration": {
            "type": "integer",
            "minimum": 0,
            "description": "Generation of the specification that this is about.",
        },
        "lastTransitionTime": {
            "type": "string",
            "format": "date-time",
            "description": "When the status last changed.",
        },
    },
}
_TYPES = {*ConditionType, *ClusterConditionType}


def _known(conditions: Any) -> Any:
    """Leave out what another manager, or another version of this one, has written."""
    if not isinstance(conditions, list):
        return conditions
    return [each for each in conditions if isinstance(each, Condition) or _is_known(each)]


def _is_known(condition: Any) -> bool:
    if not isinstance(condition, Mapping):
        return True
    return condition.get("type") in _TYPES and condition.get("reason") in set(Reason)


Conditions = Annotated[
    list[Annotated[Condition, WithJsonSchema(_CONDITION_SCHEMA)]],
    BeforeValidator(_known),
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class StatusModel(ApiModel):
    """Base of what is reported; fields that another version of the operator wrote are passed over."""

    model_config = ConfigDict(extra="ignore")


class PostgresNames(StatusModel):
    """Objects in Postgres."""

    schema_: str = Field(alias="schema", description="Schema that holds the tables.")
    owner: str = Field(description="Role that owns the schema; nobody logs in as it.")
    role: str = Field(description="Role that the API logs in with.")


class QdrantNames(StatusModel):
    """Objects in Qdrant."""

    collection: str = Field(description="Collection that holds the points.")
    alias: str = Field(description="Name under which clients use the collection.")


class KafkaNames(StatusModel):
    """Topics in Kafka."""

    events: str = Field(description="Every change of a memory.")
    ingest: str = Field(description="Memories that other systems publish.")
    dead_letter: str = Field(description="What could not be stored, with the reason.")


class RedisNames(StatusModel):
    """Objects in Redis."""

    user: str = Field(description="ACL user.")
    prefix: str = Field(description="Prefix of all keys and channels.")


class ExternalNames(StatusModel):
    """Names of what belongs to this object in the backends."""

    postgres: PostgresNames | None = Field(default=None, description="In Postgres.")
    qdrant: QdrantNames | None = Field(default=None, description="In Qdrant.")
    kafka: KafkaNames | None = Field(default=None, description="In Kafka.")
    redis: RedisNames | None = Field(default=None, description="In Redis.")


class CredentialsStatus(StatusModel):
    """Which of the two database roles is in use."""

    slot: Literal["a", "b"] = Field(description="The slot in use.")
    rotated_at: Time | None = Field(default=None, description="When it came into use.")


class DriftStatus(StatusModel):
    """What was found changed by somebody else."""

    last_detected: Time | None = Field(default=None, description="When a difference was last found.")
    detail: str = Field(default="", description="What it was.")
    corrected: int = Field(default=0, description="How many passes have corrected something.")


class ReplicaStatus(StatusModel):
    """How far a Deployment is."""

    replicas: int = Field(default=0, description="Pods there are.")
    ready: int = Field(default=0, description="Pods that answer their readiness probe.")
    selector: str = Field(default="", description="Label selector of the pods, for kubectl scale and autoscalers.")


class BindingStatus(StatusModel):
    """The Secret for servicebinding.io."""

    name: str = Field(description="Name of the Secret.")


class DeletionStatus(StatusModel):
    """How far the deletion is."""

    fenced_at: Time | None = Field(default=None, description="Since when nobody can reach the data.")
    failing_since: Time | None = Field(
        default=None, description="Since when a backend keeps the deletion from going on."
    )


class BackendStatus(StatusModel):
    """What a backend says about itself."""

    version: str = Field(default="", description="Version of the server.")
    identity: str = Field(default="", description="What the server calls itself.")
    features: list[str] = Field(default_factory=list, description="What it can do that not all can.")


class BackendsStatus(StatusModel):
    """The backends that answered."""

    postgres: BackendStatus | None = Field(default=None, description="Postgres.")
    qdrant: BackendStatus | None = Field(default=None, description="Qdrant.")
    kafka: BackendStatus | None = Field(default=None, description="Kafka.")
    redis: BackendStatus | None = Field(default=None, description="Redis.")


class NamespaceCount(StatusModel):
    """MemoryNamespaces that refer to this cluster."""

    total: int = Field(default=0, description="All of them.")
    ready: int = Field(default=0, description="Those whose condition Ready is True.")
