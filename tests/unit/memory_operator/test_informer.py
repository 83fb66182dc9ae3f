"""Who stands by knows the cluster, and who begins to lead looks at all of it."""

import asyncio
from typing import Any

import pytest
from fake_kube import FakeKube

from memory_contracts.errors import Unavailable
from memory_operator.controller.schedule import Priority
from memory_operator.controller.watchdog import Watchdog
from memory_operator.controller.work_queue import WorkQueue
from memory_operator.keys import Key
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE
from memory_operator.shell import informer
from memory_operator.shell.echo import WatchEcho
from memory_operator.shell.informer import Informer

CLUSTER, TENANT = Key("MemoryCluster", "team-a", "default"), Key("MemoryNamespace", "team-a", "research")
GONE = Key("MemoryNamespace", "team-a", "gone")


class Silence:
    """Watches that see nothing; they need a server."""

    def __init__(self, *_: Any) -> None:
        self.watching = False

    def start(self) -> None:
        self.watching = True

    async def stop(self) -> None:
        self.watching = False


@pytest.fixture
def kube(monkeypatch) -> FakeKube:
    monkeypatch.setattr(informer, "Watches", Silence)
    kube = FakeKube()
    kube.put(MEMORY_CLUSTER, {"metadata": {"namespace": "team-a", "name": "default"}, "spec": {}})
    kube.put(MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": "research"}, "spec": {}})
    return kube


def informer_of(kube: FakeKube, failures: list[str]) -> Informer:
    watchdog = Watchdog()
    return Informer(kube, WatchEcho(watchdog), watchdog, failures.append)  # type: ignore[arg-type]


async def taken(queue: WorkQueue[Key]) -> list[Key]:
    found = [await queue.get() for _ in range(len(queue))]
    for key in found:
        queue.done(key)
    return found


async def test_who_begins_to_lead_looks_at_all_there_is_and_then_at_what_changes(kube):
    async with informer_of(kube, []) as known:
        queue: WorkQueue[Key] = WorkQueue()
        known.add(TENANT, Priority.USER_EDIT)  # while somebody else leads

        assert await known.feed(queue)
        assert await taken(queue) == [CLUSTER, TENANT]

        known.add(TENANT, Priority.USER_EDIT)
        assert await taken(queue) == [TENANT]


async def test_what_was_asked_for_while_nobody_led_goes_first(kube):
    def put(name: str, status: dict[str, Any], **metadata: Any) -> None:
        kube.put(
            MEMORY_NAMESPACE,
            {"metadata": {"namespace": "team-a", "name": name, **metadata}, "spec": {}, "status": status},
        )

    put("as-it-was", {"observedGeneration": 1})
    put("edited", {"observedGeneration": 0})
    put("going", {"observedGeneration": 1}, deletionTimestamp="2026-11-01T12:00:00Z", finalizers=["somebody/else"])
    async with informer_of(kube, []) as known:
        queue: WorkQueue[Key] = WorkQueue()
        await known.feed(queue)

        assert [key.name for key in await taken(queue)] == ["edited", "going", "default", "research", "as-it-was"]


async def test_what_vanished_in_the_term_of_another_is_not_dealt_with_again(kube):
    async with informer_of(kube, []) as known:
        finalizers = {"finalizers": ["memory.somafractal.io/backends"]}
        gone = kube.put(
            MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": "gone", **finalizers}, "spec": {}}
        )
        known.vanished.note(gone)
        assert known.vanished.get(GONE)

        await known.feed(WorkQueue())

        assert known.vanished.get(GONE) is None


async def test_an_api_server_that_does_not_answer_at_first_is_waited_for(kube, monkeypatch):
    monkeypatch.setattr("memory_operator.shell.patience.RETRY_SECONDS", 0.01)
    kube.failure = Unavailable("no answer")
    async with informer_of(kube, []) as known:
        feeding = asyncio.create_task(known.feed(WorkQueue()))
        await asyncio.sleep(0.05)
        assert not feeding.done()

        kube.failure = None
        assert await feeding


async def test_a_view_that_cannot_be_kept_is_told(kube):
    failures: list[str] = []
    kube.failure = RuntimeError("a fault of this program")
    async with informer_of(kube, failures):
        await asyncio.sleep(0.01)

        assert failures == ["its view of the cluster cannot be kept"]
