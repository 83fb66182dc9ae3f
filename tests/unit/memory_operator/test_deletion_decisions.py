"""The end of a MemoryNamespace: what each policy does in each situation, and that each has an exit."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from fake_world import EVERY_BACKEND, NOW, FakeWorld, Object, down
from tenants import cluster

from memory_contracts.api.status import DeletionStatus
from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, Rejected, Unavailable
from memory_operator.deletion import RETRY_SECONDS, Departure, depart
from memory_operator.providers.shapes import Blocked

TENANT = "team-a/research"
DELETE = {"policy": "Delete", "acknowledgeDataLoss": True}
MINUTES = 60.0


@dataclass
class Leaving:
    """A tenant that is ready, and then deleted; `go` is one pass of its deletion."""

    tenant: Object
    remembers: bool = False  # whether the backends were reached since the operator was started
    stranded: bool = False

    @property
    def world(self) -> FakeWorld:
        return self.tenant.world

    async def go(self, *, after: float = 0.0) -> Departure:
        self.world.passed += timedelta(seconds=after)
        departure = await depart(
            self.tenant.namespace,
            self.tenant.cluster,
            self.world.world(),
            self.world.backends if self.remembers else None,
            stranded=self.stranded,
        )
        self.tenant.namespace = self.tenant.namespace.model_copy(update={"status": departure.status})
        return departure

    def holders(self) -> set[str]:
        return {each.name for each in self.world.servers.values() if TENANT in each.holds}

    def open_to_it(self) -> set[str]:
        return {each.name for each in self.world.servers.values() if TENANT in each.lets_in}


@pytest.fixture
async def leaving() -> Leaving:
    tenant = Object(FakeWorld(), cluster(**EVERY_BACKEND))
    await tenant.reconcile()
    tenant.world.told.clear()
    return Leaving(tenant)


def outcome(departure: Departure) -> str:
    if not departure.done:
        return "wait"
    return "left behind" if departure.left_behind else "done"


def ready(departure: Departure):
    return departure.status.conditions[-1]


# --- when all answer --------------------------------------------------------------------------------------------------


async def test_retain_ends_all_access_and_keeps_the_data(leaving):
    leaving.tenant.edit()

    departure = await leaving.go()

    assert outcome(departure) == "done"
    assert leaving.holders() == {"postgres", "qdrant", "kafka", "redis"}
    assert leaving.open_to_it() == set()
    assert leaving.world.backends.claims == {}
    assert not any(place.startswith("Deployment") for place in leaving.world.workloads.running)


async def test_delete_drops_everything_in_the_reverse_order_and_the_claim_last(leaving):
    leaving.tenant.edit(deletion=DELETE)

    departure = await leaving.go()

    assert outcome(departure) == "done"
    assert leaving.holders() == leaving.open_to_it() == set()
    told = leaving.world.told
    assert told[:3] == ["stop", f"keep {TENANT} out of postgres", f"keep {TENANT} out of redis"]
    drops = [each for each in told if each.startswith(("drop", "disclaim"))]
    assert drops == [f"drop {TENANT} from {name}" for name in ("redis", "kafka", "qdrant", "postgres")] + [
        f"disclaim {TENANT}"
    ]


async def test_a_grace_period_is_waited_out_fenced_and_nothing_is_dropped_before(leaving):
    leaving.tenant.edit(deletion={**DELETE, "gracePeriod": "1h"})

    first = await leaving.go()
    half = await leaving.go(after=30 * MINUTES)

    assert (outcome(first), first.wait_seconds) == ("wait", 60 * MINUTES)
    assert (outcome(half), half.wait_seconds) == ("wait", 30 * MINUTES)
    assert leaving.holders() == {"postgres", "qdrant", "kafka", "redis"}
    assert "postgres" not in leaving.open_to_it()
    assert (ready(half).reason, "it is dropped at 2026-11-01 13:00:00 UTC" in ready(half).message) == (
        Reason.TERMINATING,
        True,
    )
    assert half.status.deletion == DeletionStatus(fenced_at=NOW)
    assert outcome(await leaving.go(after=30 * MINUTES)) == "done"
    assert leaving.holders() == set()


async def test_a_grace_period_is_nothing_to_retained_data(leaving):
    leaving.tenant.edit(deletion={"policy": "Retain", "gracePeriod": "1h"})

    assert outcome(await leaving.go()) == "done"


async def test_a_deletion_that_was_interrupted_goes_on_where_it_was(leaving):
    """Each pass may be the first of a new process: all it knows is in the status and in the backends."""
    leaving.tenant.edit(deletion={**DELETE, "gracePeriod": "1h"})
    await leaving.go()
    leaving.world.servers["kafka"].holds.clear()
    leaving.world.servers["postgres"].lets_in.clear()

    assert outcome(await leaving.go(after=60 * MINUTES)) == "done"
    assert leaving.holders() == set()


# --- what stands in the way -------------------------------------------------------------------------------------------


def no_cluster(leaving: Leaving) -> None:
    leaving.tenant.cluster = None


def no_secret(leaving: Leaving) -> None:
    leaving.world.unreachable = Rejected("Secret admin is missing", reason=Reason.SECRET_NOT_FOUND)


def database_down(leaving: Leaving) -> None:
    leaving.world.servers["postgres"].failure = down()


def wrong_password(leaving: Leaving) -> None:
    leaving.world.servers["postgres"].failure = Rejected("who are you?", reason=Reason.AUTHENTICATION_FAILED)


def broker_down(leaving: Leaving) -> None:
    leaving.world.servers["kafka"].failure = down("kafka.example.com:9092")


def topic_blocked(leaving: Leaving) -> None:
    leaving.world.servers["kafka"].blocked = Blocked(Reason.BLOCKED, "a topic cannot be deleted")


def api_server_down(leaving: Leaving) -> None:
    leaving.world.workloads.failure = Unavailable("the API server does not answer")


def raced(leaving: Leaving) -> None:
    leaving.world.servers["postgres"].failure = Conflict("somebody was faster")


def foreign_topic(leaving: Leaving) -> None:
    leaving.world.servers["kafka"].blocked = Blocked(Reason.FOREIGN_OBJECT, "the topic is somebody else's")


def anothers_data(leaving: Leaving) -> None:
    leaving.world.backends.claims[TENANT] = "another-uid"


KEEPS = {"policy": "Retain"}
BLOCKS = {**DELETE, "onTimeout": "Block"}
ORPHANS = {**DELETE, "onTimeout": "Orphan"}
POLICIES = {"Retain": KEEPS, "Delete, Block": BLOCKS, "Delete, Orphan": ORPHANS}
# What each policy does at once, and after the timeout of ten minutes.
PATIENT = {
    "Retain": ("wait", "left behind"),
    "Delete, Block": ("wait", "wait"),
    "Delete, Orphan": ("wait", "left behind"),
}
AT_ONCE = dict.fromkeys(POLICIES, ("done", "done"))
TABLE: dict[Callable[[Leaving], None], dict[str, tuple[str, str]]] = {
    # Nothing that is retained needs a backend that cannot be named any more.
    no_cluster: PATIENT | {"Retain": ("left behind", "left behind")},
    no_secret: PATIENT,
    database_down: PATIENT,
    wrong_password: PATIENT,
    api_server_down: PATIENT,
    raced: PATIENT,
    # Topics that are retained need no change.
    broker_down: PATIENT | {"Retain": ("done", "done")},
    topic_blocked: PATIENT | {"Retain": ("done", "done")},
    foreign_topic: AT_ONCE,
    anothers_data: AT_ONCE,
}
ROWS = [
    pytest.param(obstacle, POLICIES[policy], *expected, id=f"{obstacle.__name__}: {policy}")
    for obstacle, policies in TABLE.items()
    for policy, expected in policies.items()
]


@pytest.mark.parametrize(("obstacle", "policy", "at_once", "in_the_end"), ROWS)
async def test_every_policy_has_its_exit_from_every_obstacle(leaving, obstacle, policy, at_once, in_the_end):
    leaving.tenant.edit(deletion=policy)
    obstacle(leaving)

    first = await leaving.go()

    assert outcome(first) == at_once
    if first.done:
        return
    assert 0 < first.wait_seconds <= RETRY_SECONDS
    assert ready(first).reason is Reason.DELETION_BLOCKED
    assert first.status.deletion.failing_since == NOW
    assert outcome(await leaving.go(after=10 * MINUTES - 1)) == "wait"
    last = await leaving.go(after=1)
    assert outcome(last) == in_the_end
    if last.done:
        assert last.left_behind.startswith(f"the data of {TENANT} was left behind: ")


@pytest.mark.parametrize("obstacle", [no_cluster, no_secret])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_backends_that_were_reached_before_serve_when_their_cluster_or_secret_is_gone(leaving, obstacle, policy):
    """Regression: the share of Kafka asked the MemoryCluster for its replication factor."""
    leaving.tenant.edit(deletion=policy)
    leaving.remembers = True
    obstacle(leaving)

    assert outcome(await leaving.go()) == "done"
    assert leaving.open_to_it() == set()
    assert leaving.holders() == (set() if policy["policy"] == "Delete" else set(leaving.world.servers))


async def test_backends_that_were_reached_before_do_not_serve_when_there_are_new_ones(leaving):
    """They are open, but do not answer: the old ones are another place."""
    leaving.tenant.edit(deletion=BLOCKS)
    leaving.remembers = True
    leaving.world.unreachable = down()

    assert outcome(await leaving.go()) == "wait"


@pytest.mark.parametrize("obstacle", [no_cluster, no_secret])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_what_cannot_come_back_is_not_waited_for(leaving, obstacle, policy):
    """The MemoryCluster is in the Kubernetes namespace that waits for this object to go."""
    leaving.tenant.edit(deletion=policy)
    leaving.stranded = True
    obstacle(leaving)

    assert outcome(await leaving.go()) == "left behind"


async def test_a_backend_that_is_down_may_come_back_even_so(leaving):
    leaving.tenant.edit(deletion=BLOCKS)
    leaving.stranded = True
    database_down(leaving)

    assert outcome(await leaving.go()) == "wait"


# --- on the way -------------------------------------------------------------------------------------------------------


async def test_the_processes_are_stopped_whatever_does_not_answer(leaving):
    leaving.tenant.edit(deletion=BLOCKS)
    no_cluster(leaving)

    await leaving.go()

    assert not any(place.startswith("Deployment") for place in leaving.world.workloads.running)


async def test_one_backend_that_is_down_keeps_the_others_from_nothing(leaving):
    leaving.tenant.edit(deletion=BLOCKS)
    broker_down(leaving)

    departure = await leaving.go()

    assert leaving.holders() == {"kafka"}
    assert ready(departure).message == (
        "ClusterAccepted: kafka.example.com:9092 cannot be reached; "
        "mend that, or set spec.deletion.onTimeout: Orphan to leave the data behind"
    )
    assert leaving.world.backends.claims == {TENANT: "0d5c7b9e"}, "what is left is still ours"
    leaving.world.servers["kafka"].failure = None
    assert outcome(await leaving.go(after=1)) == "done"
    assert leaving.holders() == set()


async def test_a_foreign_object_survives_and_all_that_is_ours_goes(leaving):
    leaving.tenant.edit(deletion=DELETE)
    foreign_topic(leaving)

    await leaving.go()

    assert leaving.holders() == {"kafka"}


async def test_the_data_of_another_object_is_not_touched(leaving):
    leaving.tenant.edit(deletion=DELETE)
    anothers_data(leaving)

    departure = await leaving.go()

    assert leaving.holders() == {"postgres", "qdrant", "kafka", "redis"}
    assert leaving.open_to_it() == {"postgres", "redis"}
    assert leaving.world.backends.claims == {TENANT: "another-uid"}
    assert "belongs to another-uid" in ready(departure).message


async def test_the_time_of_failing_is_forgotten_with_the_failure(leaving):
    leaving.tenant.edit(deletion={**BLOCKS, "gracePeriod": "1h"})
    database_down(leaving)
    await leaving.go()
    leaving.world.servers["postgres"].failure = None

    departure = await leaving.go(after=5 * MINUTES)

    assert departure.status.deletion == DeletionStatus(fenced_at=NOW + timedelta(minutes=5))


async def test_a_failure_during_the_grace_period_does_not_begin_it_anew(leaving):
    leaving.tenant.edit(deletion={**BLOCKS, "gracePeriod": "1h"})
    await leaving.go()
    database_down(leaving)
    await leaving.go(after=59 * MINUTES)
    leaving.world.servers["postgres"].failure = None

    assert outcome(await leaving.go(after=1 * MINUTES)) == "done"


async def test_the_last_wait_before_the_timeout_ends_with_it(leaving):
    leaving.tenant.edit(deletion={**ORPHANS, "timeout": "12s"})
    database_down(leaving)

    assert (await leaving.go()).wait_seconds == RETRY_SECONDS
    assert (await leaving.go(after=10)).wait_seconds == 2.0


async def test_what_is_known_of_the_object_stays_in_its_status(leaving):
    before = leaving.tenant.status
    leaving.tenant.edit(deletion=BLOCKS)
    database_down(leaving)

    after = (await leaving.go()).status

    assert (after.endpoint, after.external, after.drift) == (before.endpoint, before.external, before.drift)
    assert after.observed_generation == leaving.tenant.namespace.metadata.generation


async def test_a_fault_of_the_program_is_no_exit(leaving):
    leaving.tenant.edit(deletion=ORPHANS)
    leaving.world.servers["kafka"].failure = ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError):
        await leaving.go()
