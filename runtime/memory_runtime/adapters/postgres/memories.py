"""The canonical store: the ports `Memories` and `Writer` on the named queries of ``sql/memories.sql``."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import numpy as np

from memory_contracts.errors import Conflict, IdempotencyMismatch, PreconditionFailed
from memory_runtime.adapters.postgres.database import Database, committed
from memory_runtime.adapters.postgres.queries import queries
from memory_runtime.domain.records import Draft, IdempotencyKey, Memory, Precondition, Within, Written
from memory_runtime.ports import Float32Array, SeqArray

if TYPE_CHECKING:
    from memory_runtime.adapters.postgres.database import Connection

SQL = queries("memories")
# Rows that a keyword search ranks, about; each costs 3 µs. The rarest words of the query choose them.
CANDIDATE_ROWS = 1_000.0
WORDS_A_PAGE = 2_000


class PostgresWriter:
    """Writes over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def store(
        self, drafts: Sequence[Draft], vectors: Float32Array, embedder_id: str, precondition: Precondition
    ) -> list[Written]:
        """Write the drafts; one that names a coordinate again becomes the next version of the same memory."""
        results: dict[int, Written] = {}
        for positions in _rounds(drafts):
            written = await self._store_distinct(
                [drafts[at] for at in positions], vectors[positions], embedder_id, precondition
            )
            if len(written) < len(positions):
                raise await self._precondition_failed(drafts[positions[0]].id)
            results |= {at: written[drafts[at].id] for at in positions}
        return [results[at] for at in range(len(drafts))]

    async def forget(self, memory: UUID, precondition: Precondition) -> Written | None:
        """Turn the memory into a tombstone."""
        row = await self._connection.fetchrow(SQL["forget"], memory, precondition.version)
        if row is None and precondition.version is not None and await self._version(memory) is not None:
            raise await self._precondition_failed(memory)
        return None if row is None else _written(row)

    async def claim(self, key: IdempotencyKey) -> str | None:
        """Reserve the key, or return the answer given under it."""
        if await self._connection.fetchval(SQL["claim_key"], key.key, key.fingerprint):
            return None
        row = await self._connection.fetchrow(SQL["read_key"], key.key)
        if row is None:
            raise Conflict("the request under this Idempotency-Key expired a moment ago; send it again")
        if row["fingerprint"] != key.fingerprint:
            raise IdempotencyMismatch(
                "this Idempotency-Key was used for another request; use a new key", field="Idempotency-Key"
            )
        return str(row["response"])

    async def complete(self, key: IdempotencyKey, answer: str) -> None:
        """Keep the answer for replays."""
        await self._connection.execute(SQL["complete_key"], key.key, answer)

    async def _store_distinct(
        self, drafts: Sequence[Draft], vectors: Float32Array, embedder_id: str, precondition: Precondition
    ) -> dict[UUID, Written]:
        rows = await self._connection.fetch(
            SQL["store"],
            [draft.id for draft in drafts],
            ["{" + ",".join(map(repr, draft.coordinate)) + "}" for draft in drafts],
            [draft.type for draft in drafts],
            [draft.payload for draft in drafts],
            [draft.content for draft in drafts],
            [draft.importance for draft in drafts],
            [vector.tobytes() for vector in vectors],
            embedder_id,
            precondition.version,
            precondition.absent,
        )
        return {row["id"]: _written(row) for row in rows}

    async def _version(self, memory: UUID) -> int | None:
        version: int | None = await self._connection.fetchval(SQL["version_of"], memory)
        return version

    async def _precondition_failed(self, memory: UUID) -> PreconditionFailed:
        version = await self._version(memory)
        stored = "no memory is stored there" if version is None else f"version {version} is stored"
        return PreconditionFailed(f"the precondition does not hold: {stored}; read it again and decide anew")


class PostgresMemories:
    """Reads, and the opening of writers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def writer(self, *, transaction: bool) -> AsyncIterator[PostgresWriter]:
        """Open a writer, in a transaction when several statements must commit together."""
        async with self._database.connection() as connection:
            if not transaction:
                yield PostgresWriter(connection)
                return
            async with committed(connection):
                yield PostgresWriter(connection)

    async def get(self, memory: UUID) -> Memory | None:
        """Return the live memory with this id."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SQL["get"], memory)
        return None if row is None else _memory(row)

    async def by_seq(self, seqs: Sequence[int], within: Within) -> list[Memory]:
        """Return the live memories among `seqs` that are still what was asked for."""
        async with self._database.connection() as connection:
            return [_memory(row) for row in await connection.fetch(SQL["by_seq"], seqs, within.type, _json(within))]

    async def keyword_matches(self, query: str, words: str, limit: int, within: Within) -> dict[int, float]:
        """Return seq → word similarity of the memories that hold words of the query, or near spellings of them."""
        async with self._database.search_connection() as connection:
            rows = await connection.fetch(
                SQL["keyword_matches"], query, words, limit, within.type, _json(within), CANDIDATE_ROWS
            )
        return {row["seq"]: float(row["similarity"]) for row in rows}

    async def matching(self, filters: Mapping[str, Any]) -> SeqArray:
        """Return the seqs of all live memories whose payload contains `filters`, ascending."""
        async with self._database.connection() as connection:
            packed = await connection.fetchval(SQL["matching"], json.dumps(filters))
        return np.sort(np.frombuffer(packed, dtype=">i8").astype(np.int64))

    async def settle(self, *, statistics: bool) -> None:
        """Let the text indexes take in recent writes."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["settle"], statistics)

    async def expire(self, older_than: timedelta) -> dict[str, int]:
        """Drop what is beyond its retention."""
        dropped: dict[str, int] = {}
        for name in ("expire_keys", "expire_outbox", "expire_tombstones"):
            async with self._database.connection() as connection:
                status = await connection.execute(SQL[name], older_than)
            dropped[name.removeprefix("expire_")] = int(status.rpartition(" ")[2])
        await self._expire_words()
        return dropped

    async def _expire_words(self) -> None:
        """Drop words that only forgotten memories held, page by page, so that no statement takes long."""
        last: str | None = ""
        while last is not None:
            async with self._database.search_connection() as connection:
                last = await connection.fetchval(SQL["expire_words"], last, WORDS_A_PAGE)


def _json(within: Within) -> str | None:
    return None if within.payload is None else json.dumps(within.payload)


def _rounds(drafts: Sequence[Draft]) -> list[list[int]]:
    """Split the positions so that no round names a memory twice: one statement may touch a row only once."""
    if len({draft.id for draft in drafts}) == len(drafts):
        return [list(range(len(drafts)))]
    seen: defaultdict[UUID, int] = defaultdict(int)
    rounds: list[list[int]] = []
    for at, draft in enumerate(drafts):
        if seen[draft.id] == len(rounds):
            rounds.append([])
        rounds[seen[draft.id]].append(at)
        seen[draft.id] += 1
    return rounds


def _written(row: asyncpg.Record) -> Written:
    return Written(row["seq"], row["id"], row["version"], row["changed_in"])


def _memory(row: asyncpg.Record) -> Memory:
    return Memory(
        seq=row["seq"],
        id=row["id"],
        coordinate=tuple(row["coord"]),
        type=row["type"],
        payload=row["payload"],
        importance=row["importance"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
