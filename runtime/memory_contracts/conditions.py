"""A condition as it is written into the status of the two resources; its words are in ``memory_contracts.reasons``."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from memory_contracts.reasons import ClusterConditionType, ConditionStatus, ConditionType, Reason

# Whoever reads or builds conditions needs their words too.
__all__ = ["ClusterConditionType", "Condition", "ConditionStatus", "ConditionType", "Reason"]


class Condition(BaseModel):
    """One entry of ``status.conditions``, a list-map by ``type``."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: ConditionType | ClusterConditionType
    status: ConditionStatus
    reason: Reason
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: datetime | None = None
