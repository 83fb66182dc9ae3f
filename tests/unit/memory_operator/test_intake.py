"""From what the watches see to keys on the queue: how urgent it is, and when a watch has begun anew."""

import asyncio
import threading
from typing import Any

import pytest
from tenants import workload

from memory_operator.controller.metrics import REGISTRY
from memory_operator.controller.schedule import Priority
from memory_operator.controller.watchdog import Watchdog
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.in_flight import InFlight
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE, NAMESPACE, SECRET, SERVICE
from memory_operator.kube.resources import FINALIZER
from memory_operator.shell.echo import ECHO_SECONDS, WatchEcho
from memory_operator.shell.intake import WITNESSES, Intake
from memory_operator.shell.vanished import Vanished

TENANT = Key("MemoryNamespace", "team-a", "research")


class Inbox:
    """An intake whose queue is a list."""

    def __init__(self) -> None:
        self.keys: list[tuple[Key, Priority]] = []
        self.relistings = 0
        self.seconds = 0.0
        self.cache, self.vanished = Cache(), Vanished()
        self.watchdog = Watchdog(lambda: self.seconds)
        self.echo = WatchEcho(self.watchdog)
        self.in_flight = InFlight()
        self.intake = Intake(
            self.cache, self.add, self.echo, self.vanished, in_flight=self.in_flight, on_relisted=self._relisted
        )

    def add(self, key: Key, priority: Priority) -> None:
        self.keys.append((key, priority))

    def _relisted(self) -> None:
        self.relistings += 1

    async def told(self, kind, event: str | None, body: dict[str, Any]) -> list[tuple[Key, Priority]]:
        """What is put on the queue by this event."""
        self.keys.clear()
        self.intake.deliver(kind, event, body)
        await asyncio.sleep(0)
        return list(self.keys)


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


def tenant(version: int = 1, *, name: str = "research", uid: str = "first", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "team-a",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "generation": version,
            "creationTimestamp": "2026-11-01T12:00:00Z",
            **metadata,
        },
        "spec": {"api": {"auth": {"tokenSecretRef": {"name": "theirs"}}}},
    }


def service(version: int = 1, *, uid: str = "s") -> dict[str, Any]:
    manifest = workload().service
    manifest["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
    return manifest


def secret(version: int = 1) -> dict[str, Any]:
    labels = {"memory.somafractal.io/watch": "true"}
    metadata = {"namespace": "team-a", "name": "theirs", "uid": "t", "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "data": {"version": str(version)}}


# --- how urgent -------------------------------------------------------------------------------------------------------


async def test_an_edit_is_the_most_urgent_and_what_was_there_at_the_start_the_least(inbox):
    assert await inbox.told(MEMORY_NAMESPACE, None, tenant(1)) == [(TENANT, Priority.START_UP)]
    assert await inbox.told(MEMORY_NAMESPACE, "MODIFIED", tenant(2)) == [(TENANT, Priority.USER_EDIT)]


async def test_a_new_object_waits_for_those_that_are_edited(inbox):
    cluster = tenant(1, name="default")

    assert await inbox.told(MEMORY_CLUSTER, "ADDED", cluster) == [
        (Key("MemoryCluster", "team-a", "default"), Priority.CREATION)
    ]


async def test_a_secret_is_more_urgent_than_a_child(inbox):
    await inbox.told(MEMORY_NAMESPACE, None, tenant(1))

    assert await inbox.told(SECRET, "ADDED", secret(2)) == [(TENANT, Priority.SECRET)]
    assert await inbox.told(SERVICE, "ADDED", service(3)) == [(TENANT, Priority.CHILD)]
    assert await inbox.told(SERVICE, "DELETED", service(4)) == [(TENANT, Priority.CHILD)]


async def test_the_labels_of_a_kubernetes_namespace_concern_who_is_in_it(inbox):
    await inbox.told(MEMORY_NAMESPACE, None, tenant(1))
    body = {"metadata": {"name": "team-a", "uid": "n", "resourceVersion": "2", "labels": {"team": "a"}}}

    assert await inbox.told(NAMESPACE, "ADDED", body) == [(TENANT, Priority.CHILD)]


async def test_what_is_no_news_is_put_on_no_queue(inbox):
    await inbox.told(MEMORY_NAMESPACE, None, tenant(1))

    assert await inbox.told(MEMORY_NAMESPACE, "MODIFIED", tenant(2, generation=1)) == []
    assert await inbox.told(MEMORY_NAMESPACE, "MODIFIED", tenant(1)) == []


async def test_the_echo_of_a_write_of_our_own_is_no_news_although_it_comes_before_the_answer(inbox):
    with inbox.in_flight.write(Key("Service", "team-a", "research-api")):
        assert await inbox.told(SERVICE, "ADDED", service(3)) == []
    inbox.cache.see(SERVICE, service(3))  # what the answer says
    await asyncio.sleep(0)

    assert inbox.keys == []


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "without an answer"])
async def test_what_another_wrote_meanwhile_is_news_as_soon_as_our_own_write_has_ended(inbox, answered):
    with inbox.in_flight.write(Key("Service", "team-a", "research-api")):
        assert await inbox.told(SERVICE, "ADDED", service(3)) == []
        assert await inbox.told(SERVICE, "DELETED", service(4)) == []
    if answered:
        inbox.cache.see(SERVICE, service(3))
    await asyncio.sleep(0)

    assert inbox.keys[-1] == (TENANT, Priority.CHILD)
    assert inbox.cache.child(TENANT, SERVICE, "research-api") is None


async def test_of_two_writes_to_one_object_the_last_to_end_counts(inbox):
    place = Key("Service", "team-a", "research-api")
    with inbox.in_flight.write(place):
        with inbox.in_flight.write(place):
            assert await inbox.told(SERVICE, "ADDED", service(3)) == []
        await asyncio.sleep(0)
        assert inbox.keys == []
    await asyncio.sleep(0)

    assert inbox.keys == [(TENANT, Priority.CHILD)]


async def test_a_write_holds_back_news_of_its_own_object_only(inbox):
    await inbox.told(MEMORY_NAMESPACE, None, tenant(1))
    with inbox.in_flight.write(Key("Service", "team-a", "research-api")):
        assert await inbox.told(MEMORY_NAMESPACE, "MODIFIED", tenant(2)) == [(TENANT, Priority.USER_EDIT)]


async def test_the_end_of_an_object_is_news(inbox):
    await inbox.told(MEMORY_NAMESPACE, None, tenant(1))

    assert await inbox.told(MEMORY_NAMESPACE, "DELETED", tenant(2)) == [(TENANT, Priority.USER_EDIT)]
    assert inbox.cache.entry(TENANT) is None


@pytest.mark.parametrize(
    ("metadata", "noted"),
    [
        ({"finalizers": [FINALIZER]}, True),
        ({}, False),
        ({"finalizers": [FINALIZER], "deletionTimestamp": "2026-11-01T12:00:00Z"}, False),
    ],
    ids=["held", "never held", "released"],
)
async def test_an_object_that_ended_although_we_held_it_is_noted(inbox, metadata, noted):
    await inbox.told(MEMORY_NAMESPACE, "DELETED", tenant(2, **metadata))

    assert (inbox.vanished.get(TENANT) is not None) is noted


async def test_events_may_come_from_another_thread(inbox):
    thread = threading.Thread(target=inbox.intake.deliver, args=(MEMORY_NAMESPACE, "ADDED", tenant(1)))
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)

    assert inbox.keys == [(TENANT, Priority.CREATION)]


async def test_every_event_is_an_echo(inbox):
    inbox.echo.wrote(SERVICE, 3)
    await inbox.told(SERVICE, "MODIFIED", service(3))
    inbox.seconds = ECHO_SECONDS + 1

    assert inbox.watchdog.problems() == []


# --- watches that begin anew ------------------------------------------------------------------------------------------


def restarts(kind) -> float:
    return REGISTRY.get_sample_value("memory_operator_watch_restarts_total", {"kind": kind.kind}) or 0


async def test_the_first_listing_is_not_a_new_beginning(inbox):
    for number in range(WITNESSES * 2):
        await inbox.told(MEMORY_NAMESPACE, None, tenant(number + 1, name=f"n{number}", uid=str(number)))
    await inbox.told(MEMORY_NAMESPACE, "MODIFIED", tenant(99, name="n0", uid="0"))
    await inbox.told(MEMORY_NAMESPACE, "ADDED", tenant(100, name="new", uid="new"))

    assert inbox.relistings == 0


async def test_a_second_listing_is_a_new_beginning_and_asks_for_one_sweep(inbox):
    before = restarts(SERVICE)
    for _ in range(2):
        for number in range(5):
            await inbox.told(SERVICE, None, service(number + 1, uid=str(number)))

    assert inbox.relistings == 1
    assert restarts(SERVICE) == before + 1


async def test_a_watch_that_had_nothing_to_tell_is_noticed_when_it_begins_anew(inbox):
    """Regression: only events made the next listing a new one, and a converged system has none."""
    await inbox.told(SERVICE, None, service(1))
    await inbox.told(SERVICE, None, service(1))

    assert inbox.relistings == 1


async def test_a_watch_that_began_with_nothing_is_noticed_by_what_came_since(inbox):
    await inbox.told(SERVICE, "ADDED", service(1))
    await inbox.told(SERVICE, None, service(2))

    assert inbox.relistings == 1


async def test_a_new_beginning_is_noticed_although_the_first_object_is_gone(inbox):
    for number in range(3):
        await inbox.told(SERVICE, None, service(number + 1, uid=str(number)))
    await inbox.told(SERVICE, "DELETED", service(9, uid="0"))
    for number in (1, 2):
        await inbox.told(SERVICE, None, service(number + 1, uid=str(number)))

    assert inbox.relistings == 1


async def test_what_is_gone_is_no_witness(inbox):
    for number in range(WITNESSES + 1):
        await inbox.told(SERVICE, "ADDED", service(number + 1, uid=f"gone-{number}"))
        await inbox.told(SERVICE, "DELETED", service(number + 1, uid=f"gone-{number}"))
    await inbox.told(SERVICE, "ADDED", service(90, uid="stays"))
    await inbox.told(SERVICE, None, service(90, uid="stays"))

    assert inbox.relistings == 1


async def test_each_new_beginning_counts(inbox):
    for _ in range(4):
        await inbox.told(SERVICE, None, service(1))

    assert inbox.relistings == 3


async def test_each_kind_has_a_watch_of_its_own(inbox):
    await inbox.told(SERVICE, None, service(1, uid="same"))
    await inbox.told(MEMORY_NAMESPACE, None, tenant(1, uid="same"))

    assert inbox.relistings == 0
