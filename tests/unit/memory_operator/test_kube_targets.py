"""The targets of the reconcile in a cluster: what they read and write, how often, and what they say of it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_kube import FakeKube
from fake_world import NOW
from tenants import cluster, decoded, namespace, workload

from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.errors import Conflict, Rejected
from memory_contracts.v1alpha1 import MemoryNamespace, MemoryNamespaceStatus
from memory_operator.keys import Key, key_of
from memory_operator.kube.cache import Cache
from memory_operator.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    MEMORY_NAMESPACE,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    kind_of,
)
from memory_operator.kube.resources import FINALIZER, ResourceWriter, is_held
from memory_operator.kube.secrets import FRESH_SECONDS, KubeSecrets
from memory_operator.kube.workloads import KubeWorkloads
from memory_operator.providers.shapes import Blocked
from memory_operator.specs.labels import WATCH_LABEL
from memory_operator.specs.secret import StoredCredentials
from memory_operator.specs.tenant import Credentials
from memory_operator.status import build_conditions, passed

TENANT = Key("MemoryNamespace", "team-a", "research")
SCALED = {"api": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}}


@dataclass
class Place:
    """A cluster in memory with the operator's view of it; the watch is told of everything with `tell`."""

    kube: FakeKube = field(default_factory=FakeKube)
    cache: Cache = field(default_factory=Cache)
    seconds: float = 0.0
    owner: MemoryNamespace = field(default_factory=namespace)
    overtaken: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workloads = KubeWorkloads(self.kube, self.cache)
        self.secrets = KubeSecrets(self.kube, self.cache, self.workloads, lambda: self.seconds)
        self.resources = ResourceWriter(self.kube, self.cache, self.overtaken.append)

    async def converge(self, **spec: Any) -> list[str] | Blocked:
        built = workload(**spec)
        steps = await self.workloads.plan(self.owner, built)
        if isinstance(steps, Blocked):
            return steps
        await self.workloads.apply(self.owner, steps)
        return [each.summary for each in steps]

    def edit(self, kind, name: str, **body: Any) -> None:
        """Let somebody change an object, and the watch tell of it."""
        self.cache.see(kind, self.kube.put(kind, {"metadata": {"namespace": "team-a", "name": name}, **body}))

    def remove(self, kind, name: str) -> None:
        found = self.kube.remove(kind, "team-a", name)
        gone = (kind.kind, "team-a", name) not in self.kube.objects
        (self.cache.lose if gone else self.cache.see)(kind, found)

    def names(self, kind: str) -> set[str]:
        return {name for each, _, name in self.kube.objects if each == kind}

    def forget_what_was_asked(self) -> None:
        self.kube.reads.clear()
        self.kube.writes.clear()


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
async def converged(place: Place) -> Place:
    await place.converge()
    place.forget_what_was_asked()
    return place


# --- children ---------------------------------------------------------------------------------------------------------


async def test_everything_is_created_and_what_pods_refer_to_comes_before_them(place):
    await place.converge()

    assert {each["kind"] for each in workload().children} == {kind for kind, _, _ in place.kube.objects}
    assert place.kube.writes[-1] == "apply Deployment research-api"


async def test_what_is_converged_costs_neither_a_read_nor_a_write(converged):
    assert await converged.converge() == []
    assert (converged.kube.reads, converged.kube.writes) == ([], [])


async def test_the_events_of_our_own_writes_cost_nothing_either(converged):
    for (kind, _, _), body in list(converged.kube.objects.items()):
        converged.cache.see(next(each for each in map(kind_of, workload().children) if each.kind == kind), body)

    assert await converged.converge() == []
    assert converged.kube.reads == []


async def test_the_status_of_a_deployment_costs_nothing(converged):
    converged.edit(DEPLOYMENT, "research-api", status={"replicas": 1})

    assert await converged.converge() == []
    assert converged.kube.reads == []


async def test_what_others_add_costs_one_read_and_no_write(converged):
    converged.edit(CONFIG_MAP, "research-api", data={"THEIRS": "1"})

    assert await converged.converge() == []
    assert converged.kube.reads == ["get ConfigMap research-api"]
    await converged.converge()
    assert (len(converged.kube.reads), converged.kube.writes) == (1, [])


async def test_what_others_change_is_set_right_and_what_they_added_stays(converged):
    converged.edit(SERVICE, "research-api", spec={"type": "NodePort", "externalTrafficPolicy": "Local"})

    assert await converged.converge() == ["correct Service research-api: spec.type"]
    spec = converged.kube.objects["Service", "team-a", "research-api"]["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("ClusterIP", "Local")


async def test_what_others_changed_before_our_own_write_was_answered_is_seen(place):
    def meddle(kind, found) -> None:
        if kind is SERVICE and place.kube.objects["Service", "team-a", "research-api"]["spec"]["type"] != "NodePort":
            place.edit(SERVICE, "research-api", spec={"type": "NodePort"})

    place.kube.on_write = meddle
    await place.converge()

    assert await place.converge() == ["correct Service research-api: spec.type"]


async def test_what_others_delete_is_made_again(converged):
    converged.remove(SERVICE, "research-api")

    assert await converged.converge() == ["create Service research-api"]
    assert converged.names("Service") == {"research-api"}


async def test_an_edit_touches_only_what_it_changes(converged):
    assert await converged.converge(api={"replicas": 3}) == ["correct Deployment research-api: spec.replicas"]
    assert converged.kube.writes == ["apply Deployment research-api"]


async def test_what_is_no_longer_asked_for_goes_from_the_objects(place):
    """Regression: it stayed, for a live object may hold more than its manifest says."""
    await place.converge(api={"podTemplate": {"spec": {"nodeSelector": {"disk": "ssd"}}}})

    await place.converge()

    assert "nodeSelector" not in place.kube.objects["Deployment", "team-a", "research-api"]["spec"]["template"]["spec"]


async def test_an_object_that_is_no_longer_wanted_is_removed(converged):
    assert await converged.converge(networkPolicy={"mode": "Disabled"}) == ["delete NetworkPolicy research-api"]
    assert converged.names("NetworkPolicy") == set()


async def test_an_object_of_another_owner_is_not_removed(converged):
    """An earlier object of the same name, whose children the garbage collector is about to take."""
    converged.edit(
        NETWORK_POLICY,
        "research-api",
        metadata={"namespace": "team-a", "name": "research-api", "ownerReferences": [{"uid": "x", "controller": True}]},
    )

    assert await converged.converge(networkPolicy={"mode": "Disabled"}) == []


async def test_the_replicas_survive_the_way_to_an_autoscaler_and_back(place):
    await place.converge(api={"replicas": 4})

    assert await place.converge(**SCALED) == [
        "leave the replicas of Deployment research-api to the autoscaler",
        "correct Deployment research-api: no spec.replicas",
        "create HorizontalPodAutoscaler research-api",
    ]
    assert place.kube.objects["Deployment", "team-a", "research-api"]["spec"]["replicas"] == 4
    assert await place.converge(**SCALED) == []
    assert await place.converge(api={"replicas": 2}) == [
        "correct Deployment research-api: spec.replicas",
        "delete HorizontalPodAutoscaler research-api",
    ]
    assert place.kube.objects["Deployment", "team-a", "research-api"]["spec"]["replicas"] == 2


async def test_a_foreign_object_blocks_and_nothing_is_written(place):
    place.kube.put(SERVICE, {"metadata": {"namespace": "team-a", "name": "research-api"}, "spec": {"type": "NodePort"}})

    found = await place.converge()

    assert isinstance(found, Blocked)
    assert found.message.startswith("Service research-api exists in namespace team-a")
    assert place.kube.writes == []


@pytest.fixture
def watched() -> Place:
    """A place whose watches have told of everything there is."""
    place = Place()
    place.workloads = KubeWorkloads(place.kube, place.cache, complete=True)
    return place


async def test_what_no_watch_has_told_of_is_made_without_asking_first(watched):
    await watched.converge()

    assert {each["kind"] for each in workload().children} == {kind for kind, _, _ in watched.kube.objects}
    assert watched.kube.reads == []
    assert await watched.converge() == []


async def test_a_foreign_object_of_the_name_is_found_by_making_ours_and_left_alone(watched):
    foreign = watched.kube.put(SERVICE, {"metadata": {"namespace": "team-a", "name": "research-api"}, "spec": {"x": 1}})

    with pytest.raises(Rejected, match="Service research-api exists in namespace team-a and was not made") as caught:
        await watched.converge()

    assert caught.value.reason is Reason.FOREIGN_OBJECT
    assert watched.kube.objects["Service", "team-a", "research-api"] == foreign
    assert watched.names("Deployment") == set()


async def test_an_object_of_ours_whose_label_somebody_took_is_found_by_making_it_and_set_right(watched):
    await watched.converge()
    own = watched.kube.put(SERVICE, {"metadata": {"namespace": "team-a", "name": "research-api", "labels": None}})
    watched.cache.lose(SERVICE, own)
    watched.workloads.forget(key_of(watched.owner))  # as a new process

    await watched.converge()

    assert watched.kube.objects["Service", "team-a", "research-api"]["metadata"]["labels"]
    assert await watched.converge() == []


async def test_what_was_forgotten_is_read_again(converged):
    converged.workloads.forget(TENANT)

    assert await converged.converge() == []
    assert len(converged.kube.reads) == len(workload().children)


async def test_only_what_starts_pods_is_stopped(place):
    await place.converge(**SCALED)
    place.forget_what_was_asked()

    await place.workloads.stop(place.owner)

    assert place.kube.writes == ["delete HorizontalPodAutoscaler research-api", "delete Deployment research-api"]
    assert {"Service", "Secret", "ConfigMap"} <= {kind for kind, _, _ in place.kube.objects}


async def test_the_processes_of_another_object_are_not_stopped(converged):
    converged.owner = namespace(uid="another")

    await converged.workloads.stop(converged.owner)

    assert converged.kube.writes == []


async def test_a_step_of_another_target_is_refused(place):
    with pytest.raises(TypeError):
        await place.workloads.apply(place.owner, ["restart process api"])


# --- availability -----------------------------------------------------------------------------------------------------


def deployed(place: Place, *, conditions=(), **status: int) -> None:
    counts = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "observedGeneration": 9} | status
    place.edit(DEPLOYMENT, "research-api", status={**counts, "conditions": list(conditions)})


def endpoints(place: Place, name: str, *ready: bool) -> None:
    labels = workload().service["metadata"]["labels"] | {"kubernetes.io/service-name": "research-api"}
    metadata = {"namespace": "team-a", "name": name, "labels": labels}
    conditions = [{"conditions": {"ready": each}} for each in ready]
    place.cache.see(ENDPOINT_SLICE, place.kube.put(ENDPOINT_SLICE, {"metadata": metadata, "endpoints": conditions}))


TWO = {"api": {"replicas": 2}}


@pytest.fixture
async def two(place: Place) -> Place:
    """Two pods are wanted, and two are there."""
    await place.converge(**TWO)
    deployed(place)
    return place


async def available(place: Place, **spec: Any):
    return await place.workloads.availability(place.owner, workload(**(spec or TWO)))


async def test_pods_count_when_both_kubelet_and_the_service_say_so(two):
    endpoints(two, "x", True)
    assert ((await available(two)).ready, (await available(two)).complete) == (1, False)

    endpoints(two, "x", True, True)
    found = await available(two)
    assert (found.ready, found.wanted, found.present, found.complete, found.rolled_out) == (2, 2, 2, True, True)
    assert found.endpoint == "http://research-api.team-a.svc:9595"
    assert found.selector == (
        "app.kubernetes.io/name=memory,app.kubernetes.io/instance=research,app.kubernetes.io/component=api"
    )


async def test_a_pod_with_two_addresses_counts_once(two):
    for family in ("ipv4", "ipv6"):
        endpoints(two, family, True, True)

    assert (await available(two)).ready == 2


async def test_endpoints_that_are_late_to_go_do_not_count(two):
    endpoints(two, "x", True, True)
    deployed(two, readyReplicas=1)

    assert (await available(two)).ready == 1


async def test_an_old_pod_beside_its_successor_does_not_count(two):
    """Regression: `3 of 2 ready`."""
    endpoints(two, "x", True, True, True)
    deployed(two, replicas=3, readyReplicas=3)

    found = await available(two)

    assert (found.counted, found.present, found.complete) == ("2 of 2 ready", 3, True)


async def test_the_autoscaler_says_how_many_are_wanted(place):
    await place.converge(**SCALED)
    place.edit(DEPLOYMENT, "research-api", spec={"replicas": 4})

    assert (await available(place, **SCALED)).wanted == 4


@pytest.mark.parametrize(
    ("status", "rolled_out"),
    [
        ({}, True),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"observedGeneration": 0}, False),
    ],
    ids=["all", "one is old", "one too many", "not looked at"],
)
async def test_it_is_rolled_out_when_all_pods_and_no_others_have_the_present_template(two, status, rolled_out):
    deployed(two, **status)

    assert (await available(two)).rolled_out is rolled_out


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "It is late."}
QUOTA = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: small"}
POLICY = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: violates PodSecurity"}


@pytest.mark.parametrize(
    ("conditions", "reason", "detail"),
    [
        ([], Reason.PROGRESSING, "waiting for the readiness probe"),
        ([QUOTA], Reason.QUOTA_EXCEEDED, "pods is forbidden: exceeded quota: small"),
        ([POLICY], Reason.BLOCKED, "pods is forbidden: violates PodSecurity"),
        ([LATE], Reason.BLOCKED, "It is late. See the events and logs of the pods."),
        ([LATE, QUOTA], Reason.QUOTA_EXCEEDED, "pods is forbidden: exceeded quota: small"),
    ],
    ids=["starting", "quota", "refused", "late", "late for want of room"],
)
async def test_why_pods_are_missing_is_what_the_deployment_says(two, conditions, reason, detail):
    deployed(two, conditions=conditions)

    found = await available(two)

    assert (found.reason, found.detail) == (reason, detail)


async def test_before_there_is_a_deployment_nothing_is_there(place):
    found = await available(place)

    assert (found.ready, found.wanted, found.present, found.rolled_out) == (0, 2, 0, False)
    assert found.detail == "the Deployment was just made"


async def test_a_child_that_something_holds_is_named_with_what_holds_it(two):
    two.edit(SERVICE, "research-api", metadata={"namespace": "team-a", "name": "research-api", "finalizers": ["a/b"]})
    two.remove(SERVICE, "research-api")

    found = await available(two)

    assert found.reason is Reason.BLOCKED
    assert found.detail == (
        "Service research-api is being deleted, but finalizer a/b holds it; "
        "remove the finalizer, or let its owner finish"
    )
    assert await two.converge(**TWO) == [], "there is nothing to do but to wait"


# --- secrets ----------------------------------------------------------------------------------------------------------


def theirs(place: Place, *, watched: bool, **data: str) -> None:
    metadata = {"namespace": "team-a", "name": "theirs", "labels": {WATCH_LABEL: "true"} if watched else {}}
    found = place.kube.put(SECRET, {"metadata": metadata, "data": data, "type": "Opaque"})
    if watched:
        place.cache.see(SECRET, found)


async def test_a_watched_secret_costs_no_read(place):
    theirs(place, watched=True, token="aGVsbG8=")

    assert await place.secrets.read("team-a", "theirs") == {"token": "hello"}
    assert place.kube.reads == []


async def test_another_secret_is_read_now_and_then(place):
    theirs(place, watched=False, token="aGVsbG8=")
    assert await place.secrets.read("team-a", "theirs") == {"token": "hello"}
    theirs(place, watched=False, token="Ynll")

    place.seconds = FRESH_SECONDS - 1
    assert await place.secrets.read("team-a", "theirs") == {"token": "hello"}
    place.seconds = FRESH_SECONDS
    assert await place.secrets.read("team-a", "theirs") == {"token": "bye"}
    assert len(place.kube.reads) == 2


async def test_a_secret_that_is_missing_is_named_and_found_as_soon_as_it_is_there(place):
    with pytest.raises(Rejected, match="Secret theirs is missing in namespace team-a; create it") as missing:
        await place.secrets.read("team-a", "theirs")
    assert missing.value.reason is Reason.SECRET_NOT_FOUND

    theirs(place, watched=False, token="aGVsbG8=")
    assert await place.secrets.read("team-a", "theirs") == {"token": "hello"}


async def test_credentials_are_read_once_and_then_watched(place):
    assert (await place.secrets.stored(place.owner)).api_token is None
    await place.secrets.keep(place.owner, workload().secret)
    place.forget_what_was_asked()

    stored = await place.secrets.stored(place.owner)

    assert stored.api_token == decoded(workload().secret)["api-token"]
    assert set(stored.postgres_passwords) == {"a", "b"}
    assert place.kube.reads == []


@pytest.fixture
def whole_view(place: Place) -> KubeSecrets:
    """The Secrets as an operator sees them that watches everything."""
    return KubeSecrets(place.kube, place.cache, place.workloads, complete=True)


async def test_credentials_of_a_new_object_are_made_without_looking_first(place, whole_view):
    assert await whole_view.stored(place.owner) == StoredCredentials()
    await whole_view.keep(place.owner, workload().secret)

    assert place.kube.reads == []
    assert (await whole_view.stored(place.owner)).api_token == decoded(workload().secret)["api-token"]


async def test_credentials_that_were_there_after_all_are_kept_and_used(place, whole_view):
    """Such as those whose label somebody has taken away, so that the watch does not show them."""
    await place.secrets.keep(place.owner, workload().secret)
    unlabelled = {"namespace": "team-a", "name": "research-credentials", "labels": {WATCH_LABEL: None}}
    place.edit(SECRET, "research-credentials", metadata=unlabelled)

    assert await whole_view.stored(place.owner) == StoredCredentials()
    with pytest.raises(Conflict):
        await whole_view.keep(
            place.owner, workload(Credentials("a-token-made-anew-just-now", {"a": "a-password-made-anew"})).secret
        )

    stored = await whole_view.stored(place.owner)
    assert stored.api_token == decoded(workload().secret)["api-token"]
    await whole_view.keep(place.owner, workload().secret)  # with its label
    place.forget_what_was_asked()
    assert await whole_view.stored(place.owner) == stored
    assert place.kube.reads == []


async def test_a_foreign_secret_under_our_name_is_found_when_ours_cannot_be_made(place, whole_view):
    place.kube.put(SECRET, {"metadata": {"namespace": "team-a", "name": "research-credentials"}, "data": {}})
    await whole_view.stored(place.owner)
    with pytest.raises(Conflict):
        await whole_view.keep(place.owner, workload().secret)

    with pytest.raises(Rejected, match="was not made by the operator; delete or rename it"):
        await whole_view.stored(place.owner)


async def test_credentials_that_somebody_else_keeps_under_our_name_are_left_alone(place):
    place.kube.put(SECRET, {"metadata": {"namespace": "team-a", "name": "research-credentials"}, "data": {}})

    with pytest.raises(Rejected, match="was not made by the operator; delete or rename it") as foreign:
        await place.secrets.stored(place.owner)
    assert foreign.value.reason is Reason.FOREIGN_OBJECT


async def test_a_successor_takes_the_credentials_over(converged):
    """The garbage collector may not have come to the Secret yet."""
    converged.owner = namespace(uid="successor")

    assert (await converged.secrets.stored(converged.owner)).api_token


# --- our own resources ------------------------------------------------------------------------------------------------


@pytest.fixture
def applied(place: Place) -> Place:
    """Somebody has applied the MemoryNamespace."""
    metadata = {"namespace": "team-a", "name": "research", "uid": "0d5c7b9e"}
    place.cache.see(MEMORY_NAMESPACE, place.kube.put(MEMORY_NAMESPACE, {"metadata": metadata, "spec": {}}))
    return place


def status(generation: int = 1) -> MemoryNamespaceStatus:
    conditions = build_conditions([passed(ConditionType.CLAIMED, Reason.ACCEPTED, "ours")], [], generation, NOW)
    return MemoryNamespaceStatus(observed_generation=generation, conditions=conditions)


def entry_of(place: Place):
    return place.cache.entry(TENANT)


async def test_a_status_is_written_once(applied):
    assert await applied.resources.write_status(TENANT, entry_of(applied), status())
    assert not await applied.resources.write_status(TENANT, entry_of(applied), status())
    assert applied.kube.writes == ["apply MemoryNamespace/status research"]
    assert await applied.resources.write_status(TENANT, entry_of(applied), status(2))
    assert MemoryNamespace.model_validate(entry_of(applied).body).status == status(2)


async def test_only_who_was_overtaken_by_somebody_elses_change_is_to_be_looked_at_again(applied):
    before = entry_of(applied)
    await applied.resources.hold(TENANT, before)
    await applied.resources.write_status(TENANT, before, status())
    assert applied.overtaken == []

    applied.kube.put(MEMORY_NAMESPACE, {"metadata": {"namespace": "team-a", "name": "research"}, "spec": {"a": "b"}})
    await applied.resources.write_status(TENANT, before, status(2))
    assert applied.overtaken == [TENANT]


async def test_a_condition_that_another_added_is_no_reason_to_write(applied):
    """Regression: each pass would have written, for ever."""
    await applied.resources.write_status(TENANT, entry_of(applied), status())
    theirs = {"type": "example.com/Seen", "status": "True", "reason": "Looked"}
    conditions = applied.kube.objects["MemoryNamespace", "team-a", "research"]["status"]["conditions"]
    applied.edit(MEMORY_NAMESPACE, "research", status={"conditions": [theirs, *conditions]})

    assert not await applied.resources.write_status(TENANT, entry_of(applied), status())


async def test_a_status_that_somebody_has_edited_is_written_again(applied):
    await applied.resources.write_status(TENANT, entry_of(applied), status())
    applied.edit(MEMORY_NAMESPACE, "research", status={"endpoint": "http://elsewhere"})

    assert await applied.resources.write_status(TENANT, entry_of(applied), status())


async def test_the_finalizer_is_known_at_once_and_those_of_others_stay(applied):
    applied.edit(
        MEMORY_NAMESPACE, "research", metadata={"namespace": "team-a", "name": "research", "finalizers": ["theirs/x"]}
    )
    assert not is_held(entry_of(applied))

    await applied.resources.hold(TENANT, entry_of(applied))
    assert is_held(entry_of(applied))
    await applied.resources.release(TENANT, entry_of(applied))

    assert entry_of(applied).finalizers == ("theirs/x",)


async def test_an_object_is_gone_with_its_last_finalizer(applied):
    await applied.resources.hold(TENANT, entry_of(applied))
    applied.remove(MEMORY_NAMESPACE, "research")
    assert entry_of(applied).deleting

    await applied.resources.release(TENANT, entry_of(applied))

    assert entry_of(applied) is None
    assert applied.names("MemoryNamespace") == set()


async def test_a_finalizer_that_another_has_set_too_is_taken_away_all_the_same(applied):
    """As after a restore from a backup, whose tool then owns the field with us."""
    metadata = {"namespace": "team-a", "name": "research", "finalizers": [FINALIZER, "theirs/x"]}
    applied.edit(MEMORY_NAMESPACE, "research", metadata=metadata)

    await applied.resources.release(TENANT, entry_of(applied))

    assert entry_of(applied).finalizers == ("theirs/x",)


def test_keys_name_kind_namespace_and_name():
    assert key_of(namespace()) == TENANT
    assert str(key_of(cluster())) == "MemoryCluster memory-system/default"
