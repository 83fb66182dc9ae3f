"""The vectors of one namespace in this process: an exact scan over blocks that never move.

Every change appends a row and kills the one it replaces, so a reader that took a snapshot sees one consistent state
without a lock, whatever the writer does meanwhile. One writer (the event loop) is assumed; readers may be threads.
Cost: a store is O(dimensions); a search reads every row once, 4 bytes a dimension.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory_runtime.domain import scoring
from memory_runtime.domain.importance import Normaliser, fit_sample
from memory_runtime.domain.records import IndexEntry
from memory_runtime.ports import Float32Array, Float64Array, SeqArray

BLOCK_ROWS = 4096
# Deleted rows whose version is remembered, so that a late, older change cannot bring one back.
REMEMBERED_DELETIONS = 100_000


class Block:
    """`BLOCK_ROWS` rows as columns; a row is written once, before the slab's length covers it."""

    def __init__(self, dimensions: int) -> None:
        self.vectors: Float32Array = np.empty((BLOCK_ROWS, dimensions), dtype=np.float32)
        self.seqs: SeqArray = np.empty(BLOCK_ROWS, dtype=np.int64)
        self.versions: SeqArray = np.empty(BLOCK_ROWS, dtype=np.int64)
        self.importance: Float64Array = np.empty(BLOCK_ROWS, dtype=np.float64)
        self.ranks: NDArray[np.uint64] = np.empty(BLOCK_ROWS, dtype=np.uint64)
        self.types: NDArray[np.uint8] = np.empty(BLOCK_ROWS, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class _Row:
    seq: int
    version: int
    type_code: int
    importance: float
    rank: int
    vector: Float32Array


class Slab:
    """Fills the port `VectorIndex`."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._type_names: list[str] = []
        self._blocks: list[Block]
        self._alive: NDArray[np.bool_]
        self._length: int
        self._slots: dict[int, int]
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._reset_rows()
        self._deleted: OrderedDict[int, int] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._normaliser: Normaliser | None = None
        self._sampled_up_to = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Live memories by type."""
        return self._counts

    @property
    def normaliser(self) -> Normaliser:
        """The importance map that fits what is stored now; fitted again only when the sample has changed."""
        if self._normaliser is None:
            alive = self._alive[: self._length]
            self._normaliser, self._sampled_up_to = fit_sample(
                self._column("ranks")[alive], self._column("importance")[alive]
            )
        return self._normaliser

    def version(self, seq: int) -> int:
        """Return the version last applied for `seq`, or 0."""
        if (slot := self._slots.get(seq)) is None:
            return self._deleted.get(seq, 0)
        return int(self._blocks[slot // BLOCK_ROWS].versions[slot % BLOCK_ROWS])

    def apply(self, entries: Sequence[IndexEntry]) -> None:
        """Take over each entry that is newer than what is held."""
        for entry in entries:
            if entry.version > self.version(entry.seq):
                self._kill(entry.seq)
                if entry.embedding is None:
                    self._remember_deletion(entry)
                else:
                    self._append(self._row(entry, entry.embedding))
        if self._length - len(self._slots) > max(BLOCK_ROWS, len(self._slots)):
            self._compact()

    def snapshot(self) -> SlabSnapshot:
        """Return the present state; later changes do not reach it. Copies one flag a row, and no vectors."""
        return SlabSnapshot(
            self._blocks[:], self._alive[: self._length].copy(), tuple(self._type_names), self.normaliser
        )

    def describe(self, query: Float32Array, seqs: SeqArray) -> tuple[Float64Array, Float64Array, SeqArray]:
        """Return cosine, importance_norm and version of each of `seqs`; zeros where the row is not here."""
        cosine, importance = np.zeros(len(seqs)), np.zeros(len(seqs))
        versions = np.zeros(len(seqs), dtype=np.int64)
        slots = np.array([self._slots.get(seq, -1) for seq in seqs.tolist()], dtype=np.int64)
        for number in np.unique(slots[slots >= 0] // BLOCK_ROWS):
            wanted = np.flatnonzero((slots >= 0) & (slots // BLOCK_ROWS == number))
            block, at = self._blocks[number], slots[wanted] % BLOCK_ROWS
            cosine[wanted] = block.vectors[at] @ query
            importance[wanted] = block.importance[at]
            versions[wanted] = block.versions[at]
        return cosine, self.normaliser(importance), versions

    def _row(self, entry: IndexEntry, vector: Float32Array) -> _Row:
        if entry.type not in self._type_names:
            self._type_names.append(entry.type)
        code = self._type_names.index(entry.type)
        return _Row(entry.seq, entry.version, code, entry.importance, entry.id.int >> 64, vector)

    def _append(self, row: _Row) -> None:
        at = self._length % BLOCK_ROWS
        if at == 0:
            self._blocks.append(Block(self._dimensions))
            self._alive = np.concatenate([self._alive, np.zeros(BLOCK_ROWS, dtype=np.bool_)])
        block = self._blocks[-1]
        block.vectors[at] = row.vector
        block.seqs[at] = row.seq
        block.versions[at] = row.version
        block.importance[at] = row.importance
        block.ranks[at] = row.rank
        block.types[at] = row.type_code
        self._alive[self._length] = True
        self._slots[row.seq] = self._length
        self._length += 1
        self._counts[self._type_names[row.type_code]] += 1
        self._resample_if(row.rank)

    def _kill(self, seq: int) -> None:
        self._deleted.pop(seq, None)
        if (slot := self._slots.pop(seq, None)) is None:
            return
        block, at = self._blocks[slot // BLOCK_ROWS], slot % BLOCK_ROWS
        self._alive[slot] = False
        self._counts[self._type_names[block.types[at]]] -= 1
        self._resample_if(int(block.ranks[at]))

    def _resample_if(self, rank: int) -> None:
        if rank <= self._sampled_up_to:
            self._normaliser = None

    def _remember_deletion(self, entry: IndexEntry) -> None:
        self._deleted[entry.seq] = entry.version
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def _column(self, name: str) -> Any:
        columns = [getattr(block, name) for block in self._blocks]
        return np.concatenate(columns)[: self._length] if columns else np.zeros(0)

    def _reset_rows(self) -> None:
        self._blocks, self._slots, self._length = [], {}, 0
        self._alive = np.zeros(0, dtype=np.bool_)

    def _compact(self) -> None:
        """Copy the live rows into fresh blocks; snapshots keep the old ones."""
        blocks, live = self._blocks, np.flatnonzero(self._alive[: self._length]).tolist()
        self._reset_rows()
        self._counts.clear()
        for slot in live:
            block, at = blocks[slot // BLOCK_ROWS], slot % BLOCK_ROWS
            self._append(
                _Row(
                    seq=int(block.seqs[at]),
                    version=int(block.versions[at]),
                    type_code=int(block.types[at]),
                    importance=float(block.importance[at]),
                    rank=int(block.ranks[at]),
                    vector=block.vectors[at],
                )
            )


@dataclass(frozen=True, slots=True)
class SlabSnapshot:
    """Fills the port `IndexSnapshot`."""

    blocks: list[Block]
    alive: NDArray[np.bool_]
    type_names: tuple[str, ...]
    normaliser: Normaliser

    def __len__(self) -> int:
        """Rows a search reads, dead ones included."""
        return len(self.alive)

    def search(
        self, query: Float32Array, limit: int, *, type: str | None, allowed: SeqArray | None, by_importance: bool
    ) -> SeqArray:
        """Return the `limit` best rows, best first; equal scores in the order of seq."""
        eligible = np.flatnonzero(self._eligible(type, allowed)) if self.blocks else np.zeros(0, dtype=np.intp)
        if not eligible.size:
            return np.zeros(0, dtype=np.int64)
        scores = self._cosine(query, eligible)
        if by_importance:
            importance = self._gather("importance")[eligible]
            scores = scoring.classic(scores.astype(np.float64), self.normaliser(importance))
        # Equal scores are ordered by seq, so the cut must not split them at random.
        best = _candidates(scores, limit)
        seqs = self._seqs(eligible[best])
        return seqs[np.lexsort((seqs, -scores[best]))[:limit]]

    def _eligible(self, type: str | None, allowed: SeqArray | None) -> NDArray[np.bool_]:
        flags = self.alive
        if type is not None:
            code = self.type_names.index(type) if type in self.type_names else len(self.type_names)
            flags = flags & (self._gather("types") == code)
        if allowed is not None:
            flags = flags & np.isin(self._gather("seqs"), allowed)
        return flags

    def _cosine(self, query: Float32Array, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the cosines of `rows`, ascending. Whole blocks are multiplied unless few of their rows are asked."""
        if rows.size * 8 < len(self.alive):
            return np.concatenate([block.vectors[at] @ query for block, at in self._by_block(rows)])
        scores = np.empty(len(self.alive), dtype=np.float32)
        for number, block in enumerate(self.blocks):
            part = scores[number * BLOCK_ROWS : (number + 1) * BLOCK_ROWS]
            np.matmul(block.vectors[: len(part)], query, out=part)
        return scores if rows.size == scores.size else scores[rows]

    def _seqs(self, rows: NDArray[np.intp]) -> SeqArray:
        return np.concatenate([block.seqs[at] for block, at in self._by_block(rows)])

    def _by_block(self, rows: NDArray[np.intp]) -> Iterator[tuple[Block, NDArray[np.intp]]]:
        edges = np.searchsorted(rows, np.arange(len(self.blocks) + 1) * BLOCK_ROWS)
        for number, block in enumerate(self.blocks):
            if edges[number] < edges[number + 1]:
                yield block, rows[edges[number] : edges[number + 1]] - number * BLOCK_ROWS

    def _gather(self, column: str) -> Any:
        return np.concatenate([getattr(block, column) for block in self.blocks])[: len(self.alive)]


def _candidates(scores: NDArray[Any], limit: int) -> NDArray[np.intp]:
    """Return the positions of the `limit` highest scores and of all that equal the lowest of them."""
    if scores.size <= limit:
        return np.arange(scores.size)
    threshold = np.partition(scores, scores.size - limit)[scores.size - limit]
    return np.flatnonzero(scores >= threshold)
