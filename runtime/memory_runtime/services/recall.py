"""Recalling: candidates from independent legs, filters applied inside each, one score, rows read from Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from memory_contracts.errors import Unavailable
from memory_runtime.domain import scoring
from memory_runtime.domain.records import Hit, Within
from memory_runtime.domain.words import distinct_words, query_words
from memory_runtime.ports import Embedder, Float32Array, Memories, SeqArray, VectorIndex
from memory_runtime.services.changes import ChangeFeed

# Candidates a leg of a hybrid recall brings at least: fusion needs more to choose from than the caller wants back.
VECTOR_CANDIDATES = 100
KEYWORD_CANDIDATES = 20
# Rows from which a search leaves the event loop; about 3 ms of scanning at 256 dimensions.
SEARCH_IN_THREAD_FROM = 50_000
# A replica that finds rows newer than its index catches up and asks again, at most this often.
ATTEMPTS = 3


class Scoring(StrEnum):
    """How hits are ranked."""

    HYBRID = "hybrid"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True)
class Question:
    """What to recall: by `text`, or by `vector` (unit length, of the embedder's dimensions) without the keyword leg."""

    text: str | None
    vector: Float32Array | None
    limit: int
    within: Within = field(default_factory=Within)
    scoring: Scoring = Scoring.HYBRID
    token: str | None = None


class Recall:
    """The use case behind /recall."""

    def __init__(self, embedder: Embedder, memories: Memories, index: VectorIndex, feed: ChangeFeed) -> None:
        self._embedder = embedder
        self._memories = memories
        self._index = index
        self._feed = feed

    async def __call__(self, question: Question) -> list[Hit]:
        """Return at most `question.limit` hits, best first. Raises `Unavailable`, and `Rejected` for a bad token."""
        if not self._feed.loaded:
            raise Unavailable("the memories are still being loaded; see /readyz")
        if question.token is not None:
            await self._feed.wait_for(question.token)
        vector = question.vector if question.vector is not None else self._embedder.embed([question.text or ""])[0]
        for attempt in range(1, ATTEMPTS + 1):
            hits, stale = await self._attempt(question, vector)
            if not stale or attempt == ATTEMPTS:
                break
            await self._feed.look()
        return hits

    async def _attempt(self, question: Question, vector: Float32Array) -> tuple[list[Hit], bool]:
        """Search once; also say whether the index lagged behind the rows that were found."""
        keywords = asyncio.create_task(self._keyword_leg(question))
        # Two turns of the loop put the query on the wire, so that Postgres searches while this process does.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            nearest = await self._vector_leg(question, vector)
            similarity = await keywords
        finally:
            keywords.cancel()
        candidates = np.union1d(nearest, np.fromiter(similarity, dtype=np.int64, count=len(similarity)))
        return await self._rank(question, vector, candidates, similarity)

    async def _keyword_leg(self, question: Question) -> dict[int, float]:
        if question.text is None or question.scoring is Scoring.CLASSIC:
            return {}
        limit = max(KEYWORD_CANDIDATES, question.limit)
        return await self._memories.keyword_matches(
            distinct_words(question.text), query_words(question.text), limit, question.within
        )

    async def _vector_leg(self, question: Question, vector: Float32Array) -> SeqArray:
        allowed = None if question.within.payload is None else await self._memories.matching(question.within.payload)
        snapshot = self._index.snapshot()
        classic = question.scoring is Scoring.CLASSIC
        limit = question.limit if classic else max(VECTOR_CANDIDATES, question.limit)

        def search() -> SeqArray:
            return snapshot.search(vector, limit, type=question.within.type, allowed=allowed, by_importance=classic)

        return search() if len(snapshot) < SEARCH_IN_THREAD_FROM else await asyncio.to_thread(search)

    async def _rank(
        self, question: Question, vector: Float32Array, candidates: SeqArray, similarity: Mapping[int, float]
    ) -> tuple[list[Hit], bool]:
        cosine, importance, versions = self._index.describe(vector, candidates)
        keyword = np.array([similarity.get(seq, 0.0) for seq in candidates.tolist()])
        if question.scoring is Scoring.CLASSIC:
            scores = scoring.classic(cosine, importance)
        else:
            scores = scoring.hybrid(cosine, keyword, importance, self._embedder.dense_weight)
        best = np.lexsort((candidates, -scores))[: question.limit]
        found = await self._memories.by_seq(candidates[best].tolist(), question.within)
        rows = {row.seq: row for row in found}
        hits, stale = [], False
        for at in best.tolist():
            row = rows.get(int(candidates[at]))
            stale = stale or row is None or row.version != versions[at]
            if row is not None:
                hits.append(Hit(row, float(scores[at]), float(cosine[at]), float(keyword[at]), float(importance[at])))
        return hits, stale
