"""The vocabulary of conditions: types, statuses and reasons (Kubernetes API conventions, "typical status properties").

Standard library only, so that errors can name a reason where pydantic would take too long to import.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What is known about a MemoryNamespace, in the order in which the stages gate one another."""

    CLUSTER_ACCEPTED = "ClusterAccepted"
    CLAIMED = "Claimed"
    CREDENTIALS_READY = "CredentialsReady"
    SCHEMA_READY = "SchemaReady"
    COLLECTION_READY = "CollectionReady"
    TOPIC_READY = "TopicReady"
    CACHE_READY = "CacheReady"
    API_AVAILABLE = "APIAvailable"
    SYNCED = "Synced"
    READY = "Ready"


class ClusterConditionType(StrEnum):
    """What is known about a MemoryCluster."""

    POSTGRES_READY = "PostgresReady"
    QDRANT_READY = "QdrantReady"
    KAFKA_READY = "KafkaReady"
    REDIS_READY = "RedisReady"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    READY = "Ready"


class ConditionStatus(StrEnum):
    """`UNKNOWN` means that a dependency did not answer: the last known state may still hold."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition has its status. Each is explained, with what to do, in docs/conditions.md."""

    ACCEPTED = "Accepted"
    PROVISIONED = "Provisioned"
    AVAILABLE = "Available"
    IN_SYNC = "InSync"

    PROGRESSING = "Progressing"
    WAITING_FOR_EARLIER_STAGE = "WaitingForEarlierStage"
    NOT_CONFIGURED = "NotConfigured"
    PAUSED = "Paused"
    READ_ONLY = "ReadOnly"
    FENCED = "Fenced"
    HIBERNATED = "Hibernated"
    TERMINATING = "Terminating"
    DRIFT_DETECTED = "DriftDetected"

    REJECTED = "Rejected"
    BLOCKED = "Blocked"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    CAPACITY_EXCEEDED = "CapacityExceeded"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a secret
    CLAIMED_BY_ANOTHER = "ClaimedByAnother"
    FOREIGN_OBJECT = "ForeignObject"
    CANNOT_SHRINK = "CannotShrink"
    VECTOR_MISMATCH = "VectorMismatch"
    QUOTA_EXCEEDED = "QuotaExceeded"
    DELETION_BLOCKED = "DeletionBlocked"

    BACKEND_UNAVAILABLE = "BackendUnavailable"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    TLS_FAILED = "TLSFailed"
    BACKEND_FULL = "BackendFull"
    BACKEND_READ_ONLY = "BackendReadOnly"
