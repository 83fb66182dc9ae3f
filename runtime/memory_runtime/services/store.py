"""Storing memories: embed, then one committed statement for row, vector and outbox; then this process's own index."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np

from memory_contracts.identifiers import Coordinate, memory_id
from memory_runtime.domain.records import Draft, IdempotencyKey, IndexEntry, Precondition, Written
from memory_runtime.domain.text import searchable_text
from memory_runtime.ports import Embedder, Float32Array, Memories, Writer
from memory_runtime.services.changes import ChangeFeed
from memory_runtime.services.idempotency import once

# A larger write goes in pieces of this many, so that one is prepared while Postgres works on the one before.
PIECE = 1_000
# The first is small, so that Postgres begins soon.
FIRST_PIECE = 250
# Texts prepared without giving way to other requests. Not in a thread: two threads that both want the interpreter make
# a bulk a third slower than one that takes turns.
SLICE = 64
ANY = Precondition()
# json.dumps would build an encoder for each call.
ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class NewMemory:
    """What a caller wants remembered. Payload: a JSON object, already checked for what Postgres cannot hold."""

    coordinate: Coordinate
    payload: Mapping[str, Any]
    type: str = "episodic"
    importance: float = 1.0


Named: TypeAlias = tuple[UUID, NewMemory]
Prepared: TypeAlias = tuple[list[Draft], Float32Array]


class Store:
    """The use case behind /store, /store_bulk and /remember."""

    def __init__(self, namespace: str, embedder: Embedder, memories: Memories, feed: ChangeFeed) -> None:
        self._namespace = namespace
        self._embedder = embedder
        self._memories = memories
        self._feed = feed

    async def __call__(
        self, items: Sequence[NewMemory], *, precondition: Precondition = ANY, key: IdempotencyKey | None = None
    ) -> tuple[list[Written], bool]:
        """Write all of `items` or none; return what became of each once it is durable, and whether this is a replay.

        Raises `PreconditionFailed`, `IdempotencyMismatch`, `Conflict`, `Unavailable`.
        """
        ids = [memory_id(self._namespace, item.coordinate) for item in items]
        # All writers take their row locks in the order of ids, so that two of them never wait for each other.
        order = sorted(range(len(items)), key=lambda at: ids[at].int)
        named = [(ids[at], items[at]) for at in order]
        entries: list[IndexEntry] = []

        async def write(writer: Writer) -> list[Written]:
            written = await self._write(writer, named, precondition, entries)
            return [one for _, one in sorted(zip(order, written, strict=True), key=lambda pair: pair[0])]

        several_statements = len(set(ids)) < len(ids) or len(ids) > FIRST_PIECE
        results, replayed = await once(self._memories, key, write, transaction=several_statements)
        if entries:
            self._feed.applied(results[0].transaction, entries)
        return results, replayed

    async def _write(
        self, writer: Writer, named: Sequence[Named], precondition: Precondition, entries: list[IndexEntry]
    ) -> list[Written]:
        """Write piece by piece, preparing the next one meanwhile; fill `entries` for the index."""
        results: list[Written] = []
        edges = [0, *range(FIRST_PIECE, len(named), PIECE), len(named)]
        pieces = [named[start:end] for start, end in pairwise(edges)]
        prepared = await self._prepare(pieces[0])
        for following in pieces[1:]:
            writing = asyncio.ensure_future(self._write_piece(writer, prepared, precondition, entries))
            try:
                prepared = await self._prepare(following)
            except BaseException:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
                raise
            results += await writing
        return results + await self._write_piece(writer, prepared, precondition, entries)

    async def _write_piece(
        self, writer: Writer, prepared: Prepared, precondition: Precondition, entries: list[IndexEntry]
    ) -> list[Written]:
        written = await writer.store(*prepared, self._embedder.embedder_id, precondition)
        entries += _index_entries(*prepared, written)
        return written

    async def _prepare(self, piece: Sequence[Named]) -> Prepared:
        drafts: list[Draft] = []
        vectors: list[Float32Array] = []
        for start in range(0, len(piece), SLICE):
            if start:
                await asyncio.sleep(0)
            slice_ = [_draft(*each) for each in piece[start : start + SLICE]]
            vectors.append(self._embedder.embed([draft.content for draft in slice_]))
            drafts += slice_
        return drafts, np.concatenate(vectors)


def _draft(memory: UUID, item: NewMemory) -> Draft:
    return Draft(
        id=memory,
        coordinate=item.coordinate,
        type=item.type,
        payload=ENCODE(item.payload),
        content=searchable_text(item.payload),
        importance=item.importance,
    )


def _index_entries(drafts: Sequence[Draft], vectors: Float32Array, written: Sequence[Written]) -> list[IndexEntry]:
    return [
        IndexEntry(result.seq, result.id, result.version, draft.type, draft.importance, vector)
        for draft, vector, result in zip(drafts, vectors, written, strict=True)
    ]
