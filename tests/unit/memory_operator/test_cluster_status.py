"""One pass over a MemoryCluster: which backends answer, who uses it, and who has to look again."""

from datetime import timedelta

import pytest
from fake_world import EVERY_BACKEND, NOW, QDRANT, FakeWorld, down
from tenants import cluster

from memory_contracts.api.status import BackendStatus, NamespaceCount
from memory_contracts.conditions import ClusterConditionType, ConditionStatus, Reason
from memory_contracts.errors import Rejected
from memory_contracts.v1alpha1 import MemoryCluster, MemoryClusterStatus
from memory_operator.cluster import READ_ONLY, answers_changed, reconcile_cluster
from memory_operator.providers.shapes import BackendFacts

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
NOBODY = NamespaceCount()


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


async def look(world: FakeWorld, at: MemoryCluster, users: NamespaceCount = NOBODY) -> MemoryClusterStatus:
    status, _ = await reconcile_cluster(at, users, world.world())
    return status


def by_type(status: MemoryClusterStatus):
    return {each.type: each for each in status.conditions}


async def test_a_cluster_whose_backends_all_answer_is_ready(world):
    status = await look(world, cluster(**EVERY_BACKEND))

    assert [each.type for each in status.conditions] == list(ClusterConditionType)
    assert {each.status for each in status.conditions} == {TRUE}
    assert by_type(status)["KafkaReady"].message == "Kafka 1.0 answers"
    assert by_type(status)["Ready"].message == "all backends answer"
    assert status.backends.redis == BackendStatus(version="1.0", identity="redis-identity")


async def test_what_is_not_named_is_not_needed(world):
    found = by_type(await look(world, cluster()))

    for stage, name in (("QdrantReady", "qdrant"), ("KafkaReady", "kafka"), ("RedisReady", "redis")):
        assert (found[stage].reason, found[stage].message) == (Reason.NOT_CONFIGURED, f"spec.{name} is absent")
    assert found["Ready"].status is TRUE


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (down(), UNKNOWN, Reason.BACKEND_UNAVAILABLE),
        (Rejected("who?", reason=Reason.AUTHENTICATION_FAILED), FALSE, Reason.AUTHENTICATION_FAILED),
    ],
    ids=["down", "wrong password"],
)
async def test_a_backend_that_does_not_answer_is_named_and_the_others_are_still_told(world, failure, status, reason):
    world.servers["kafka"].failure = failure

    found = by_type(await look(world, cluster(**EVERY_BACKEND)))

    assert (found["KafkaReady"].status, found["KafkaReady"].reason) == (status, reason)
    assert {found[each].status for each in ("PostgresReady", "QdrantReady", "RedisReady")} == {TRUE}
    assert found["Ready"].message == f"KafkaReady: {failure.detail}"


@pytest.mark.parametrize(
    ("field", "stage"),
    [
        ("postgres", "PostgresReady"),
        ("kafka", "KafkaReady"),
        ("redis.external", "RedisReady"),
        ("qdrant", "QdrantReady"),
        (None, "PostgresReady"),
    ],
)
async def test_a_missing_secret_is_told_where_its_backend_is(world, field, stage):
    world.unreachable = Rejected("Secret x is missing", reason=Reason.SECRET_NOT_FOUND, field=field)

    status, backends = await reconcile_cluster(cluster(**EVERY_BACKEND), NOBODY, world.world())

    assert backends is None
    assert (by_type(status)[stage].status, by_type(status)[stage].reason) == (FALSE, Reason.SECRET_NOT_FOUND)
    assert by_type(status)["Ready"].message == f"{stage}: Secret x is missing"


@pytest.mark.parametrize(
    ("limit", "total", "status", "message"),
    [
        (None, 7, TRUE, "7 namespaces, without a limit"),
        (7, 7, TRUE, "7 of 7 namespaces"),
        (
            6,
            7,
            FALSE,
            "7 namespaces refer to this cluster, which takes 6; raise spec.capacity.maxNamespaces, or delete some",
        ),
    ],
)
async def test_room_is_a_condition_of_its_own(world, limit, total, status, message):
    found = by_type(await look(world, cluster(capacity={"maxNamespaces": limit}), NamespaceCount(total=total)))

    assert (found["CapacityAvailable"].status, found["CapacityAvailable"].message) == (status, message)
    assert found["Ready"].status is status


async def test_who_uses_it_is_counted(world):
    users = NamespaceCount(total=3, ready=2)

    assert (await look(world, cluster(), users)).namespaces == users


async def test_a_second_look_at_the_same_gives_the_very_same_status(world):
    at = cluster(**EVERY_BACKEND)
    first = await look(world, at)
    world.passed = timedelta(hours=1)

    assert await look(world, at.model_copy(update={"status": first})) == first
    assert {each.last_transition_time for each in first.conditions} == {NOW}


async def test_what_a_backend_said_last_stays_while_it_does_not_answer(world):
    at = cluster(**EVERY_BACKEND)
    at = at.model_copy(update={"status": await look(world, at)})
    world.servers["kafka"].failure = down()

    assert (await look(world, at)).backends.kafka == at.status.backends.kafka


async def test_a_backend_that_is_no_longer_named_is_no_longer_told_of(world):
    before = await look(world, cluster(**EVERY_BACKEND))

    after = await look(world, cluster(qdrant=QDRANT).model_copy(update={"status": before}))

    assert (after.backends.kafka, after.backends.redis) == (None, None)
    assert after.backends.qdrant


async def test_a_backend_that_takes_no_writes_is_not_ready_although_it_answers(world):
    world.servers["redis"].facts = BackendFacts("1.0", "a-replica", (READ_ONLY,))

    status = await look(world, cluster(**EVERY_BACKEND))

    told = by_type(status)["RedisReady"]
    assert (told.status, told.reason) == (UNKNOWN, Reason.BACKEND_READ_ONLY)
    assert "name the primary" in told.message
    assert status.backends.redis.identity == "a-replica"


# --- who has to look again --------------------------------------------------------------------------------------------


async def test_a_new_cluster_is_what_somebody_may_wait_for(world):
    world.unreachable = down()

    assert answers_changed(None, await look(world, cluster()))


async def test_a_backend_that_comes_back_or_goes_is_what_its_users_have_to_know(world):
    at = cluster(**EVERY_BACKEND)
    well = await look(world, at)
    world.servers["kafka"].failure = down()
    broken = await look(world, at.model_copy(update={"status": well}))

    assert answers_changed(broken, well)
    assert answers_changed(well, broken)
    assert not answers_changed(well, well)
    assert not answers_changed(broken, broken)
