"""The LIST sweep: what no watch told of is found, at the start, when it is asked for, and now and again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fake_kube import FakeKube
from tenants import workload
from virtual_time import in_virtual_time

from memory_contracts.errors import Unavailable
from memory_operator.controller.schedule import Priority
from memory_operator.handlers import WATCHED
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.kinds import MEMORY_NAMESPACE, SECRET, SERVICE
from memory_operator.shell.sweep import INTERVAL_SECONDS, RETRY_SECONDS, SETTLE_SECONDS, SPREAD, Sweep
from memory_operator.specs.labels import WATCH_LABEL

TENANTS = [Key("MemoryNamespace", "team-a", name) for name in ("one", "three", "two")]


class Room:
    """A sweep over a cluster in memory; `keys` is what it put on the queue, with the time."""

    def __init__(self, chance: float = 0.5) -> None:
        self.kube, self.cache = FakeKube(), Cache()
        self.keys: list[tuple[Key, Priority]] = []
        self.sweep = Sweep(self.kube, self.cache, self.add, lambda: chance)
        for key in TENANTS:
            self.kube.put(MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": key.name}, "spec": {}})

    def add(self, key: Key, priority: Priority) -> None:
        self.keys.append((key, priority))

    @property
    def sweeps(self) -> int:
        return self.kube.reads.count(f"list {WATCHED[-1].kind}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep, after the cache has been filled."""
        await self.sweep.fill()
        self.keys.clear()
        self.kube.reads.clear()
        task = asyncio.create_task(self.sweep.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))


@in_virtual_time
async def test_at_the_start_everything_is_taken_in_page_by_page():
    room = Room()
    labels = {WATCH_LABEL: "true"}
    room.kube.put(SECRET, {"metadata": {"namespace": "team-a", "name": "theirs", "labels": labels}, "data": {}})
    room.kube.put(SECRET, {"metadata": {"namespace": "team-a", "name": "unlabelled"}, "data": {"a": "Yg=="}})
    room.kube.put(SERVICE, workload().service)

    await room.sweep.fill()

    assert {key for key, _ in room.keys} >= set(TENANTS)
    assert {priority for _, priority in room.keys} == {Priority.START_UP}
    assert all(room.cache.entry(key) for key in TENANTS)
    assert room.cache.children(Key("MemoryNamespace", "team-a", "research"))
    assert room.cache.secret("team-a", "theirs")
    assert room.cache.secret("team-a", "unlabelled") is None


@in_virtual_time
async def test_without_an_answer_at_the_start_nothing_is_taken_for_known():
    room = Room()
    room.kube.failure = Unavailable("the API server does not answer")

    with pytest.raises(Unavailable):
        await room.sweep.fill()


@in_virtual_time
async def test_a_sweep_that_finds_nothing_new_wakes_nobody():
    room = Room()
    async with room.running():
        room.sweep.request()
        await asyncio.sleep(SETTLE_SECONDS + 1)

    assert (room.sweeps, room.keys) == (1, [])


@in_virtual_time
async def test_a_deletion_that_no_watch_told_of_is_found():
    room = Room()
    async with room.running():
        room.kube.remove(MEMORY_NAMESPACE, "team-a", "two")
        room.sweep.request()
        await asyncio.sleep(SETTLE_SECONDS + 1)

    assert room.keys == [(TENANTS[2], Priority.DRIFT)]
    assert room.cache.entry(TENANTS[2]) is None


@in_virtual_time
async def test_what_was_made_and_changed_meanwhile_is_found():
    room = Room()
    async with room.running():
        room.kube.put(MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": "new"}, "spec": {}})
        room.kube.put(
            MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": "one"}, "spec": {"state": "Fenced"}}
        )
        room.sweep.request()
        await asyncio.sleep(SETTLE_SECONDS + 1)

    assert {key.name for key, _ in room.keys} == {"new", "one"}


@in_virtual_time
async def test_an_object_that_the_watch_tells_of_during_the_listing_is_no_ghost():
    room = Room()
    async with room.running():
        listed = room.kube.pages

        async def pages(kind, *, selector=""):
            async for page in listed(kind, selector=selector):
                yield page
            if kind is MEMORY_NAMESPACE:
                late = room.kube.put(kind, {"metadata": {"namespace": "team-a", "name": "late"}, "spec": {}})
                room.cache.see(kind, late)

        room.kube.pages = pages
        room.sweep.request()
        await asyncio.sleep(SETTLE_SECONDS + 1)

        assert room.cache.entry(Key("MemoryNamespace", "team-a", "late"))


@in_virtual_time
async def test_many_requests_at_once_are_one_sweep():
    """When one watch has begun anew, all of them usually have."""
    room = Room()
    async with room.running():
        for _ in range(10):
            room.sweep.request()
            await asyncio.sleep(SETTLE_SECONDS / 20)
        await asyncio.sleep(60)

        assert room.sweeps == 1


@in_virtual_time
async def test_a_request_during_a_sweep_is_answered_by_another():
    room = Room()
    async with room.running():
        room.sweep.request()
        await asyncio.sleep(SETTLE_SECONDS + 1)
        room.sweep.request()
        await asyncio.sleep(SETTLE_SECONDS + 1)

        assert room.sweeps == 2


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_it_sweeps_now_and_again_and_replicas_do_not_march_in_step(chance):
    @in_virtual_time
    async def check() -> None:
        room = Room(chance)
        async with room.running():
            due = INTERVAL_SECONDS * (1 - SPREAD + 2 * SPREAD * chance)
            await asyncio.sleep(due - 1)
            assert room.sweeps == 0
            await asyncio.sleep(2)
            assert room.sweeps == 1
            await asyncio.sleep(due)
            assert room.sweeps == 2

    check()


@pytest.mark.parametrize("failure", [Unavailable("down"), ZeroDivisionError("a mistake")], ids=["no answer", "mistake"])
def test_a_sweep_that_fails_is_made_again_soon_and_is_not_the_last(failure, caplog):
    @in_virtual_time
    async def check() -> None:
        room = Room()
        async with room.running():
            room.kube.failure = failure
            room.sweep.request()
            await asyncio.sleep(SETTLE_SECONDS + 60)
            room.kube.failure = None
            room.kube.remove(MEMORY_NAMESPACE, "team-a", "two")
            await asyncio.sleep(RETRY_SECONDS + SETTLE_SECONDS + 0.1)

        assert room.keys == [(TENANTS[2], Priority.DRIFT)]

    check()
    assert {each.levelname for each in caplog.records} == {"WARNING" if isinstance(failure, Unavailable) else "ERROR"}
