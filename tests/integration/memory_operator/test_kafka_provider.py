"""The Kafka provider on a real broker: what it makes, repairs, refuses, and keeps apart."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from kafka.broker import KafkaBroker
from kafka.tenants import BACKEND, DictLedger, connection_to, events, new_tenant, resized, stem
from kafka.world import KafkaWorld

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, Rejected
from memory_operator.providers.kafka.client import KafkaClient
from memory_operator.providers.kafka.plan import plan, plan_deletion, shrink_refused
from memory_operator.providers.kafka.topics import DesiredTopics
from memory_operator.providers.shapes import Blocked, Claim

A_YEAR_AGO = int((time.time() - 365 * 24 * 3600) * 1000)


@pytest.fixture(params=["kafka_plain", "kafka_tls_scram"])
def broker(request: pytest.FixtureRequest) -> KafkaBroker:
    return request.getfixturevalue(request.param)


@pytest.fixture
def world(broker: KafkaBroker) -> KafkaWorld:
    return KafkaWorld(broker)


@pytest.fixture
async def client(broker: KafkaBroker) -> AsyncIterator[KafkaClient]:
    async with KafkaClient(connection_to(broker)) as client:
        yield client


async def converge(client: KafkaClient, tenant: DesiredTopics, ledger: DictLedger) -> list[str] | Blocked:
    """One pass, as the reconcile makes it; returns the summaries of the steps."""
    steps = plan(tenant, await client.observe(tenant, await ledger.claimed(BACKEND)))
    if isinstance(steps, Blocked):
        return steps
    await client.apply(tenant, steps, ledger, BACKEND)
    return [step.summary for step in steps]


async def delete(client: KafkaClient, tenant: DesiredTopics, ledger: DictLedger) -> list[str]:
    steps = plan_deletion(tenant, await client.observe(tenant, await ledger.claimed(BACKEND)))
    await client.apply(tenant, steps, ledger, BACKEND)
    return [step.summary for step in steps]


async def made(client: KafkaClient, **shape: int) -> tuple[DesiredTopics, DictLedger]:
    """A new tenant, converged."""
    tenant = new_tenant(**shape)
    ledger = DictLedger(tenant.tenant)
    assert await converge(client, tenant, ledger)
    return tenant, ledger


async def test_a_converged_tenant_needs_no_step(client):
    tenant, ledger = await made(client)

    assert await converge(client, tenant, ledger) == []


async def test_the_topics_are_as_asked_for(client, world):
    tenant, ledger = await made(client, partitions=3)

    assert world.partitions(stem(tenant)) == {
        f"{stem(tenant)}.events": 3,
        f"{stem(tenant)}.ingest": 3,
        f"{stem(tenant)}.dead-letter": 1,
    }
    assert (
        world.config(events(tenant)).items()
        >= {
            "retention.ms": str(7 * 24 * 3600 * 1000),
            "cleanup.policy": "delete",
            "min.insync.replicas": "1",
        }.items()
    )
    assert await ledger.claimed(BACKEND) == world.partitions(stem(tenant)).keys()


async def test_an_imported_record_stays_although_it_says_that_it_is_old(client, world, eventually):
    tenant, _ = await made(client, partitions=1)
    world.create(f"{stem(tenant)}-stock")
    for topic in (events(tenant), f"{stem(tenant)}-stock"):
        world.produce(topic, b"last year's", timestamp=A_YEAR_AGO)

    await eventually(lambda: world.first_offset(f"{stem(tenant)}-stock") == 1)

    assert world.first_offset(events(tenant)) == 0
    world.delete(f"{stem(tenant)}-stock")


async def test_the_largest_request_to_the_api_fits_into_an_event(client, world):
    tenant, _ = await made(client)

    world.produce(events(tenant), b"x" * (5 * 1024 * 1024 + 100_000))


async def test_more_partitions_are_added(client, world):
    tenant, ledger = await made(client)

    steps = await converge(client, resized(tenant, 5), ledger)

    assert steps == [f"grow topic {events(tenant)} from 2 to 5 partitions"]
    assert world.partitions(events(tenant)) == {events(tenant): 5}
    assert await converge(client, resized(tenant, 5), ledger) == []


async def test_fewer_partitions_are_refused_and_the_rest_is_repaired(client, world):
    tenant, ledger = await made(client)
    world.grow(events(tenant), 4)
    world.configure(events(tenant), retention_ms="1000")

    assert await converge(client, tenant, ledger) == [f"set retention.ms=604800000 of topic {events(tenant)}"]

    assert await converge(client, tenant, ledger) == []
    assert world.partitions(events(tenant)) == {events(tenant): 4}
    refused = shrink_refused(tenant, await client.observe(tenant, await ledger.claimed(BACKEND)))
    assert refused is not None
    assert refused.reason is Reason.CANNOT_SHRINK
    assert "has 4 partitions, the spec asks for 2" in refused.message


async def test_a_foreign_topic_is_refused_and_survives_the_deletion(client, world):
    tenant = new_tenant()
    ledger = DictLedger(tenant.tenant)
    world.create(events(tenant), partitions=7)
    world.produce(events(tenant), b"precious")

    blocked = await converge(client, tenant, ledger)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT
    assert events(tenant) in blocked.message
    assert await delete(client, tenant, ledger) == []
    assert world.partitions(stem(tenant)) == {events(tenant): 7}


async def test_a_tenant_is_made_when_the_foreign_topic_has_gone(client, world):
    tenant = new_tenant()
    ledger = DictLedger(tenant.tenant)
    world.create(events(tenant))
    assert isinstance(await converge(client, tenant, ledger), Blocked)

    world.delete(events(tenant))

    assert await converge(client, tenant, ledger)
    assert len(world.partitions(stem(tenant))) == 3


async def test_drift_of_our_values_is_repaired_and_others_are_left_alone(client, world):
    tenant, ledger = await made(client)
    world.configure(events(tenant), retention_ms="1000", cleanup_policy="compact", flush_ms="4000")

    await converge(client, tenant, ledger)

    found = world.config(events(tenant))
    assert (found["retention.ms"], found["cleanup.policy"], found["flush.ms"]) == ("604800000", "delete", "4000")
    assert await converge(client, tenant, ledger) == []


async def test_a_topic_deleted_behind_our_back_is_made_again(client, world):
    tenant, ledger = await made(client)
    world.delete(events(tenant))

    assert await converge(client, tenant, ledger) == [f"create topic {events(tenant)} with 2 partitions"]

    assert len(world.partitions(stem(tenant))) == 3
    assert await converge(client, tenant, ledger) == []


async def test_deletion_leaves_nothing_and_may_be_repeated(client, world):
    tenant, ledger = await made(client)

    assert await delete(client, tenant, ledger)

    assert world.partitions(stem(tenant)) == {}
    assert ledger.claims == {}
    assert await delete(client, tenant, ledger) == []


async def test_deletion_of_what_somebody_has_deleted_already_gives_the_claims_up(client, world):
    tenant, ledger = await made(client)
    for topic in world.partitions(stem(tenant)):
        world.delete(topic)

    await delete(client, tenant, ledger)

    assert ledger.claims == {}


async def test_a_topic_that_vanishes_between_look_and_deletion_is_no_failure(client, world):
    tenant, ledger = await made(client)
    steps = plan_deletion(tenant, await client.observe(tenant, await ledger.claimed(BACKEND)))
    world.delete(events(tenant))

    await client.apply(tenant, steps, ledger, BACKEND)

    assert world.partitions(stem(tenant)) == {}
    assert ledger.claims == {}


async def test_deleted_and_at_once_made_again(client, world):
    tenant, ledger = await made(client)

    for _ in range(3):
        await delete(client, tenant, ledger)
        assert await converge(client, tenant, ledger)

    assert len(world.partitions(stem(tenant))) == 3
    assert await converge(client, tenant, ledger) == []


async def test_a_crash_after_the_claim_is_finished_by_the_next_pass(client, world):
    tenant = new_tenant()
    ledger = DictLedger(tenant.tenant)
    claim, *_ = plan(tenant, await client.observe(tenant, frozenset()))
    assert isinstance(claim, Claim)
    await client.apply(tenant, [claim], ledger, BACKEND)
    assert world.partitions(stem(tenant)) == {}

    await converge(client, tenant, ledger)

    assert len(world.partitions(stem(tenant))) == 3


async def test_a_crash_after_each_topic_is_finished_by_the_next_pass(client, world):
    for survived in range(1, 4):
        tenant = new_tenant()
        ledger = DictLedger(tenant.tenant)
        claim, *creations = plan(tenant, await client.observe(tenant, frozenset()))
        await client.apply(tenant, [claim, *creations[:survived]], ledger, BACKEND)
        assert len(world.partitions(stem(tenant))) == survived

        await converge(client, tenant, ledger)

        assert len(world.partitions(stem(tenant))) == 3
        assert await converge(client, tenant, ledger) == []


async def test_a_crash_after_each_deletion_is_finished_by_the_next_pass(client, world):
    for survived in range(1, 4):
        tenant, ledger = await made(client)
        steps = plan_deletion(tenant, await client.observe(tenant, await ledger.claimed(BACKEND)))
        await client.apply(tenant, steps[:survived], ledger, BACKEND)

        await delete(client, tenant, ledger)

        assert world.partitions(stem(tenant)) == {}
        assert ledger.claims == {}


async def test_who_is_second_to_create_a_topic_does_not_own_it(client, world):
    """Another operator, with a ledger of its own, is faster between our look and our request."""
    tenant = new_tenant()
    ledger = DictLedger(tenant.tenant)
    steps = plan(tenant, await client.observe(tenant, frozenset()))
    world.create(events(tenant), partitions=7)

    with pytest.raises(Conflict, match=f"create topic {events(tenant)}"):
        await client.apply(tenant, steps, ledger, BACKEND)

    assert isinstance(await converge(client, tenant, ledger), Blocked)
    await delete(client, tenant, ledger)
    assert world.partitions(stem(tenant)) == {events(tenant): 7}


async def test_a_look_that_was_too_early_costs_a_conflict_and_no_claim(client):
    """Brokers show a new topic later than the controller has it: we may have made it and not see it yet."""
    tenant, ledger = await made(client)
    nothing_seen = plan(tenant, replace(await client.observe(tenant, await ledger.claimed(BACKEND)), topics={}))
    assert nothing_seen

    with pytest.raises(Conflict):
        await client.apply(tenant, nothing_seen, ledger, BACKEND)

    assert await converge(client, tenant, ledger) == []


@pytest.mark.parametrize("change", ["grown", "deleted"])
async def test_a_topic_that_somebody_changes_meanwhile_is_a_conflict(client, world, change):
    tenant, ledger = await made(client)
    steps = plan(resized(tenant, 4), await client.observe(tenant, await ledger.claimed(BACKEND)))
    world.grow(events(tenant), 6) if change == "grown" else world.delete(events(tenant))

    with pytest.raises(Conflict, match=f"grow topic {events(tenant)} from 2 to 4 partitions"):
        await client.apply(tenant, steps, ledger, BACKEND)


async def test_more_replicas_than_brokers_are_rejected_by_the_name_of_the_field(client, world):
    tenant = new_tenant(replication_factor=3)
    ledger = DictLedger(tenant.tenant)

    with pytest.raises(Rejected, match=r"lower kafka\.defaults\.replicationFactor") as refusal:
        await converge(client, tenant, ledger)

    assert refusal.value.field == "kafka.defaults.replicationFactor"
    assert world.partitions(stem(tenant)) == {}


async def test_a_value_that_kafka_refuses_is_rejected_and_named(client, world):
    tenant, ledger = await made(client)
    first, *others = tenant.topics
    wrong = replace(tenant, topics=(replace(first, config={"retention.ms": "a week"}), *others))

    with pytest.raises(Rejected, match="configuration retention"):
        await converge(client, wrong, ledger)

    assert world.config(events(tenant))["retention.ms"] == "604800000"


async def test_only_the_tenants_that_drifted_are_found(client, world):
    several = [await made(client) for _ in range(6)]
    deleted, emptied, shrunk, foreign, larger, untouched = (tenant for tenant, _ in several)
    claims = {tenant.tenant: await ledger.claimed(BACKEND) for tenant, ledger in several}
    world.delete(events(deleted))
    world.configure(events(emptied), retention_ms="1000")
    world.grow(events(larger), 5)
    claims[foreign.tenant] -= {events(foreign)}
    all_desired = [resized(shrunk, 3), deleted, emptied, foreign, larger, untouched]

    found = await client.drifted(all_desired, claims)

    assert found == {tenant.tenant for tenant in (deleted, emptied, shrunk, foreign)}


async def test_a_look_makes_no_topic_where_the_broker_makes_what_is_asked_for(kafka_parts, tmp_path):
    """As Kafka does by default; a topic made so would be taken for somebody else's."""
    with KafkaBroker(tmp_path / "broker", settings={"auto.create.topics.enable": "true"}) as stock:
        tenant, world = new_tenant(), KafkaWorld(stock)
        async with KafkaClient(connection_to(stock)) as client:
            for _ in range(2):
                assert (await client.observe(tenant, frozenset())).topics == {}
                assert await client.drifted([tenant], {}) == {tenant.tenant}

        assert world.partitions(stem(tenant)) == {}


async def test_nothing_drifts_where_nobody_lives(client):
    assert await client.drifted([], {}) == set()


async def test_many_tenants_at_once_through_one_client(client, world):
    tenants = [new_tenant() for _ in range(12)]
    claims: dict[tuple[str, str], str] = {}
    ledgers = [DictLedger(tenant.tenant, claims) for tenant in tenants]

    async with asyncio.TaskGroup() as group:
        for tenant, ledger in zip(tenants, ledgers, strict=True):
            group.create_task(converge(client, tenant, ledger))

    assert [len(world.partitions(stem(tenant))) for tenant in tenants] == [3] * 12
    claimed = {tenant.tenant: await ledger.claimed(BACKEND) for tenant, ledger in zip(tenants, ledgers, strict=True)}
    assert await client.drifted(tenants, claimed) == set()


async def test_two_tenants_keep_apart_when_one_is_deleted(client, world):
    (mine, my_ledger), (theirs, their_ledger) = await made(client), await made(client)

    async with asyncio.TaskGroup() as group:
        group.create_task(delete(client, mine, my_ledger))
        group.create_task(converge(client, resized(theirs, 4), their_ledger))

    assert world.partitions(stem(mine)) == {}
    assert world.partitions(events(theirs)) == {events(theirs): 4}


async def test_the_cluster_is_known_by_the_id_of_its_storage(client, broker):
    facts = await client.facts()

    assert facts.identity == broker.cluster_id


async def test_each_step_is_one_event_of_the_log(client, caplog):
    caplog.set_level(logging.INFO)

    tenant, _ = await made(client)

    said = [record for record in caplog.records if getattr(record, "event", "") == "kafka.step"]
    assert [record.getMessage().split(" ")[0] for record in said] == ["claim", "create", "create", "create"]
    assert {record.tenant for record in said} == {tenant.tenant}
