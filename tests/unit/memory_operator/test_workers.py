"""The workers: which pass a key calls for, what is written after it, and when it is looked at again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from fake_kube import FakeKube
from fake_world import KAFKA, NOW, FakeBackends, FakeWorld, down
from tenants import cluster as new_cluster
from virtual_time import in_virtual_time, virtual_now

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, Rejected, Unavailable
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.controller.schedule import Priority
from memory_operator.controller.work_queue import WorkQueue
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE, NAMESPACE, SECRET
from memory_operator.kube.resources import FINALIZER, ResourceWriter
from memory_operator.providers.shapes import Blocked
from memory_operator.shell.namespace_pass import COUNT_SECONDS, PAUSED_SECONDS, UNWATCHED_SECONDS
from memory_operator.shell.parts import Parts
from memory_operator.shell.vanished import Vanished
from memory_operator.shell.workers import Workers, lane_of, priority_of
from memory_operator.specs.labels import WATCH_LABEL

CLUSTER = Key("MemoryCluster", "memory-system", "default")
TOKEN = {"api": {"auth": {"tokenSecretRef": {"name": "theirs"}}}}
DELETE = {"deletion": {"policy": "Delete", "acknowledgeDataLoss": True}}
PLACE = {"metadata": {"namespace": "team-a", "name": "research"}}
INTERVAL = 30.0
HOUR = 3600.0


def key(name: str = "research") -> Key:
    return Key("MemoryNamespace", "team-a", name)


class Office(FakeWorld):
    """Workers over a cluster and backends in memory; `looks` is when each MemoryNamespace was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.kube, self.cache, self.vanished = FakeKube(), Cache(), Vanished()
        self.queue: WorkQueue[Key] = WorkQueue(now=virtual_now, chance=lambda: 0.0)
        self.looks: list[tuple[str, float]] = []
        self.cluster_looks: list[float] = []
        self.events: list[str] = []
        self.crashing: set[str] = set()
        self.drifting: set[str] = set()
        self.forgotten: list[str] = []
        self.closed: list[Key] = []
        self._began = virtual_now()
        resources = ResourceWriter(self.kube, self.cache, lambda key: self.queue.add(key, Priority.USER_EDIT))
        self.workers = Workers(Parts(self.cache, self.queue, self.world(), self, self, resources, self, self.vanished))

    # --- the parts that a worker is given -----------------------------------------------------------------------------

    def now(self) -> datetime:
        return NOW + timedelta(seconds=int(virtual_now() - self._began))

    async def check(self, namespace: MemoryNamespace, cluster: MemoryCluster) -> None:
        self.looks.append((namespace.metadata.name, virtual_now() - self._began))
        if namespace.metadata.name in self.crashing:
            raise ZeroDivisionError("a mistake")
        await super().check(namespace, cluster)

    def last(self, cluster: Key) -> FakeBackends | None:
        return self.backends if cluster == CLUSTER and cluster not in self.closed else None

    def forget(self, *what: Any) -> None:
        self.forgotten.append(str(what[-1]))

    def release(self, is_needed: Callable[[Key], bool]) -> None:
        self.closed.extend(each for each in (CLUSTER,) if not is_needed(each) and each not in self.closed)

    async def drifted(self, cluster: Key) -> set[str]:
        self.cluster_looks.append(virtual_now() - self._began)
        return self.drifting

    def record_transitions(self, regarding, before, after) -> None:
        self.events.extend(f"{regarding.name} {each.type} {each.status}" for each in after if each.type == "Ready")

    def record(self, event) -> None:
        self.events.append(event.note)

    # --- what people do -----------------------------------------------------------------------------------------------

    def apply(self, name: str = "research", **spec: Any) -> None:
        metadata = {"namespace": "team-a", "name": name}
        reference = {"clusterRef": {"name": "default", "namespace": "memory-system"}}
        self.put(MEMORY_NAMESPACE, {"metadata": metadata, "spec": {**reference, **spec}})

    def apply_cluster(self, **spec: Any) -> None:
        made = new_cluster(allowedNamespaces={"from": "All"}, **spec).model_dump(
            mode="json", by_alias=True, exclude_none=True
        )
        self.put(MEMORY_CLUSTER, {"metadata": {"namespace": "memory-system", "name": "default"}, "spec": made["spec"]})

    def put(self, kind, body: dict[str, Any]) -> None:
        found = self.kube.put(kind, body)
        for affected in self.cache.see(kind, found):
            self.queue.add(affected, Priority.USER_EDIT)

    def delete(self, name: str = "research") -> None:
        found = self.kube.remove(MEMORY_NAMESPACE, "team-a", name)
        gone = ("MemoryNamespace", "team-a", name) not in self.kube.objects
        for affected in (self.cache.lose if gone else self.cache.see)(MEMORY_NAMESPACE, found):
            self.queue.add(affected, Priority.USER_EDIT)

    def delete_cluster(self) -> None:
        body = self.kube.remove(MEMORY_CLUSTER, "memory-system", "default")
        for affected in self.cache.lose(MEMORY_CLUSTER, body):
            self.queue.add(affected, Priority.USER_EDIT)

    def vanish(self, name: str = "research", *, deleting: bool = False) -> None:
        """It goes in spite of our finalizer: the API server lost that, or while `deleting` somebody took it away."""
        if deleting:
            self.kube.remove(MEMORY_NAMESPACE, "team-a", name)
        place = ("MemoryNamespace", "team-a", name)
        self.kube.objects[place]["metadata"]["finalizers"] = []
        found = self.kube.remove(MEMORY_NAMESPACE, "team-a", name)
        found["metadata"]["finalizers"] = [] if deleting else [FINALIZER]
        self.vanished.note(found)
        for affected in self.cache.lose(MEMORY_NAMESPACE, found):
            self.queue.add(affected, Priority.USER_EDIT)

    # --- what there is ------------------------------------------------------------------------------------------------

    def object(self, name: str = "research") -> dict[str, Any] | None:
        return self.kube.objects.get(("MemoryNamespace", "team-a", name))

    def cluster_status(self) -> dict[str, Any]:
        return self.kube.objects["MemoryCluster", "memory-system", "default"]["status"]

    def condition(self, kind: str = "Ready", name: str = "research") -> tuple[str, str]:
        conditions = self.object(name)["status"]["conditions"]
        return next((each["status"], each["reason"]) for each in conditions if each["type"] == kind)

    def times(self, name: str = "research") -> list[float]:
        return [round(when, 1) for who, when in self.looks if who == name]

    def told_stops(self) -> int:
        return self.told.count("stop")

    @asynccontextmanager
    async def working(self) -> AsyncIterator["Office"]:
        task = asyncio.create_task(self.workers.run())
        try:
            yield self
        finally:
            self.queue.shutdown()
            await asyncio.wait_for(task, 60)


def gaps(times: list[float]) -> list[float]:
    return [round(later - earlier, 1) for earlier, later in pairwise(times)]


@asynccontextmanager
async def an_office(*tenants: str, converged: bool = False, **cluster: Any) -> AsyncIterator[Office]:
    """An office with a MemoryCluster, and these tenants."""
    office = Office()
    async with office.working():
        office.apply_cluster(**{"resync": {"interval": f"{INTERVAL:g}s"}, **cluster})
        for name in tenants:
            office.apply(name)
        if converged:
            await asyncio.sleep(10)
            for log in (office.looks, office.cluster_looks, office.kube.writes, office.events):
                log.clear()
        yield office


# --- one pass ---------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_new_object_is_held_made_written_and_told_of():
    async with an_office("research") as office:
        await asyncio.sleep(1)

        assert office.object()["metadata"]["finalizers"] == [FINALIZER]
        assert office.condition() == ("True", "Available")
        assert office.object()["status"]["endpoint"] == "http://research-api.team-a.svc:9595"
        assert "research Ready True" in office.events
        assert office.servers["postgres"].holds == {"team-a/research"}


@in_virtual_time
async def test_nothing_is_made_outside_before_the_object_is_held():
    async with an_office() as office:
        await asyncio.sleep(1)
        office.kube.failure = Unavailable("the API server does not answer")
        office.apply("research")
        await asyncio.sleep(5)

        assert office.servers["postgres"].holds == set()


@in_virtual_time
async def test_what_is_converged_is_neither_written_nor_looked_at_for_an_hour():
    async with an_office("one", "two", converged=True) as office:
        await asyncio.sleep(HOUR)

        assert office.kube.writes == []
        assert office.looks == []
        assert len(office.cluster_looks) == HOUR // INTERVAL


# --- when to look again -----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_on_its_way_is_looked_at_the_more_rarely_the_longer_it_takes():
    async with an_office() as office:
        office.workloads.pods_answer = False
        office.apply()
        await asyncio.sleep(3600)
        pauses = gaps(office.times())[1:]
        assert pauses[:2] == [30.0, 30.0]
        assert pauses == sorted(pauses)
        assert pauses[-3:] == [300.0] * 3

        office.workloads.pods_answer = True
        await asyncio.sleep(301)
        assert office.condition() == ("True", "Available")


@pytest.mark.parametrize(
    "problem",
    [
        lambda office: setattr(office, "refusal", Rejected("no", reason=Reason.NAMESPACE_NOT_ALLOWED)),
        lambda office: setattr(office.servers["postgres"], "blocked", Blocked(Reason.FOREIGN_OBJECT, "theirs")),
        lambda office: setattr(
            office.servers["postgres"], "failure", Rejected("x", reason=Reason.AUTHENTICATION_FAILED)
        ),
    ],
    ids=["no consent", "a foreign schema", "a wrong password"],
)
def test_what_a_person_has_to_mend_is_looked_at_now_and_then(problem):
    @in_virtual_time
    async def check() -> None:
        async with an_office() as office:
            await asyncio.sleep(20)
            problem(office)
            office.apply()
            await asyncio.sleep(200)

            assert set(gaps(office.times())[1:]) == {45.0}

    check()


@in_virtual_time
async def test_what_does_not_answer_is_asked_again_with_growing_pauses_and_at_least_each_minute():
    async with an_office() as office:
        await asyncio.sleep(1)
        office.servers["postgres"].failure = down()
        office.apply()
        await asyncio.sleep(600)

        looks = office.times()
        assert max(gaps(looks)) <= 60
        assert sum(looks[0] <= each < looks[0] + 8 for each in looks) >= 4
        assert sum(300 <= each < 600 for each in looks) <= 12


@pytest.mark.parametrize("state", ["Fenced", "Hibernated"])
def test_what_rests_is_left_alone(state):
    @in_virtual_time
    async def check() -> None:
        async with an_office("research", converged=True) as office:
            office.apply(state=state)
            await asyncio.sleep(1)
            assert office.condition() == ("False", state)
            looks = len(office.looks)
            await asyncio.sleep(HOUR)

            assert len(office.looks) == looks

    check()


@pytest.mark.parametrize(("watched", "looks"), [(True, 0), (False, int(HOUR / UNWATCHED_SECONDS))])
def test_a_secret_that_no_watch_tells_of_is_read_now_and_then(watched, looks):
    @in_virtual_time
    async def check() -> None:
        async with an_office() as office:
            office.secrets.values["team-a", "theirs"] = {"token": "a-token-that-somebody-brought"}
            if watched:
                metadata = {"namespace": "team-a", "name": "theirs", "labels": {WATCH_LABEL: "true"}}
                office.put(SECRET, {"metadata": metadata, "data": {}})
            office.apply(**TOKEN)
            await asyncio.sleep(10)
            assert office.condition() == ("True", "Available")
            office.looks.clear()
            await asyncio.sleep(HOUR)

            assert len(office.looks) == pytest.approx(looks, abs=1)

    check()


@in_virtual_time
async def test_a_race_is_run_again_at_once_and_does_not_count_as_a_failure():
    async with an_office("research", converged=True) as office:
        apply, races = office.kube.apply, [Conflict("somebody was faster")] * 3

        async def racing(*arguments: Any, **named: Any) -> Any:
            if races:
                raise races.pop()
            return await apply(*arguments, **named)

        office.kube.apply = racing
        office.apply(state="ReadOnly")
        await asyncio.sleep(1)

        assert office.condition("APIAvailable") == ("True", "ReadOnly")
        assert gaps(office.times()) == [0.2, 0.2, 0.2]


@in_virtual_time
async def test_an_api_server_that_does_not_answer_is_asked_again_with_growing_pauses():
    async with an_office("research", converged=True) as office:
        office.kube.failure = Unavailable("the API server does not answer")
        office.put(
            MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": "research"}, "spec": {"state": "ReadOnly"}}
        )
        await asyncio.sleep(60)
        assert 4 <= len(office.looks) <= 10
        office.kube.failure = None
        await asyncio.sleep(60)

        assert office.condition("APIAvailable") == ("True", "ReadOnly")


# --- the last resort --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_pass_that_crashes_ends_no_worker_and_is_tried_again(caplog):
    names = [f"bad-{number}" for number in range(40)]
    async with an_office("good") as office:
        office.crashing = set(names)
        for name in names:
            office.apply(name)
        await asyncio.sleep(30)
        assert {name for name, _ in office.looks} == {"good", *names}
        office.apply("late")
        await asyncio.sleep(1)
        assert office.condition(name="late") == ("True", "Available")

        office.crashing = set()
        await asyncio.sleep(60)
        assert {office.condition(name=name) for name in names} == {("True", "Available")}
    assert {each.getMessage() for each in caplog.records if each.levelname == "ERROR"} == {"a pass failed"}


@in_virtual_time
async def test_what_was_begun_is_finished_when_the_queue_is_shut_down():
    office = Office()
    office.apply_cluster()
    working = asyncio.create_task(office.workers.run())
    await asyncio.sleep(1)
    begun = asyncio.Event()

    async def slow(cluster: MemoryCluster) -> Any:
        begun.set()
        await asyncio.sleep(5)
        return office.backends

    office.open = slow
    office.apply()
    await begun.wait()
    office.queue.shutdown()
    await working

    assert office.condition() == ("True", "Available")


# --- the cluster ------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_cluster_tells_how_many_use_it_soon_after_that_changes():
    async with an_office("one", "two") as office:
        await asyncio.sleep(COUNT_SECONDS + 0.5)
        assert office.cluster_status()["namespaces"] == {"total": 2, "ready": 2}

        office.apply("one", state="Hibernated")
        await asyncio.sleep(COUNT_SECONDS + 0.5)
        assert office.cluster_status()["namespaces"] == {"total": 2, "ready": 1}


@in_virtual_time
async def test_those_who_wait_for_a_cluster_are_looked_at_as_soon_as_it_is_there():
    office = Office()
    async with office.working():
        office.apply()
        await asyncio.sleep(1)
        assert office.condition() == ("False", "ClusterNotFound")

        office.apply_cluster()
        await asyncio.sleep(1)
        assert office.condition() == ("True", "Available")


@in_virtual_time
async def test_an_edit_of_the_cluster_reaches_all_who_use_it():
    async with an_office("one", "two", converged=True) as office:
        office.apply_cluster(kafka=KAFKA)
        await asyncio.sleep(1)

        assert {name for name, _ in office.looks} == {"one", "two"}
        assert office.servers["kafka"].holds == {"team-a/one", "team-a/two"}


@in_virtual_time
async def test_a_cluster_that_goes_is_told_by_all_who_use_it_and_nothing_is_torn_down():
    async with an_office("one", "two", converged=True) as office:
        office.delete_cluster()
        await asyncio.sleep(1)

        assert {office.condition(name=name) for name in ("one", "two")} == {("False", "ClusterNotFound")}
        assert office.servers["postgres"].holds == {"team-a/one", "team-a/two"}


@in_virtual_time
async def test_a_backend_that_goes_and_comes_back_is_told_by_all_who_use_it():
    async with an_office("one", "two", converged=True) as office:
        office.servers["postgres"].failure = down()
        await asyncio.sleep(INTERVAL + 1)
        assert {office.condition(name=name) for name in ("one", "two")} == {("Unknown", "BackendUnavailable")}

        office.servers["postgres"].failure = None
        await asyncio.sleep(2 * INTERVAL)
        assert {office.condition(name=name) for name in ("one", "two")} == {("True", "Available")}


@in_virtual_time
async def test_a_backend_that_was_back_only_for_a_moment_is_told_by_all_who_had_used_it():
    """Regression: the cluster had not noticed that it was back, so that it was gone again was no news."""
    async with an_office("one", "two", converged=True, resync={"interval": "10m"}) as office:
        office.servers["postgres"].failure = down()
        await asyncio.sleep(601)
        office.servers["postgres"].failure = None
        while {office.condition(name=name) for name in ("one", "two")} != {("True", "Available")}:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        office.servers["postgres"].failure = down()
        await asyncio.sleep(600)

        assert {office.condition(name=name) for name in ("one", "two")} == {("Unknown", "BackendUnavailable")}


@in_virtual_time
async def test_another_way_to_the_backends_reaches_all_who_use_them():
    """Regression: a renewed authority in a Secret did not reach the pods."""
    async with an_office("one", "two", converged=True) as office:
        former, office.backends = office.backends, FakeBackends(office.told)
        office.backends.servers, office.backends.claims = former.servers, former.claims
        await asyncio.sleep(INTERVAL + 1)

        assert {name for name, _ in office.looks} == {"one", "two"}
        office.looks.clear()
        await asyncio.sleep(HOUR)
        assert office.looks == []


@in_virtual_time
async def test_only_those_who_drifted_are_looked_at():
    async with an_office("one", "two", converged=True) as office:
        office.drifting = {"team-a/two", "team-b/stranger"}
        office.servers["postgres"].holds.discard("team-a/two")
        await asyncio.sleep(INTERVAL + 1)

        assert {name for name, _ in office.looks} == {"two"}
        assert office.servers["postgres"].holds == {"team-a/one", "team-a/two"}
        assert office.object("two")["status"]["drift"]["corrected"] == 1


@in_virtual_time
async def test_at_the_start_of_a_process_nobody_is_looked_at_twice():
    """All are in the queue then; the cluster has nothing new to tell them."""
    async with an_office("one", "two", converged=True) as office:
        office.workers._clusters._seen.clear()  # as in a new process
        for each in (key("one"), key("two"), CLUSTER):
            office.queue.add(each, Priority.START_UP)
            await asyncio.sleep(1)

        assert sorted(name for name, _ in office.looks) == ["one", "two"]


@in_virtual_time
async def test_a_paused_cluster_moves_nothing_and_says_so():
    async with an_office("one", converged=True) as office:
        office.apply_cluster(paused=True)
        office.drifting = {"team-a/one"}
        office.servers["postgres"].holds.clear()
        await asyncio.sleep(1)
        assert office.condition("Synced", "one") == ("False", "Paused")
        assert office.condition("Ready", "one") == ("True", "Available")
        office.apply("one", state="Fenced")
        office.apply("new")
        office.delete("one")
        await asyncio.sleep(HOUR)

        assert office.looks == []
        assert office.servers["postgres"].holds == set()
        assert office.object("one"), "its deletion waits, too"
        assert "finalizers" not in office.object("new")["metadata"]

        office.apply_cluster(paused=False)
        await asyncio.sleep(2)
        assert office.object("one") is None
        assert office.condition("Ready", "new") == ("True", "Available")


@in_virtual_time
async def test_the_connections_of_a_cluster_that_goes_serve_its_last_user_and_are_closed_then():
    async with an_office("one", "two", converged=True) as office:
        for name in ("one", "two"):
            office.apply(name, **DELETE)
        await asyncio.sleep(1)
        office.delete_cluster()
        await asyncio.sleep(HOUR)
        office.delete("one")
        await asyncio.sleep(1)
        assert office.object("one") is None
        assert office.closed == []

        office.delete("two")
        await asyncio.sleep(1)
        assert office.object("two") is None
        assert office.servers["postgres"].holds == set()
        assert office.closed == [CLUSTER]


@in_virtual_time
async def test_the_connections_of_a_cluster_that_nobody_refers_to_are_closed_when_it_goes():
    async with an_office("one", converged=True) as office:
        office.apply("one", **DELETE)
        await asyncio.sleep(1)
        office.delete("one")
        await asyncio.sleep(1)
        assert office.closed == []

        office.delete_cluster()
        await asyncio.sleep(1)
        assert office.closed == [CLUSTER]


@in_virtual_time
async def test_they_are_closed_also_when_the_finalizer_of_the_last_user_was_taken_away():
    async with an_office("one", converged=True) as office:
        office.delete_cluster()
        await asyncio.sleep(1)
        office.vanish("one", deleting=True)
        await asyncio.sleep(1)

        assert office.closed == [CLUSTER]


# --- what cannot be read ----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_object_that_cannot_be_read_says_what_and_keeps_the_rest_of_its_status():
    async with an_office("research", converged=True) as office:
        office.apply(unknown="field")
        await asyncio.sleep(1)

        told = office.object()["status"]["conditions"][0]
        assert (told["type"], told["status"], told["reason"]) == ("ClusterAccepted", "False", "Rejected")
        assert told["message"].startswith("spec.unknown: ")
        assert office.object()["status"]["endpoint"]
        since = told["lastTransitionTime"]
        await asyncio.sleep(60)
        office.queue.add(key(), Priority.DRIFT)
        await asyncio.sleep(1)
        assert office.object()["status"]["conditions"][0]["lastTransitionTime"] == since
        office.apply(unknown=None, state="ReadOnly")
        await asyncio.sleep(1)
        assert office.condition("APIAvailable") == ("True", "ReadOnly")


@in_virtual_time
async def test_a_cluster_that_cannot_be_read_is_named_by_itself_and_by_all_who_use_it(caplog):
    async with an_office("one", converged=True) as office:
        place = {"namespace": "memory-system", "name": "default"}
        office.put(MEMORY_CLUSTER, {"metadata": place, "spec": {"unknown": "field"}})
        await asyncio.sleep(1)

        ready = office.cluster_status()["conditions"][-1]
        assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "Rejected")
        assert "spec.unknown: " in ready["message"]
        told = office.object("one")["status"]["conditions"][0]
        assert told["message"].startswith("MemoryCluster memory-system/default: spec.unknown: ")
        assert not [each for each in caplog.records if each.levelname == "ERROR"]
        office.put(MEMORY_CLUSTER, {"metadata": place, "spec": {"unknown": None}})
        await asyncio.sleep(1)
        assert office.condition(name="one") == ("True", "Available")


@in_virtual_time
async def test_an_object_that_cannot_be_read_can_be_deleted():
    async with an_office("research", converged=True) as office:
        office.apply(unknown="field", **DELETE)
        await asyncio.sleep(1)
        office.delete()
        await asyncio.sleep(1)

        assert office.object() is None
        assert office.servers["postgres"].holds == set()


# --- the end ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_deleted_object_goes_with_what_it_asked_to_be_dropped_and_is_forgotten():
    async with an_office("research", converged=True) as office:
        office.apply(**DELETE)
        await asyncio.sleep(1)
        office.delete()
        await asyncio.sleep(1)

        assert office.object() is None
        assert office.servers["postgres"].holds == set()
        assert "team-a/research" in office.forgotten
        assert str(key()) in office.forgotten
        office.looks.clear()
        await asyncio.sleep(HOUR)
        assert office.looks == []


@in_virtual_time
@pytest.mark.parametrize("gone_for_good", [False, True])
async def test_what_is_deleted_while_it_is_made_is_not_made_to_the_end(gone_for_good):
    async with an_office() as office:
        await asyncio.sleep(1)
        claim = office.backends.claim

        async def claim_and_lose(*what: Any, **how: Any) -> Blocked | None:
            result = await claim(*what, **how)
            office.backends.claim = claim
            (office.vanish if gone_for_good else office.delete)()
            return result

        office.backends.claim = claim_and_lose
        office.apply(**DELETE)
        await asyncio.sleep(1)

        assert office.object() is None
        assert (office.backends.claims, office.secrets.kept, office.workloads.running) == ({}, {}, {})
        assert [each for each in office.told if "create" in each or "drop" in each] == []


@in_virtual_time
@pytest.mark.parametrize("moment", ["while the finalizer is written", "while the status is written"])
async def test_an_edit_that_comes_in_with_the_answer_to_our_own_write_is_seen(moment):
    """Regression: the watch's word of it was older than what the answer had put into the cache, and nobody looked."""
    async with an_office() as office:
        await asyncio.sleep(1)
        apply = office.kube.apply

        async def apply_after_an_edit(manifest: dict[str, Any], manager: str, **how: Any) -> dict[str, Any]:
            if manifest["kind"] == "MemoryNamespace" and (how.get("subresource") == "status") is ("status" in moment):
                office.kube.apply = apply
                told.append(office.kube.put(MEMORY_NAMESPACE, {**PLACE, "spec": {"state": "ReadOnly"}}))
            return await apply(manifest, manager, **how)

        told: list[dict[str, Any]] = []
        office.kube.apply = apply_after_an_edit
        office.apply()
        await asyncio.sleep(1)
        assert office.cache.see(MEMORY_NAMESPACE, told[0]) == set()

        assert office.object()["status"]["observedGeneration"] == 2
        assert office.condition("APIAvailable") == ("True", "ReadOnly")


@in_virtual_time
async def test_a_deletion_that_comes_in_with_the_answer_to_our_own_write_is_seen():
    async with an_office() as office:
        await asyncio.sleep(1)
        apply = office.kube.apply

        async def apply_after_a_deletion(manifest: dict[str, Any], manager: str, **how: Any) -> dict[str, Any]:
            if how.get("subresource") == "status" and manifest["kind"] == "MemoryNamespace":
                office.kube.apply = apply
                office.kube.remove(MEMORY_NAMESPACE, "team-a", "research")
            return await apply(manifest, manager, **how)

        office.kube.apply = apply_after_a_deletion
        office.apply(**DELETE)
        await asyncio.sleep(1)

        assert office.object() is None
        assert office.servers["postgres"].holds == set()


@in_virtual_time
async def test_a_deletion_that_cannot_go_on_is_tried_every_ten_seconds_and_says_why():
    async with an_office("research", converged=True) as office:
        office.apply(**DELETE)
        await asyncio.sleep(1)
        office.servers["postgres"].failure = down()
        office.delete()
        before = office.told_stops()
        await asyncio.sleep(60)

        assert office.condition() == ("False", "DeletionBlocked")
        assert office.told_stops() - before == pytest.approx(6, abs=1)
        office.servers["postgres"].failure = None
        await asyncio.sleep(11)
        assert office.object() is None


@in_virtual_time
async def test_a_grace_period_ends_when_it_ends():
    async with an_office("research", converged=True) as office:
        office.apply(deletion={**DELETE["deletion"], "gracePeriod": "10m"})
        await asyncio.sleep(1)
        office.delete()
        await asyncio.sleep(598)
        assert office.condition() == ("False", "Terminating")
        assert office.servers["postgres"].holds == {"team-a/research"}
        await asyncio.sleep(4)

        assert office.object() is None
        assert office.servers["postgres"].holds == set()


@in_virtual_time
async def test_what_is_left_behind_is_told():
    async with an_office("research", converged=True) as office:
        office.apply(deletion={**DELETE["deletion"], "onTimeout": "Orphan", "timeout": "1m"})
        await asyncio.sleep(1)
        office.servers["postgres"].failure = down()
        office.delete()
        await asyncio.sleep(62)

        assert office.object() is None
        assert any(each.startswith("the data of team-a/research was left behind: ") for each in office.events)


@in_virtual_time
async def test_an_object_that_others_hold_is_let_go_by_us_and_left():
    async with an_office("research", converged=True) as office:
        metadata = {"namespace": "team-a", "name": "research", "finalizers": ["theirs/x"]}
        office.put(MEMORY_NAMESPACE, {"metadata": metadata})
        await asyncio.sleep(1)
        office.delete()
        await asyncio.sleep(1)
        stops = office.told_stops()
        await asyncio.sleep(HOUR)

        assert office.object()["metadata"]["finalizers"] == ["theirs/x"]
        assert office.told_stops() == stops


@in_virtual_time
async def test_in_a_kubernetes_namespace_that_is_going_nothing_is_made_any_more():
    async with an_office() as office:
        office.put(
            NAMESPACE, {"metadata": {"name": "team-a", "deletionTimestamp": "now", "finalizers": ["kubernetes"]}}
        )
        office.apply()
        await asyncio.sleep(60)

        assert office.looks == []
        assert "finalizers" not in office.object()["metadata"]


@in_virtual_time
async def test_an_object_whose_finalizer_somebody_took_away_is_forgotten_and_its_data_left():
    async with an_office("research", "other", converged=True) as office:
        office.servers["postgres"].failure = down()
        office.vanish(deleting=True)
        await asyncio.sleep(1)

        assert "team-a/research" in office.forgotten
        assert "team-a/other" not in office.forgotten
        assert "team-a/research" in office.servers["postgres"].holds


@in_virtual_time
async def test_what_somebody_let_go_while_others_hold_it_is_forgotten():
    async with an_office("research", converged=True) as office:
        place = {"namespace": "team-a", "name": "research"}
        office.put(MEMORY_NAMESPACE, {"metadata": {**place, "finalizers": ["theirs/x"]}})
        office.servers["postgres"].failure = down()
        office.delete()
        await asyncio.sleep(1)
        assert office.forgotten == []

        body = office.kube.objects["MemoryNamespace", "team-a", "research"]
        body["metadata"]["finalizers"] = ["theirs/x"]
        office.put(MEMORY_NAMESPACE, {"metadata": {**place, "labels": {"let": "go"}}})
        await asyncio.sleep(15)
        assert "team-a/research" in office.forgotten


@in_virtual_time
async def test_what_an_object_left_that_went_in_spite_of_its_finalizer_goes_too():
    async with an_office("research", converged=True) as office:
        office.apply(**DELETE)
        await asyncio.sleep(1)
        office.vanish()
        await asyncio.sleep(1)

        assert office.servers["postgres"].holds == set()
        assert "team-a/research" in office.forgotten
        assert office.vanished.get(key()) is None


@in_virtual_time
async def test_what_such_an_object_left_stays_until_a_pause_of_the_cluster_ends():
    async with an_office("research", converged=True) as office:
        office.apply(**DELETE)
        await asyncio.sleep(1)
        office.apply_cluster(paused=True)
        await asyncio.sleep(1)
        stops = office.told_stops()
        office.vanish()
        await asyncio.sleep(HOUR)

        assert office.servers["postgres"].holds == {"team-a/research"}
        assert office.servers["postgres"].lets_in == {"team-a/research"}
        assert office.told_stops() == stops
        assert office.forgotten == []

        office.apply_cluster(paused=False)
        await asyncio.sleep(PAUSED_SECONDS + 1)
        assert office.servers["postgres"].holds == set()
        assert office.servers["postgres"].lets_in == set()
        assert "team-a/research" in office.forgotten


# --- tables -----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_those_who_use_one_cluster_share_a_lane_and_clusters_have_none():
    office = Office()
    office.apply_cluster()
    office.apply("one")
    office.apply("two")
    office.apply("elsewhere", clusterRef={"name": "other"})

    assert lane_of(office.cache, key("one")) == lane_of(office.cache, key("two")) == CLUSTER
    assert lane_of(office.cache, key("elsewhere")) == Key("MemoryCluster", "team-a", "other")
    assert lane_of(office.cache, CLUSTER) is None
    assert lane_of(office.cache, key("unknown")) is None


@pytest.mark.parametrize(
    ("kind", "event", "priority"),
    [
        ("MemoryNamespace", "MODIFIED", Priority.USER_EDIT),
        ("MemoryNamespace", "DELETED", Priority.USER_EDIT),
        ("MemoryNamespace", "ADDED", Priority.CREATION),
        ("MemoryNamespace", None, Priority.START_UP),
        ("MemoryCluster", "MODIFIED", Priority.USER_EDIT),
        ("Secret", "ADDED", Priority.SECRET),
        ("Deployment", "MODIFIED", Priority.CHILD),
        ("EndpointSlice", "ADDED", Priority.CHILD),
        ("Namespace", "MODIFIED", Priority.CHILD),
        ("Deployment", None, Priority.START_UP),
    ],
)
def test_what_people_do_is_more_urgent_than_what_things_do(kind, event, priority):
    assert priority_of(kind, event) is priority
