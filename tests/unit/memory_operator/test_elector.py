"""Leader election with a Lease in memory and in virtual time; on a real API server in the integration suite."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polling import until
from virtual_time import in_virtual_time, virtual_now

from memory_contracts.errors import Conflict, NotFound, Unavailable
from memory_operator.controller.elector import Elector
from memory_operator.controller.lease import LeaseRecord, LeaseTimes, Sighting, StoredLease, sight

TIMES = LeaseTimes()


@dataclass
class Server:
    """One Lease with optimistic concurrency."""

    lease: StoredLease | None = None
    version: int = 0

    def store(self, record: LeaseRecord) -> StoredLease:
        self.version += 1
        self.lease = StoredLease(record, {"resourceVersion": str(self.version)})
        return self.lease

    @property
    def record(self) -> LeaseRecord:
        assert self.lease
        return self.lease.record


@dataclass
class Link:
    """One replica's way to the server.

    It is up; or refuses; or hangs, and what was asked is done when it is up again, also when nobody waits for it any
    more; or is forgetful: what was asked is done, and no answer comes.
    """

    server: Server
    state: str = "up"
    delay: Callable[[], float] = lambda: 0.001
    writes: int = 0
    reads: int = 0

    async def get(self) -> StoredLease | None:
        self.reads += 1
        return await self._ask(lambda: self.server.lease)

    async def create(self, record: LeaseRecord) -> StoredLease:
        def create() -> StoredLease:
            if self.server.lease:
                raise Conflict("the lease exists already")
            return self._store(record)

        return await self._ask(create)

    async def replace(self, stored: StoredLease, record: LeaseRecord) -> StoredLease:
        def replace() -> StoredLease:
            if not self.server.lease:
                raise NotFound("the lease is not found")
            if stored.metadata != self.server.lease.metadata:
                raise Conflict("the lease has been modified")
            return self._store(record)

        return await self._ask(replace)

    def _store(self, record: LeaseRecord) -> StoredLease:
        self.writes += 1
        return self.server.store(record)

    async def _ask(self, deed: Callable[[], Any]) -> Any:
        return await asyncio.shield(asyncio.ensure_future(self._serve(deed)))

    async def _serve(self, deed: Callable[[], Any]) -> Any:
        await asyncio.sleep(self.delay())
        if self.state == "refusing":
            raise Unavailable("connection refused")
        await until(lambda: self.state != "hanging", every=0.05)
        answer = deed()
        await asyncio.sleep(self.delay())
        if self.state == "forgetful":
            await asyncio.sleep(3600)
        return answer


@dataclass
class Replica:
    """A process that stands for election; its clock is its own."""

    server: Server
    name: str
    rate: float = 1.0
    skew: float = 0.0
    chance: Callable[[], float] = lambda: 0.5
    lost: int = 0
    link: Link = field(init=False)
    elector: Elector = field(init=False)

    def __post_init__(self) -> None:
        self.link = Link(self.server)
        self.elector = Elector(
            self.link, self.name, on_lost=self._on_lost, now=self.now, utc_now=self._utc_now, chance=self.chance
        )

    def now(self) -> float:
        return self.skew + self.rate * virtual_now()

    def _utc_now(self) -> datetime:
        return datetime.fromtimestamp(1e9 + self.now(), UTC)

    def _on_lost(self) -> None:
        assert not self.elector.is_leader
        self.lost += 1


@contextlib.asynccontextmanager
async def standing(*replicas: Replica):
    """All of them stand for election, the first leads."""
    async with contextlib.AsyncExitStack() as stack:
        for each in replicas:
            await stack.enter_async_context(each.elector)
            await asyncio.sleep(0.1)
        yield


async def leaves(replica: Replica) -> None:
    """What leaving the elector's block does, in the middle of a test."""
    await replica.elector.__aexit__(None, None, None)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def one(server: Server) -> Replica:
    return Replica(server, "one")


@pytest.fixture
def two(server: Server) -> Replica:
    return Replica(server, "two")


@in_virtual_time
async def test_the_first_replica_creates_the_lease_and_leads(server, one):
    assert not one.elector.is_leader

    async with one.elector:
        assert await one.elector.elected() == one.elector.epoch == 1
        assert one.elector.is_leader
        assert one.elector.leader == "one"

    assert server.record.transitions == 1


@in_virtual_time
async def test_the_leader_renews_with_one_write_a_period_and_reads_nothing(server, one):
    async with standing(one):
        acquired, reads, writes = server.record.acquire_time, one.link.reads, one.link.writes
        await asyncio.sleep(60)

        assert one.link.reads == reads
        assert 30 <= one.link.writes - writes <= 40
        assert server.record.acquire_time == acquired < server.record.renew_time
        assert server.record.transitions == one.elector.epoch == 1


@in_virtual_time
async def test_a_clean_exit_hands_over_within_a_retry_period(server, one, two):
    async with standing(two, one):
        await asyncio.sleep(60)
        assert not one.elector.is_leader
        assert one.elector.leader == "two"

        await leaves(two)
        left = virtual_now()

        assert server.record.holder == ""
        assert not two.elector.is_leader
        assert await one.elector.elected() == 2
        assert virtual_now() - left <= TIMES.retry_period + 0.1
        assert two.lost == 0


@in_virtual_time
async def test_the_lease_is_renewed_until_the_work_has_wound_up(server, one, two):
    async with standing(two):
        async with one.elector:
            await leaves(two)
            await one.elector.elected()
            await asyncio.sleep(300)  # winding up takes long
            assert one.elector.is_leader
            assert server.record.holder == "one"
        assert server.record.holder == ""


@in_virtual_time
async def test_a_replica_that_died_is_followed_when_its_lease_expires(server, one, two):
    async with standing(one, two):
        await asyncio.sleep(60)
        one.elector._campaign.cancel()  # as SIGKILL does: no release
        died = virtual_now()

        assert await two.elector.elected() == 2
        assert TIMES.lease_duration - TIMES.retry_period <= virtual_now() - died <= TIMES.lease_duration + 0.1


@in_virtual_time
async def test_clocks_that_differ_by_hours_change_nothing(server):
    past, future = Replica(server, "past", skew=-90_000.0), Replica(server, "future", skew=90_000.0)

    async with standing(past, future):
        await asyncio.sleep(120)
        assert past.elector.is_leader
        assert not future.elector.is_leader


@pytest.mark.parametrize(("state", "seconds"), [("refusing", 9.0), ("hanging", 9.0), ("forgetful", 5.0)])
@in_virtual_time
async def test_an_outage_shorter_than_the_renew_deadline_is_survived(server, one, two, state, seconds):
    async with standing(one, two):
        await asyncio.sleep(60)
        for _ in range(20):
            one.link.state = two.link.state = state
            await asyncio.sleep(seconds)
            assert one.elector.is_leader
            one.link.state = two.link.state = "up"
            await asyncio.sleep(7.1)
            assert one.elector.is_leader
        assert one.lost == 0
        assert one.elector.epoch == 1


@pytest.mark.parametrize("state", ["refusing", "hanging"])
@in_virtual_time
async def test_a_leader_that_cannot_renew_gives_up_once_and_before_anybody_else_begins(server, one, two, state):
    async with standing(one, two):
        await asyncio.sleep(60)
        one.link.state = state
        while one.elector.is_leader:
            assert not two.elector.is_leader
            await asyncio.sleep(0.01)
        gave_up = virtual_now()

        assert await two.elector.elected() == 2
        assert virtual_now() - gave_up >= 1.0
        one.link.state = "up"
        await asyncio.sleep(600)
        assert one.lost == 1
        assert not one.elector.is_leader
        assert two.elector.is_leader
        assert server.record.holder == "two"


@in_virtual_time
async def test_a_leader_that_was_frozen_knows_it_in_its_first_moment_and_writes_nothing(server, one, two):
    async with standing(one, two):
        await asyncio.sleep(60)
        writes = one.link.writes

        one.skew += 20.0  # its clock went on, none of its code did

        assert not one.elector.is_leader
        await asyncio.sleep(2.0)
        assert one.lost == 1
        assert one.link.writes == writes
    assert one.link.writes == writes, "it released a lease that may be another's"


@in_virtual_time
async def test_a_write_whose_answer_comes_too_late_makes_no_leader(server, one):
    one.link.delay = lambda: 0.7
    async with one.elector:
        await asyncio.sleep(2.3)
        one.skew += 20.0  # between the write and its answer
        await asyncio.sleep(0.6)
        assert server.record.holder == "one"
        assert not one.elector.is_leader

        one.link.delay = lambda: 0.001
        assert await one.elector.elected() == 2


@in_virtual_time
async def test_a_lease_in_another_name_is_obeyed(server, one):
    async with standing(one):
        server.store(LeaseRecord("somebody-else", 15, "", "", 7))
        await asyncio.sleep(TIMES.retry_period * 2)

        assert one.lost == 1
        assert not one.elector.is_leader
        assert server.record.holder == "somebody-else"


@in_virtual_time
async def test_somebody_who_touches_the_lease_does_not_end_the_term(server, one):
    async with standing(one):
        for _ in range(10):
            server.store(server.record)  # e.g. a label was added
            await asyncio.sleep(5)
        assert one.elector.is_leader
        assert one.lost == 0


@in_virtual_time
async def test_a_lease_deleted_under_its_leader_is_made_again_with_the_same_epoch(server, one, two):
    async with standing(one, two):
        await leaves(one)
        assert await two.elector.elected() == 2

        server.lease = None
        await asyncio.sleep(10)

        assert two.elector.is_leader
        assert (server.record.holder, server.record.transitions) == ("two", 2)


@in_virtual_time
async def test_a_candidate_that_saw_an_epoch_begins_with_a_greater_one_though_the_lease_is_new(server, one, two):
    server.store(LeaseRecord("gone", 15, "", "", 41))
    async with standing(one):
        await asyncio.sleep(5)
        server.lease = None

        assert await one.elector.elected() == 42


@in_virtual_time
async def test_the_epoch_can_be_raised_above_what_a_store_remembers(server, one, two):
    async with standing(one, two):
        assert await one.elector.raise_epoch(above=40) == 41
        assert server.record.transitions == one.elector.epoch == 41
        assert await one.elector.raise_epoch(above=7) == 41
        await asyncio.sleep(30)
        await leaves(one)
        assert await two.elector.elected() == 42


@in_virtual_time
async def test_only_the_leader_can_raise_the_epoch(server, one, two):
    async with standing(one, two):
        with pytest.raises(Conflict):
            await two.elector.raise_epoch(above=40)
        one.link.state = "hanging"
        with pytest.raises(Unavailable, match="did not answer"):
            await one.elector.raise_epoch(above=40)
        assert server.record.transitions == 1


@in_virtual_time
async def test_a_lease_released_by_an_elector_of_another_make_is_taken_at_once(server, one):
    server.store(LeaseRecord("", 1, "", "", 0))
    began = virtual_now()

    async with one.elector:
        assert await one.elector.elected() == 1
        assert virtual_now() - began < 0.1


@in_virtual_time
async def test_the_time_that_counts_is_the_one_the_holder_has_written(server, one):
    server.store(LeaseRecord("patient", 60, "", "", 3))
    began = virtual_now()

    async with one.elector:
        assert await one.elector.elected() == 4
        assert virtual_now() - began == pytest.approx(60, abs=0.1)


@in_virtual_time
async def test_a_release_that_fails_delays_no_exit(server, one):
    async with one.elector:
        await one.elector.elected()
        one.link.state = "hanging"
        began = virtual_now()
    assert virtual_now() - began <= TIMES.attempt_limit + 0.1
    assert not one.elector.is_leader


@in_virtual_time
async def test_a_release_finds_the_lease_though_the_last_write_was_cut_off(server, one):
    async with one.elector:
        await one.elector.elected()
        one.link.state = "forgetful"
        await asyncio.sleep(TIMES.retry_period)
        assert one.elector._held is None
        one.link.state = "up"
    assert server.record.holder == ""


@in_virtual_time
async def test_an_outage_is_logged_once(server, one, caplog):
    async with standing(one):
        one.link.state = "refusing"
        await asyncio.sleep(8)
        assert [each.message for each in caplog.records if each.levelname == "WARNING"] == ["connection refused"]


@in_virtual_time
async def test_a_fault_of_the_api_port_ends_the_term_and_is_not_silent(server, one, caplog):
    async with standing(one):
        one.link.delay = lambda: 1 / 0
        await asyncio.sleep(5)
        assert one.lost == 1
        assert not one.elector.is_leader
        assert "ZeroDivisionError" in caplog.text
        one.link.delay = lambda: 0.001


@in_virtual_time
async def test_a_fault_before_the_election_reaches_who_waits_for_it(server, one):
    one.link.delay = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        async with one.elector:
            await one.elector.elected()


def test_an_identity_is_needed(server):
    with pytest.raises(ValueError, match="identity"):
        Elector(Link(server), "", on_lost=print)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"lease_duration": 12}, "must outlast"),
        ({"renew_deadline": 4.0}, "room for two retries"),
        ({"retry_period": 0.0}, "room for two retries"),
    ],
)
def test_times_that_could_make_two_leaders_are_refused(times, words):
    with pytest.raises(ValueError, match=words):
        LeaseTimes(**times)


def test_a_sighting_counts_from_the_last_change_and_by_the_holders_duration():
    record = LeaseRecord("one", 15, "", "12:00", 1)

    seen = sight(sight(None, record, 100.0), record, 110.0)

    assert seen == Sighting(record, 100.0)
    assert seen.free_in(110.0) == 5.0
    renewed = LeaseRecord("one", 15, "", "12:01", 1)
    assert sight(seen, renewed, 112.0).free_in(112.0) == 15.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), replicas=st.integers(2, 4))
@in_virtual_time
async def test_whatever_fails_there_are_never_two_leaders_and_epochs_grow(seed, replicas):
    """Clocks up to 5 % fast or slow, slow and lost answers, outages, freezes, exits and deaths."""
    chance, server = random.Random(seed), Server()
    epochs: list[tuple[int, str]] = []
    started = 0

    def another() -> Replica:
        nonlocal started
        started += 1
        rate, skew = chance.uniform(0.95, 1.05), chance.uniform(-1e5, 1e5)
        new = Replica(server, f"replica-{started}", rate=rate, skew=skew, chance=chance.random)
        new.link.delay = lambda: chance.choice([0.001, 0.01, 0.5])
        return new

    async def check(seconds: float) -> None:
        end = virtual_now() + seconds
        while virtual_now() < end:
            leaders = [each for each in standing if each.elector.is_leader]
            assert len(leaders) <= 1, f"two leaders: {leaders}"
            for each in leaders:
                if not epochs or epochs[-1][1] != each.name:
                    assert not epochs or each.elector.epoch > epochs[-1][0]
                    epochs.append((each.elector.epoch, each.name))
            await asyncio.sleep(0.05)

    standing = [another() for _ in range(replicas)]
    for each in standing:
        await each.elector.__aenter__()
    for _ in range(25):
        victim = chance.choice(standing)
        match chance.choice(["outage", "outage", "freeze", "exit", "death", "calm"]):
            case "outage":
                for each in chance.sample(standing, chance.randint(1, replicas)):
                    each.link.state = chance.choice(["refusing", "hanging", "forgetful"])
            case "freeze" if victim.elector.is_leader:
                # Its clock has gone on. (A candidate that wakes reads the lease before it compares anything.)
                victim.skew += chance.choice([1.0, 11.0, 16.0, 60.0])
            case "exit":
                await victim.elector.__aexit__(None, None, None)
            case "death":
                victim.elector._campaign.cancel()
        await check(chance.choice([0.5, 5.0, 14.0, 30.0]))
        for each in standing:
            each.link.state = "up"
        for each in [each for each in standing if each.elector._campaign.done()]:
            with contextlib.suppress(asyncio.CancelledError):
                await each.elector._campaign
            standing[standing.index(each)] = fresh = another()
            await fresh.elector.__aenter__()
    # A dead leader's lease runs out, and somebody leads again.
    await until(lambda: any(each.elector.is_leader for each in standing), seconds=60)
    await check(1.0)
    for each in standing:
        await each.elector.__aexit__(None, None, None)
