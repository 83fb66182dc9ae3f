"""The `memory.event`: one message for each committed change of a memory.

`event_id` is a function of memory id and version, so a change published twice is recognisably the same change.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, computed_field


class EventKind(StrEnum):
    """What happened to the memory."""

    STORED = "memory.stored"
    DELETED = "memory.deleted"


class MemoryBody(BaseModel):
    """The memory as it was after the change; absent from a deletion."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    coord: list[float]
    type: Literal["episodic", "semantic"]
    payload: dict[str, Any]
    importance: float


class MemoryEvent(BaseModel):
    """Version 1 of the event. Fields are only ever added, and only with a default; a reader skips unknown ones."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: Literal[1] = 1
    kind: EventKind
    namespace: str
    memory_id: UUID
    version: int = Field(ge=1)
    time: datetime
    body: MemoryBody | None = None

    @computed_field
    def event_id(self) -> UUID:
        """The same for every delivery of this change."""
        return event_id(self.memory_id, self.version)


def event_id(memory: UUID, version: int) -> UUID:
    """Return the id of the event that brought `memory` to `version`."""
    return uuid5(memory, f"version {version}")
