"""Forgetting a memory: a tombstone in the canonical store at once, so that no index can bring the text back."""

from __future__ import annotations

from uuid import UUID

from memory_contracts.errors import NotFound
from memory_contracts.identifiers import Coordinate, canonical_coordinate, memory_id
from memory_runtime.domain.records import IdempotencyKey, IndexEntry, Memory, Precondition, Written
from memory_runtime.ports import Memories, Writer
from memory_runtime.services.changes import ChangeFeed
from memory_runtime.services.idempotency import once


class Forget:
    """The use case behind DELETE /memories/{coord}."""

    def __init__(self, namespace: str, memories: Memories, feed: ChangeFeed) -> None:
        self._namespace = namespace
        self._memories = memories
        self._feed = feed

    async def __call__(
        self, coordinate: Coordinate, *, precondition: Precondition, key: IdempotencyKey | None = None
    ) -> tuple[Written, bool]:
        """Delete the memory at `coordinate`; also say whether this is a replay.

        Raises `NotFound`, `PreconditionFailed`, `Unavailable`.
        """
        target = memory_id(self._namespace, coordinate)

        async def write(writer: Writer) -> list[Written]:
            gone = await writer.forget(target, precondition)
            if gone is None:
                raise _absent(coordinate)
            return [gone]

        (gone,), replayed = await once(self._memories, key, write)
        if not replayed:
            self._feed.applied(gone.transaction, [_tombstone(target, gone)])
        return gone, replayed


class Get:
    """The use case behind GET /memories/{coord}: read from the canonical store, never from an index."""

    def __init__(self, namespace: str, memories: Memories) -> None:
        self._namespace = namespace
        self._memories = memories

    async def __call__(self, coordinate: Coordinate) -> Memory:
        """Return the memory at `coordinate`. Raises `NotFound`, `Unavailable`."""
        memory = await self._memories.get(memory_id(self._namespace, coordinate))
        if memory is None:
            raise _absent(coordinate)
        return memory


def _absent(coordinate: Coordinate) -> NotFound:
    return NotFound(f"no memory is stored at {canonical_coordinate(coordinate)}", field="coord")


def _tombstone(memory: UUID, gone: Written) -> IndexEntry:
    return IndexEntry(gone.seq, memory, gone.version, "", 0.0, None)
