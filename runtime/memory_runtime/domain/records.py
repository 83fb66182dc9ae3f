"""What the use cases pass around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from memory_contracts.identifiers import Coordinate


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory as the caller gave it, before it has a version."""

    id: UUID
    coordinate: Coordinate
    type: str
    payload: str  # JSON object
    content: str  # the text that is searched
    importance: float


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold for a write (``If-Match``: `version`; ``If-None-Match: *``: `absent`)."""

    version: int | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What a committed write became."""

    seq: int
    id: UUID
    version: int
    transaction: int


@dataclass(frozen=True, slots=True)
class Memory:
    """A live row of the canonical store."""

    seq: int
    id: UUID
    coordinate: Coordinate
    type: str
    payload: str
    importance: float
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """Row `seq` reached `version` in `transaction`."""

    seq: int
    version: int
    transaction: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What the vector index keeps of a row; `embedding` is None when the row was deleted."""

    seq: int
    id: UUID
    version: int
    type: str
    importance: float
    embedding: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Within:
    """What a candidate must be, whichever leg brings it; None allows all."""

    type: str | None = None
    payload: Mapping[str, Any] | None = None  # the memory's payload contains this


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The caller's name for one write, and a hash of what was asked under it."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Hit:
    """A recalled memory; `score` lies in [0, 1]."""

    memory: Memory
    score: float
    cosine: float
    keyword: float
    importance_norm: float
