"""The change feed: no committed change is skipped, and a token waits for its write."""

import asyncio

import numpy as np
import pytest

from memory_contracts.errors import Rejected, Unavailable
from memory_runtime.adapters.slab import Slab
from memory_runtime.domain.consistency import decode_token, encode_token
from memory_runtime.domain.records import Change, IndexEntry
from memory_runtime.services.changes import ChangeFeed

VECTOR = np.array([1.0, 0.0], dtype=np.float32)


class FakeSource:
    """Postgres as the feed sees it: transactions that run, and then commit their rows."""

    def __init__(self):
        self.next_transaction, self.running, self.rows = 100, {}, {}
        self.looks, self.loads = [], 0
        self.before_answering = None

    def begin(self, seq, version, *, deleted=False):
        transaction = self.next_transaction
        self.next_transaction += 1
        self.running[transaction] = (seq, version, deleted)
        return transaction

    def commit(self, transaction):
        seq, version, deleted = self.running.pop(transaction)
        embedding = None if deleted else VECTOR
        self.rows[seq] = (transaction, IndexEntry(seq, _uuid(seq), version, "episodic", 1.0, embedding))
        return encode_token(transaction)

    def write(self, seq, version, **more):
        return self.commit(self.begin(seq, version, **more))

    def _horizon(self):
        return min(self.running, default=self.next_transaction)

    async def changes(self, horizon):
        self.looks.append(horizon)
        found = [
            Change(seq, entry.version, transaction)
            for seq, (transaction, entry) in self.rows.items()
            if transaction >= horizon
        ]
        answer = self._horizon(), found
        if self.before_answering is not None:
            await self.before_answering()
        return answer

    async def horizon(self):
        return self._horizon()

    async def entries(self, seqs):
        return [self.rows[seq][1] for seq in seqs]

    async def all_entries(self, page):
        self.loads += 1
        live = [entry for _, entry in self.rows.values() if entry.embedding is not None]
        for start in range(0, len(live), page):
            yield live[start : start + page]

    async def announce(self):
        raise AssertionError("the feed does not announce")


def _uuid(seq):
    from uuid import UUID

    return UUID(int=seq << 64)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def source():
    return FakeSource()


@pytest.fixture
def index():
    return Slab(2)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def feed(source, index, clock):
    made = ChangeFeed(source, index, consistency_timeout=0.2, reload_after=100.0, clock=clock)
    await made.load()
    return made


async def test_loading_takes_over_everything_that_is_stored(source, index, clock):
    for seq in range(1, 5_001):
        source.write(seq, 1)
    source.write(7, 2, deleted=True)
    feed = ChangeFeed(source, index, consistency_timeout=1, reload_after=100, clock=clock)
    assert not feed.loaded
    assert feed.token is None
    await feed.load()
    assert feed.loaded
    assert index.counts == {"episodic": 4_999}


async def test_a_look_applies_new_changed_and_deleted_rows(source, index, feed):
    source.write(1, 1)
    source.write(2, 1)
    await feed.look()
    source.write(1, 2)
    source.write(2, 2, deleted=True)
    await feed.look()
    assert (index.version(1), index.version(2)) == (2, 2)
    assert +index.counts == {"episodic": 1}


async def test_a_late_commit_is_not_skipped(source, index, feed):
    """Regression: "above the last number I saw" misses a transaction that was slow to commit."""
    slow = source.begin(1, 1)
    for seq in range(2, 10):
        source.write(seq, 1)
        await feed.look()
    assert index.version(1) == 0
    source.commit(slow)
    await feed.look()
    assert index.version(1) == 1


async def test_what_commits_while_a_page_is_loaded_is_not_skipped(source, index, feed, clock):
    slow = source.begin(1, 1)
    await feed.load()
    source.commit(slow)
    await feed.look()
    assert index.version(1) == 1


async def test_rows_that_were_seen_are_not_read_again(source, feed):
    running = source.begin(50, 1)  # keeps the horizon where it is
    source.write(1, 1)
    await feed.look()
    asked = []
    original = source.entries

    async def entries(seqs):
        asked.extend(seqs)
        return await original(seqs)

    source.entries = entries
    source.write(2, 1)
    await feed.look()
    assert asked == [2]
    source.commit(running)


async def test_the_horizon_moves_on_when_nothing_runs(source, feed):
    for seq in range(1, 4):
        source.write(seq, 1)
        await feed.look()
    await feed.look()
    assert source.looks == [100, 101, 102, 103]


class TestTokens:
    async def test_a_token_of_another_process_is_looked_for(self, source, index, feed):
        token = source.write(1, 1)
        await feed.wait_for(token)
        assert index.version(1) == 1
        assert len(source.looks) == 1

    async def test_a_token_that_was_seen_costs_nothing(self, source, feed):
        token = source.write(1, 1)
        await feed.look()
        source.begin(9, 1)
        await feed.wait_for(token)
        assert len(source.looks) == 1

    async def test_a_write_of_this_process_is_seen_at_once(self, source, index, feed):
        token = source.write(1, 1)
        feed.applied(decode_token(token), [source.rows[1][1]])
        assert source.looks == []
        assert index.version(1) == 1

    async def test_the_token_of_a_write_stands_for_earlier_writes_to_other_processes(self, source, index, feed):
        source.write(1, 1)
        token = source.write(2, 1)
        feed.applied(decode_token(token), [source.rows[2][1]])
        await feed.wait_for(token)
        assert [index.version(seq) for seq in (1, 2)] == [1, 1]

    async def test_the_token_of_a_recall_means_all_that_it_saw(self, source, index, clock, feed):
        source.begin(9, 1)
        for seq in (1, 2):
            transaction = decode_token(source.write(seq, 1))
        feed.applied(transaction, [source.rows[2][1]])
        other_index = Slab(2)
        other = ChangeFeed(source, other_index, consistency_timeout=1, reload_after=100, clock=clock)
        await other.load()
        source.write(3, 1)
        await feed.look()
        token = feed.token
        await other.wait_for(token)
        assert [other_index.version(seq) for seq in (1, 2, 3)] == [1, 1, 1]

    async def test_its_own_state_costs_nothing_once_the_horizon_has_passed(self, source, feed):
        source.write(1, 1)
        await feed.look()
        looks = len(source.looks)
        await feed.wait_for(feed.token)
        assert len(source.looks) == looks

    async def test_a_database_that_does_not_answer_is_waited_for_only_so_long(self, source, feed):
        source.before_answering = asyncio.Event().wait
        with pytest.raises(Unavailable, match="not caught up"):
            await feed.wait_for(source.write(1, 1))

    async def test_what_is_no_token_is_refused(self, feed):
        with pytest.raises(Rejected):
            await feed.wait_for("yesterday")


class TestConcurrentLooks:
    async def test_callers_share_the_next_look_and_never_one_that_already_runs(self, source, index, feed):
        """A look that began before the write cannot promise to have seen it."""
        gate = asyncio.Event()
        source.before_answering = gate.wait
        first = asyncio.create_task(feed.look())
        await asyncio.sleep(0)
        assert len(source.looks) == 1
        token = source.write(1, 1)
        waiting = [asyncio.create_task(feed.wait_for(token)) for _ in range(5)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *waiting)
        assert index.version(1) == 1
        assert len(source.looks) == 2

    async def test_a_look_that_failed_is_joined_by_nobody(self, source, index, feed):
        gate, answers = asyncio.Event(), iter([False, True, True, True])

        async def fail_first():
            await gate.wait()
            if not next(answers):
                raise Unavailable("the connection was lost")

        source.before_answering = fail_first
        running = asyncio.create_task(feed.look())
        await asyncio.sleep(0)
        token = source.write(1, 1)
        waiting = [asyncio.create_task(feed.wait_for(token)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        results = await asyncio.gather(running, *waiting, return_exceptions=True)
        assert isinstance(results[0], Unavailable)
        assert results[1:] == [None, None, None]
        assert index.version(1) == 1

    async def test_the_first_of_the_waiting_fails_and_the_second_looks_itself(self, source, index, feed):
        calls = []

        async def fail_once():
            calls.append(1)
            await asyncio.sleep(0)
            if len(calls) == 1:
                raise Unavailable("the connection was lost")

        source.before_answering = fail_once
        token = source.write(1, 1)
        results = await asyncio.gather(*(feed.wait_for(token) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable, type(None), type(None)]
        assert index.version(1) == 1
        assert len(calls) == 2


class TestSilence:
    async def test_it_grows_until_the_next_look_that_worked(self, source, feed, clock):
        clock.now = 7.0
        assert feed.silence == 7.0

        async def fail():
            raise Unavailable("down")

        source.before_answering = fail
        with pytest.raises(Unavailable):
            await feed.look()
        assert feed.silence == 7.0
        source.before_answering = None
        await feed.look()
        assert feed.silence == 0.0

    async def test_after_a_long_one_everything_is_loaded_again(self, source, index, feed, clock):
        """Tombstones are dropped after their retention: whoever was away for longer may have missed one."""
        source.write(1, 1)
        source.write(2, 1)
        await feed.look()
        source.write(1, 2, deleted=True)
        del source.rows[1]  # the tombstone has expired
        clock.now = 101.0
        await feed.look()
        assert source.loads == 2
        assert +index.counts == {"episodic": 1}

    async def test_a_load_that_breaks_off_is_begun_again(self, source, index, feed, clock):
        source.write(1, 1)
        original, clock.now = source.all_entries, 101.0

        async def broken(page):
            raise Unavailable("down")
            yield []

        source.all_entries = broken
        with pytest.raises(Unavailable):
            await feed.look()
        assert not feed.loaded
        source.all_entries = original
        await feed.look()
        assert feed.loaded
        assert index.version(1) == 1
