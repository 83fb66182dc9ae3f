"""What an answer of the cluster that is an error means: its protocol name → one of our three classes. Pure."""

from __future__ import annotations

from memory_contracts.errors import Conflict, PlatformError, Rejected, Unavailable

# Someone was faster. A number of partitions is invalid only when the topic has grown since we looked.
CONFLICT = frozenset({"TOPIC_ALREADY_EXISTS", "UNKNOWN_TOPIC_OR_PART", "INVALID_PARTITIONS"})
PASSING = frozenset(
    {
        "UNKNOWN",  # an unexpected error of the server's
        "REQUEST_TIMED_OUT",
        "NETWORK_EXCEPTION",
        "NOT_CONTROLLER",
        "BROKER_NOT_AVAILABLE",
        "LEADER_NOT_AVAILABLE",
        "REASSIGNMENT_IN_PROGRESS",
        "THROTTLING_QUOTA_EXCEEDED",
        "KAFKA_STORAGE_ERROR",
    }
)
FORBIDDEN = frozenset({"TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"})
RIGHTS = "Create, Delete, Describe, Alter, DescribeConfigs and AlterConfigs"
REPLICATION_FIELD = "kafka.defaults.replicationFactor"


def meaning(name: str, text: str, what: str) -> PlatformError:
    """Return the error class for an answer to `what`, which begins the sentence."""
    detail = f"{what}: {text.rstrip('.')}"
    if name in CONFLICT:
        return Conflict(detail)
    if name in PASSING:
        return Unavailable(detail)
    if name == "INVALID_REPLICATION_FACTOR":
        return Rejected(f"{detail}; lower {REPLICATION_FIELD}, or add brokers", field=REPLICATION_FIELD)
    if name in FORBIDDEN:
        return Rejected(f"{detail}; the operator's user needs {RIGHTS} on the topics")
    return Rejected(detail)
