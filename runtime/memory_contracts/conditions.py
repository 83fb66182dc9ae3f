"""Condition types and reasons of the two resources (Kubernetes API conventions, "typical status properties")."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ConditionType(StrEnum):
    """What is known about a MemoryNamespace, in the order in which the stages gate one another."""

    CLUSTER_ACCEPTED = "ClusterAccepted"
    CREDENTIALS_READY = "CredentialsReady"
    SCHEMA_READY = "SchemaReady"
    API_AVAILABLE = "APIAvailable"
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
    PROGRESSING = "Progressing"
    BLOCKED = "Blocked"
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    REJECTED = "Rejected"
    WAITING_FOR_EARLIER_STAGE = "WaitingForEarlierStage"


class Condition(BaseModel):
    """One entry of ``status.conditions``, a list-map by ``type``."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: datetime | None = None
