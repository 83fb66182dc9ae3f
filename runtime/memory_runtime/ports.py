"""What the use cases need from the world, as Protocols; ``adapters`` fill them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from memory_runtime.domain.importance import Normaliser
from memory_runtime.domain.records import (
    Change,
    Draft,
    IdempotencyKey,
    IndexEntry,
    Memory,
    Precondition,
    Within,
    Written,
)

Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
SeqArray: TypeAlias = NDArray[np.int64]


class Embedder(Protocol):
    """Turns text into unit vectors. Deterministic: the same text gives the same vector on every machine."""

    @property
    def embedder_id(self) -> str:
        """Names model, version and dimensions; vectors of different ids are never compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        ...

    @property
    def dense_weight(self) -> float:
        """Share of the vector leg in a hybrid score, 0..1; low where the vectors carry little meaning."""
        ...

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return an array of shape (len(texts), dimensions); rows are L2-normalised, or zero for text without words."""
        ...


class IndexSnapshot(Protocol):
    """The vector index at one moment; safe to search from a thread while writers go on."""

    def __len__(self) -> int:
        """Rows a search reads."""
        ...

    def search(
        self, query: Float32Array, limit: int, *, type: str | None, allowed: SeqArray | None, by_importance: bool
    ) -> SeqArray:
        """Return the `limit` best rows, best first: by cosine, or by ``max(0, cosine) × importance_norm``.

        Exact. `type` and `allowed` (a set of seqs) are applied before the cut; None allows all.
        """
        ...


class VectorIndex(Protocol):
    """Vectors of the live memories, in this process."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Live memories by type."""
        ...

    @property
    def normaliser(self) -> Normaliser:
        """The importance map that fits what is stored now."""
        ...

    def version(self, seq: int) -> int:
        """Return the version last applied for `seq`, deletions included; 0 when it was never seen."""
        ...

    def apply(self, entries: Sequence[IndexEntry]) -> None:
        """Take over each entry that is newer than what is held."""
        ...

    def clear(self) -> None:
        """Forget everything; a full load follows."""
        ...

    def snapshot(self) -> IndexSnapshot:
        """Return the present state for searching."""
        ...

    def describe(self, query: Float32Array, seqs: SeqArray) -> tuple[Float64Array, Float64Array, SeqArray]:
        """Return cosine, importance_norm and version of each of `seqs`; version 0 where the index lacks the row."""
        ...


class Writer(Protocol):
    """Writes that commit together when its block ends without an error."""

    async def store(
        self, drafts: Sequence[Draft], vectors: Float32Array, embedder_id: str, precondition: Precondition
    ) -> list[Written]:
        """Insert or update memory, vector and outbox row of each draft; results in the order of `drafts`.

        Raises `PreconditionFailed`.
        """
        ...

    async def forget(self, memory: UUID, precondition: Precondition) -> Written | None:
        """Turn the memory into a tombstone; None when there is none. Raises `PreconditionFailed`."""
        ...

    async def claim(self, key: IdempotencyKey) -> str | None:
        """Reserve `key` for this block, or return the answer that was given under it.

        Raises `IdempotencyMismatch` when it stood for another request.
        """
        ...

    async def complete(self, key: IdempotencyKey, answer: str) -> None:
        """Keep the answer for replays."""
        ...


class Memories(Protocol):
    """The canonical store."""

    def writer(self, *, transaction: bool) -> AbstractAsyncContextManager[Writer]:
        """Open a writer; without `transaction` each of its statements commits by itself."""
        ...

    async def get(self, memory: UUID) -> Memory | None:
        """Return the live memory with this id."""
        ...

    async def by_seq(self, seqs: Sequence[int], within: Within) -> list[Memory]:
        """Return the live memories among `seqs` that are `within`, in no particular order."""
        ...

    async def keyword_matches(self, query: str, words: str, limit: int, within: Within) -> dict[int, float]:
        """Return seq → word similarity in [0, 1] to `words`, of at most `limit` memories that hold words of `query`.

        A word that no memory holds stands for its nearest spellings.
        """
        ...

    async def matching(self, filters: Mapping[str, Any]) -> SeqArray:
        """Return the seqs of all live memories whose payload contains `filters`."""
        ...

    async def settle(self, *, statistics: bool) -> None:
        """Bring search indexes, and on request the planner's statistics, up to date after writes."""
        ...

    async def expire(self, older_than: timedelta) -> dict[str, int]:
        """Drop idempotency keys, outbox rows and tombstones beyond their retention; return how many of each.

        Words that only forgotten memories held go too.
        """
        ...


class ChangeSource(Protocol):
    """Committed changes, in a form that skips none."""

    async def changes(self, horizon: int) -> tuple[int, list[Change]]:
        """Return all changes by transactions ≥ `horizon` that are visible now, and the next horizon.

        Every transaction below the next horizon has ended, so nothing below it can still appear.
        """
        ...

    async def horizon(self) -> int:
        """Return the present horizon."""
        ...

    async def entries(self, seqs: Sequence[int]) -> list[IndexEntry]:
        """Return what the index needs of these rows, tombstones included."""
        ...

    def all_entries(self, page: int) -> AsyncIterator[list[IndexEntry]]:
        """Return all live rows, `page` at a time."""
        ...

    async def announce(self) -> None:
        """Wake the other processes that follow this namespace."""
        ...
