"""The vector index: exact against a dictionary, whatever the order of changes, and under threads."""

import threading
from collections import Counter
from uuid import UUID

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memory_runtime.adapters import slab as slab_module
from memory_runtime.adapters.slab import BLOCK_ROWS, Slab
from memory_runtime.domain.importance import fit_sample
from memory_runtime.domain.records import IndexEntry

DIMENSIONS = 8
TYPES = ["episodic", "semantic"]
SEQS = st.integers(1, 40)


def unit(seed):
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def identity(seq):
    return UUID(bytes=np.random.default_rng(seq + 10**6).bytes(16))


def entry(seq, version, *, type="episodic", importance=1.0, seed=None, deleted=False):
    vector = None if deleted else unit(seq if seed is None else seed)
    return IndexEntry(seq, identity(seq), version, type, importance, vector)


def brute_force(model, query, limit, type=None, allowed=None, by_importance=False):
    """The seqs a search must return, by a scan over a dictionary."""
    rows = [row for row in model.values() if type in (None, row.type) and (allowed is None or row.seq in allowed)]
    scores = {row.seq: float(row.embedding.astype(np.float64) @ query.astype(np.float64)) for row in rows}
    if by_importance:
        ranks = np.array([row.id.int >> 64 for row in model.values()], dtype=np.uint64)
        normaliser, _ = fit_sample(ranks, np.array([row.importance for row in model.values()], dtype=np.float64))
        scores = {
            row.seq: min(1.0, max(0.0, scores[row.seq])) * float(normaliser(np.array([row.importance]))[0])
            for row in rows
        }
    best = sorted(scores, key=lambda seq: (-scores[seq], seq))[:limit]
    return best, scores


def assert_same_ranking(found, best, scores):
    """The same rows in the same order; rows whose scores differ by rounding only may swap."""
    assert len(found) == len(set(found)) == len(best)
    np.testing.assert_allclose([scores[seq] for seq in found], [scores[seq] for seq in best], atol=1e-6)


class SlabAgainstADictionary(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.slab, self.model, self.versions = Slab(DIMENSIONS), {}, Counter()
        self.snapshot = None

    def _apply(self, *rows):
        self.slab.apply(rows)
        for row in rows:
            if row.version > self.versions[row.seq]:
                self.versions[row.seq] = row.version
                if row.embedding is None:
                    self.model.pop(row.seq, None)
                else:
                    self.model[row.seq] = row

    @rule(seq=SEQS, kind=st.sampled_from(TYPES), importance=st.sampled_from([0.0, 1.0, 5.0, 100.0]), seed=SEQS)
    def store_or_update(self, seq, kind, importance, seed):
        self._apply(entry(seq, self.versions[seq] + 1, type=kind, importance=importance, seed=seed))

    @rule(seqs=st.lists(SEQS, min_size=1, max_size=30))
    def store_many(self, seqs):
        planned = Counter(self.versions)
        rows = []
        for seq in seqs:
            planned[seq] += 1
            rows.append(entry(seq, planned[seq], seed=seq + planned[seq]))
        self._apply(*rows)

    @rule(seq=SEQS)
    def delete(self, seq):
        self._apply(entry(seq, self.versions[seq] + 1, deleted=True))

    @rule(seq=SEQS, behind=st.integers(0, 3), deleted=st.booleans())
    def a_late_older_change_does_nothing(self, seq, behind, deleted):
        version = self.versions[seq] - behind
        if version >= 1:
            self._apply(entry(seq, version, seed=999, deleted=deleted))

    @rule()
    def take_a_snapshot(self):
        self.snapshot = (self.slab.snapshot(), dict(self.model))

    @precondition(lambda self: self.snapshot is not None)
    @rule(seed=SEQS, limit=st.integers(1, 50))
    def a_snapshot_never_changes(self, seed, limit):
        snapshot, model = self.snapshot
        found = snapshot.search(unit(seed), limit, type=None, allowed=None, by_importance=False).tolist()
        assert_same_ranking(found, *brute_force(model, unit(seed), limit))

    @rule(
        seed=SEQS,
        limit=st.integers(1, 50),
        kind=st.sampled_from([None, *TYPES, "procedural"]),
        allowed=st.none() | st.sets(st.integers(1, 60)),
        by_importance=st.booleans(),
    )
    def search(self, seed, limit, kind, allowed, by_importance):
        found = self.slab.snapshot().search(
            unit(seed),
            limit,
            type=kind,
            allowed=None if allowed is None else np.array(sorted(allowed), dtype=np.int64),
            by_importance=by_importance,
        )
        assert found.dtype == np.int64
        assert_same_ranking(found.tolist(), *brute_force(self.model, unit(seed), limit, kind, allowed, by_importance))

    @rule(seed=SEQS, seqs=st.lists(st.integers(1, 60), unique=True))
    def describe(self, seed, seqs):
        cosine, importance, versions = self.slab.describe(unit(seed), np.array(seqs, dtype=np.int64))
        for at, seq in enumerate(seqs):
            row = self.model.get(seq)
            assert versions[at] == (row.version if row else 0)
            assert cosine[at] == pytest.approx(float(row.embedding @ unit(seed)) if row else 0.0, abs=1e-6)
            if row:
                assert importance[at] == self.slab.normaliser(np.array([row.importance]))[0]

    @rule()
    def compact(self):
        self.slab._compact()

    @rule()
    def forget_everything(self):
        self.slab.clear()
        self.model.clear()
        self.versions.clear()

    @invariant()
    def counts_and_versions_agree(self):
        counts = Counter(row.type for row in self.model.values())
        assert {name: count for name, count in self.slab.counts.items() if count} == counts
        assert all(self.slab.version(seq) == self.versions[seq] for seq in range(1, 41))


TestSlabAgainstADictionary = SlabAgainstADictionary.TestCase
TestSlabAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture
def filled():
    slab = Slab(DIMENSIONS)
    slab.apply([entry(seq, 1, type=TYPES[seq % 2], importance=seq % 5) for seq in range(1, 3 * BLOCK_ROWS)])
    return slab


@pytest.mark.parametrize("limit", [1, 10, 1000])
@pytest.mark.parametrize("restriction", ["none", "type", "few", "many"])
def test_over_several_blocks_the_answer_is_exact(filled, limit, restriction):
    model = {seq: entry(seq, 1, type=TYPES[seq % 2], importance=seq % 5) for seq in range(1, 3 * BLOCK_ROWS)}
    kind = "semantic" if restriction == "type" else None
    allowed = {"few": set(range(5, 12_000, 977)), "many": set(range(1, 9_000))}.get(restriction)
    found = filled.snapshot().search(
        unit(0),
        limit,
        type=kind,
        allowed=None if allowed is None else np.array(sorted(allowed)),
        by_importance=False,
    )
    assert_same_ranking(found.tolist(), *brute_force(model, unit(0), limit, kind, allowed))


def test_equal_scores_come_in_the_order_of_seq():
    slab = Slab(DIMENSIONS)
    slab.apply([entry(seq, 1, seed=1) for seq in (7, 3, 9, 1, 5)])
    for limit in range(1, 6):
        found = slab.snapshot().search(unit(1), limit, type=None, allowed=None, by_importance=False)
        assert found.tolist() == [1, 3, 5, 7, 9][:limit]


@pytest.mark.parametrize("by_importance", [False, True])
@pytest.mark.parametrize("kind", [None, "episodic"])
@pytest.mark.parametrize("allowed", [None, [], [1]], ids=str)
def test_an_empty_index_finds_nothing(by_importance, kind, allowed):
    """Regression: with a filter, a search of an empty namespace was a 500."""
    snapshot = Slab(DIMENSIONS).snapshot()
    allowed = None if allowed is None else np.array(allowed, dtype=np.int64)
    assert snapshot.search(unit(1), 5, type=kind, allowed=allowed, by_importance=by_importance).tolist() == []


def test_describing_nothing_is_no_error():
    cosine, importance, versions = Slab(DIMENSIONS).describe(unit(1), np.zeros(0, dtype=np.int64))
    assert len(cosine) == len(importance) == len(versions) == 0


def test_updates_of_the_same_rows_do_not_let_it_grow_for_ever():
    slab = Slab(DIMENSIONS)
    for version in range(1, 2_000):
        slab.apply([entry(seq, version) for seq in range(1, 11)])
    assert len(slab.snapshot()) <= 2 * BLOCK_ROWS + 10
    assert slab.counts == {"episodic": 10}


def test_a_deletion_is_remembered_so_that_a_late_store_cannot_undo_it():
    slab = Slab(DIMENSIONS)
    slab.apply([entry(1, 5, deleted=True)])
    slab.apply([entry(1, 4)])
    assert slab.counts == {}
    assert slab.version(1) == 5


def test_only_so_many_deletions_are_remembered(monkeypatch):
    monkeypatch.setattr(slab_module, "REMEMBERED_DELETIONS", 10)
    slab = Slab(DIMENSIONS)
    slab.apply([entry(seq, 1, deleted=True) for seq in range(1, 101)])
    assert [slab.version(seq) for seq in (1, 90, 91, 100)] == [0, 0, 1, 1]


def test_searches_in_threads_never_see_half_a_change():
    """Regression: the slab lost rows under threads. Rows 1..50 always exist, in one version or another."""
    slab, stop, failures = Slab(DIMENSIONS), threading.Event(), []
    slab.apply([entry(seq, 1) for seq in range(1, 51)])
    published = [slab.snapshot()]

    def search(number):
        searched = 0
        while not stop.is_set() or searched == 0:
            snapshot = published[0]
            found = snapshot.search(unit(number), 10_000, type=None, allowed=None, by_importance=number % 2 == 0)
            seqs = found.tolist()
            searched += 1
            if len(seqs) != len(set(seqs)) or not set(range(1, 51)) <= set(seqs) or min(seqs) < 1:
                failures.append(seqs)

    readers = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    try:
        for version in range(2, 150):
            slab.apply([entry(seq, version) for seq in range(1, 51)])
            slab.apply([entry(1_000 + version, 1), entry(999 + version, 2, deleted=True)])
            published[0] = slab.snapshot()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
