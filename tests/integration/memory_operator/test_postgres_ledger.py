"""Who holds what, on a real server: two Kubernetes clusters on one database never share or drop each other's data."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from postgres_tenants import PASSWORD, converge, delete, new_names, run, run_as_tenant, schema_exists

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, Rejected, Unavailable
from memory_contracts.naming import TenantNames
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.claims import TenantClaim
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.ledger import PostgresLedger
from memory_operator.providers.postgres.tenant import DesiredTenant, desired_tenant
from memory_operator.providers.shapes import Blocked, Term

EAST, WEST = "cluster-east", "cluster-west"


@pytest.fixture
async def open_backend(address: PostgresAddress) -> AsyncIterator[Callable[..., PostgresBackend]]:
    opened: list[PostgresBackend] = []

    def make(
        identity: str = EAST,
        epoch: int | None = None,
        at: PostgresAddress = address,
        *,
        unique_names: bool = False,
        term: Term | None = None,
    ) -> PostgresBackend:
        opened.append(PostgresBackend(at, Claimant(identity, epoch, unique_names), term=term))
        return opened[-1]

    yield make
    for each in opened:
        await each.close()


@pytest.fixture
def east(open_backend) -> PostgresBackend:
    return open_backend(EAST)


@pytest.fixture
def west(open_backend) -> PostgresBackend:
    return open_backend(WEST)


def tenant_of(names: TenantNames, uid: str, claim: TenantClaim | None = None) -> DesiredTenant:
    predecessors = claim.predecessors if claim else frozenset()
    return desired_tenant(names, {"a": PASSWORD}, 1, uid=uid, predecessors=predecessors)


async def provision(backend: PostgresBackend, names: TenantNames, uid: str) -> list[str] | Blocked:
    """What a reconcile does with Postgres: claim, then converge."""
    claim = await PostgresLedger(backend).claim_tenant(names.qualified, uid)
    return claim if isinstance(claim, Blocked) else await converge(backend, tenant_of(names, uid, claim))


async def test_the_first_to_claim_holds_the_tenant_and_may_claim_again(east):
    ledger = PostgresLedger(east)

    first = await ledger.claim_tenant("team-a/notes", "uid-1")
    again = await ledger.claim_tenant("team-a/notes", "uid-1")

    assert isinstance(first, TenantClaim)
    assert again == first
    assert await ledger.tenants() == [first]


@pytest.mark.parametrize("rival", [EAST, WEST], ids=["an object of the same cluster", "another cluster"])
async def test_a_second_claim_is_refused_and_told_who_holds_it(open_backend, rival):
    await PostgresLedger(open_backend(EAST)).claim_tenant("team-a/notes", "uid-1")

    blocked = await PostgresLedger(open_backend(rival)).claim_tenant("team-a/notes", "uid-2")

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.CLAIMED_BY_ANOTHER
    assert "uid-1" in blocked.message
    assert (f"of Kubernetes cluster {EAST}" in blocked.message) is (rival == WEST)


@pytest.mark.parametrize("round_", range(3))
async def test_of_racing_clusters_exactly_one_wins(open_backend, address, round_):
    names, identities = new_names(), [f"cluster-{number}" for number in range(6)]
    outcomes = await asyncio.gather(
        *(provision(open_backend(identity), names, f"uid-of-{identity}") for identity in identities)
    )

    winners = [identity for identity, outcome in zip(identities, outcomes, strict=True) if isinstance(outcome, list)]
    (claim,) = await PostgresLedger(open_backend(EAST)).tenants()
    (mark,) = await run(address, f"select obj_description('{names.schema}'::regnamespace) as mark")
    assert winners == [claim.identity]
    assert claim.uid in mark["mark"]
    assert all(claim.uid in outcome.message for outcome in outcomes if isinstance(outcome, Blocked))


async def test_the_remedy_for_a_holder_that_is_gone_can_be_pasted(east, west, address):
    names = new_names()
    await provision(east, names, "uid-1")
    blocked = await provision(west, names, "uid-2")
    assert isinstance(blocked, Blocked)

    await run(address, blocked.message.partition("gone: ")[2])

    assert isinstance(await provision(west, names, "uid-2"), list)
    assert await converge(west, tenant_of(names, "uid-2")) == []
    assert isinstance(await provision(east, names, "uid-1"), Blocked)


async def test_retained_data_goes_to_a_successor_of_the_same_cluster(east, address):
    names = new_names()
    await provision(east, names, "uid-1")
    await run_as_tenant(address, tenant_of(names, "uid-1"), "insert into metadata values ('kept', 'yes')")
    await delete(east, tenant_of(names, "uid-1"), drop=False)
    await PostgresLedger(east).release_tenant(names.qualified, "uid-1")

    steps = await provision(east, names, "uid-2")

    assert isinstance(steps, list)
    assert f"mark schema {names.schema} as {names.qualified}'s" in steps
    assert await run_as_tenant(address, tenant_of(names, "uid-2"), "select from metadata where name = 'kept'")
    assert await provision(east, names, "uid-2") == []


async def test_retained_data_does_not_go_to_another_cluster(east, west, address):
    names = new_names()
    await provision(east, names, "uid-1")
    await delete(east, tenant_of(names, "uid-1"), drop=False)
    await PostgresLedger(east).release_tenant(names.qualified, "uid-1")

    blocked = await provision(west, names, "uid-2")

    assert isinstance(blocked, Blocked)
    assert "may come back for its data" in blocked.message
    await run(address, blocked.message.partition("over: ")[2])
    assert isinstance(await provision(west, names, "uid-2"), list)


async def test_where_names_are_unique_the_data_of_an_object_that_is_gone_goes_to_the_next(open_backend, address):
    east, names = open_backend(EAST, unique_names=True), new_names()
    await provision(east, names, "uid-1")
    await PostgresLedger(east).of(names.qualified, "uid-1").claim("kafka/x", ["events"])

    assert isinstance(await PostgresLedger(east).peek_tenant(names.qualified, "uid-2"), TenantClaim)
    assert isinstance(await provision(east, names, "uid-2"), list)

    assert await converge(east, tenant_of(names, "uid-2")) == []
    assert await PostgresLedger(east).of(names.qualified, "uid-2").claimed("kafka/x") == {"events"}
    late = await provision(east, names, "uid-1")
    assert isinstance(late, Blocked)
    assert "uid-2 of this Kubernetes cluster" in late.message
    assert await delete(east, tenant_of(names, "uid-1")) == []


async def test_where_names_are_unique_another_cluster_is_still_refused(open_backend):
    names = new_names()
    await provision(open_backend(EAST, unique_names=True), names, "uid-1")

    assert isinstance(await provision(open_backend(WEST, unique_names=True), names, "uid-2"), Blocked)


async def test_a_look_at_a_claim_makes_neither_the_claim_nor_the_ledger(east, address):
    assert await PostgresLedger(east).peek_tenant("team-a/notes", "uid-1") is None

    assert await run(address, "select from pg_namespace where nspname = 'memory_operator'") == []


async def test_a_look_at_a_claim_tells_what_claiming_would(east, west):
    ledger = PostgresLedger(east)
    claim = await ledger.claim_tenant("team-a/notes", "uid-1")

    assert await ledger.peek_tenant("team-a/notes", "uid-1") == claim
    assert isinstance(await ledger.peek_tenant("team-a/notes", "uid-2"), Blocked)
    await ledger.release_tenant("team-a/notes", "uid-1")
    seen = await ledger.peek_tenant("team-a/notes", "uid-2")
    assert isinstance(await PostgresLedger(west).peek_tenant("team-a/notes", "uid-2"), Blocked)
    taken = await ledger.claim_tenant("team-a/notes", "uid-2")

    assert isinstance(seen, TenantClaim)
    assert isinstance(taken, TenantClaim)
    assert (seen.uid, seen.predecessors) == (taken.uid, taken.predecessors) == ("uid-2", {"uid-1"})


async def test_a_forgotten_tenant_is_free_for_everybody(east, west):
    ledger = PostgresLedger(east)
    await ledger.claim_tenant("team-a/notes", "uid-1")

    for _ in range(2):
        await ledger.forget_tenant("team-a/notes", "uid-1")

    assert isinstance(await PostgresLedger(west).claim_tenant("team-a/notes", "uid-2"), TenantClaim)


@pytest.mark.parametrize("act", ["release_tenant", "forget_tenant"])
async def test_who_does_not_hold_a_tenant_cannot_give_it_up(east, west, act):
    claim = await PostgresLedger(east).claim_tenant("team-a/notes", "uid-1")

    await getattr(PostgresLedger(west), act)("team-a/notes", "uid-1")
    await getattr(PostgresLedger(east), act)("team-a/notes", "uid-2")

    assert await PostgresLedger(east).tenants() == [claim]


async def test_a_loser_that_goes_on_regardless_can_neither_change_nor_drop(east, west, address):
    """The mark and the ledger each stop it, also when it never asked for the claim."""
    names = new_names()
    await provision(east, names, "uid-1")
    loser, unmarked = tenant_of(names, "uid-2"), tenant_of(names, "uid-1")

    assert isinstance(await converge(west, loser), Blocked)
    assert await delete(west, loser) == []
    with pytest.raises(Conflict, match="held by the object with uid uid-1"):
        await delete(west, unmarked)  # it even knows the holder's uid
    assert await schema_exists(address, loser)
    assert await converge(east, unmarked) == []


async def test_without_a_ledger_the_mark_still_keeps_two_clusters_apart(east, west, address):
    names = new_names()
    await provision(east, names, "uid-1")
    await run(address, "drop schema memory_operator cascade")

    blocked = await provision(west, names, "uid-2")

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT
    assert "uid-1" in blocked.message


async def test_a_ledger_that_was_dropped_under_us_is_made_again(east, address):
    names = new_names()
    await provision(east, names, "uid-1")
    await run(address, "drop schema memory_operator cascade")

    with pytest.raises((Rejected, Conflict)):
        await provision(east, names, "uid-1")

    assert await provision(east, names, "uid-1") == []


async def test_the_ledger_is_closed_to_tenants(east, address):
    names = new_names()
    await provision(east, names, "uid-1")

    for statement in (
        "select * from memory_operator.tenants",
        "select memory_operator.fence('cluster-east', 99)",
        "delete from memory_operator.objects",
    ):
        with pytest.raises(Exception, match="permission denied for schema"):
            await run_as_tenant(address, tenant_of(names, "uid-1"), statement)


async def test_racing_first_users_make_one_ledger(open_backend):
    names = [new_names() for _ in range(6)]

    outcomes = await asyncio.gather(*(provision(open_backend(EAST), each, "uid-1") for each in names))

    assert all(isinstance(outcome, list) for outcome in outcomes), outcomes
    assert len(await PostgresLedger(open_backend(EAST)).tenants()) == len(names)


async def test_a_foreign_schema_of_that_name_is_refused_and_survives(east, address):
    await run(address, "create schema memory_operator", "create table memory_operator.precious (id int)")

    with pytest.raises(Rejected, match="schema memory_operator exists, but it is not the operator's"):
        await PostgresLedger(east).tenants()

    assert await run(address, "select * from memory_operator.precious") == []


async def test_an_administrator_that_may_not_use_the_ledger_is_told_the_remedy(open_backend, address):
    await PostgresLedger(open_backend(EAST)).claim_tenant("team-a/notes", "uid-1")
    admin = f"admin_{uuid4().hex[:8]}"
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")

    with pytest.raises(Rejected, match=f"GRANT postgres TO {admin}"):
        await PostgresLedger(open_backend(WEST, at=replace(address, user=admin, password=PASSWORD))).tenants()


async def test_a_role_maker_is_enough_for_the_whole_life_of_a_tenant(open_backend, address):
    admin, names = f"admin_{uuid4().hex[:8]}", new_names()
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")
    backend = open_backend(EAST, 1, at=replace(address, user=admin, password=PASSWORD))

    assert isinstance(await provision(backend, names, "uid-1"), list)
    assert await provision(backend, names, "uid-1") == []
    await delete(backend, tenant_of(names, "uid-1"))
    await PostgresLedger(backend).forget_tenant(names.qualified, "uid-1")

    assert await PostgresLedger(backend).tenants() == []
    assert not await schema_exists(address, tenant_of(names, "uid-1"))


# Crashes between two transactions


async def test_a_claim_whose_pass_never_came_is_kept_for_the_same_object_only(east, west):
    names = new_names()
    await PostgresLedger(east).claim_tenant(names.qualified, "uid-1")

    assert isinstance(await provision(west, names, "uid-2"), Blocked)
    assert isinstance(await provision(east, names, "uid-1"), list)


async def test_a_pass_without_a_claim_changes_nothing(east, address):
    tenant = tenant_of(new_names(), "uid-1")

    with pytest.raises(Conflict, match="is not claimed"):
        await converge(east, tenant)

    assert not await schema_exists(address, tenant)


async def test_a_drop_whose_claim_was_not_forgotten_is_finished_later(east, west, address):
    names = new_names()
    await provision(east, names, "uid-1")
    await delete(east, tenant_of(names, "uid-1"))
    assert isinstance(await provision(west, names, "uid-2"), Blocked)

    assert await delete(east, tenant_of(names, "uid-1")) == []
    await PostgresLedger(east).forget_tenant(names.qualified, "uid-1")

    assert isinstance(await provision(west, names, "uid-2"), list)


async def test_an_object_that_was_claimed_and_never_made_can_be_claimed_again(east):
    ledger = PostgresLedger(east)
    await ledger.claim_tenant("team-a/notes", "uid-1")

    for _ in range(2):
        await ledger.of("team-a/notes", "uid-1").claim("kafka/x", ["events"])

    assert await ledger.of("team-a/notes", "uid-1").claimed("kafka/x") == {"events"}


async def test_who_only_looks_makes_no_ledger(east, address):
    """Regression: a dry run made it, when it asked what is claimed in Kafka and Redis."""
    ledger = PostgresLedger(east)

    assert await ledger.of("team-a/notes", "uid-1").claimed("kafka/x") == frozenset()
    assert await ledger.peek_tenant("team-a/notes", "uid-1") is None
    assert await ledger.tenants() == []

    assert await run(address, "select from pg_namespace where nspname = 'memory_operator'") == []


async def test_a_take_over_that_was_cut_off_before_the_marks_is_finished_by_the_next_pass(east, address):
    names = new_names()
    await provision(east, names, "uid-1")
    await PostgresLedger(east).release_tenant(names.qualified, "uid-1")
    await PostgresLedger(east).claim_tenant(names.qualified, "uid-2")

    await PostgresLedger(east).release_tenant(names.qualified, "uid-2")

    assert isinstance(await provision(east, names, "uid-3"), list)
    assert await provision(east, names, "uid-3") == []
    (mark,) = await run(address, f"select obj_description('{names.schema}'::regnamespace) as mark")
    assert "uid-3" in mark["mark"]


# Objects of other backends


@pytest.fixture
async def objects(east):
    ledger = PostgresLedger(east)
    await ledger.claim_tenant("team-a/notes", "uid-1")
    return ledger.of("team-a/notes", "uid-1")


async def test_claimed_objects_are_the_tenants_until_released(objects):
    await objects.claim("kafka/x", ["events", "ingest"])
    await objects.claim("kafka/x", {"events"})
    await objects.claim("redis/y", ["user"])
    assert await objects.claimed("kafka/x") == {"events", "ingest"}

    await objects.release("kafka/x", ["events", "unknown"])

    assert await objects.claimed("kafka/x") == {"ingest"}
    assert await objects.claimed("redis/y") == {"user"}


async def test_an_object_of_another_tenant_is_refused_and_nothing_of_the_claim_stays(objects, west):
    other = PostgresLedger(west)
    await other.claim_tenant("team-b/notes", "uid-9")
    await other.of("team-b/notes", "uid-9").claim("kafka/x", ["events"])

    with pytest.raises(Conflict, match="events in kafka/x is claimed by tenant team-b/notes"):
        await objects.claim("kafka/x", ["before", "events"])

    assert await objects.claimed("kafka/x") == frozenset()


async def test_racing_tenants_never_both_get_an_object(east):
    ledger, tenants = PostgresLedger(east), [f"team-{number}/notes" for number in range(6)]
    for tenant in tenants:
        await ledger.claim_tenant(tenant, "uid-1")

    outcomes = await asyncio.gather(
        *(ledger.of(tenant, "uid-1").claim("kafka/x", ["b", "a"]) for tenant in tenants), return_exceptions=True
    )

    owners = [tenant for tenant in tenants if await ledger.of(tenant, "uid-1").claimed("kafka/x")]
    assert [tenant for tenant, outcome in zip(tenants, outcomes, strict=True) if outcome is None] == owners
    assert len(owners) == 1


async def test_who_lost_the_tenant_has_no_objects(east, objects):
    await objects.claim("kafka/x", ["events"])
    ledger = PostgresLedger(east)
    await ledger.release_tenant("team-a/notes", "uid-1")

    with pytest.raises(Conflict, match="not claimed"):
        await objects.claim("kafka/x", ["ingest"])
    await ledger.claim_tenant("team-a/notes", "uid-2")

    assert await objects.claimed("kafka/x") == frozenset()
    assert await ledger.of("team-a/notes", "uid-2").claimed("kafka/x") == {"events"}


async def test_objects_are_forgotten_with_their_tenant(east, objects):
    await objects.claim("kafka/x", ["events"])

    await PostgresLedger(east).forget_tenant("team-a/notes", "uid-1")
    await PostgresLedger(east).claim_tenant("team-b/notes", "uid-2")
    of_another = PostgresLedger(east).of("team-b/notes", "uid-2")
    await of_another.claim("kafka/x", ["events"])
    assert await of_another.claimed("kafka/x") == {"events"}


# Leaders


async def test_an_older_leader_may_not_write_any_more(open_backend, address):
    old, new, names = open_backend(EAST, 1), open_backend(EAST, 2), new_names()
    await provision(old, names, "uid-1")
    await provision(new, new_names(), "uid-2")
    await run(address, f"alter role {names.login_role('a')} connection limit 1")

    for attempt in (
        provision(old, names, "uid-1"),
        PostgresLedger(old).claim_tenant("team-a/new", "uid-3"),
        PostgresLedger(old).release_tenant(names.qualified, "uid-1"),
        PostgresLedger(old).of(names.qualified, "uid-1").claim("kafka/x", ["events"]),
    ):
        with pytest.raises(Conflict, match=r"another leader took over \(epoch 2, this one has 1\)"):
            await attempt

    (limit,) = await run(address, f"select rolconnlimit from pg_roles where rolname = '{names.login_role('a')}'")
    assert limit["rolconnlimit"] == 1
    assert isinstance(await provision(new, names, "uid-1"), list)


async def test_a_leader_that_froze_in_the_middle_holds_no_lock_against_its_successor(open_backend):
    """Frozen after it had a question parsed and before it asked: no timeout of the server's runs then."""
    old, new, names = open_backend(EAST, 1), open_backend(EAST, 2), new_names()
    await provision(old, names, "uid-1")
    with pytest.raises(Unavailable):
        async with old.session(tenant_of(names, "uid-1")) as session:
            await session._connection.execute(session._guard)
            await session._connection.prepare("select 1")

            assert isinstance(await provision(new, names, "uid-1"), list)


async def test_leaders_of_other_clusters_and_replicas_of_the_same_term_keep_their_sessions(open_backend, address):
    kept = open_backend(WEST, 1), open_backend(EAST, 2)
    for each in kept:
        await each.facts()

    await provision(open_backend(EAST, 2), new_names(), "uid-1")

    rows = await run(
        address, "select application_name as name from pg_stat_activity where datname = current_database()"
    )
    assert {f"memory-operator {WEST} 1", f"memory-operator {EAST} 2"} <= {each["name"] for each in rows}


async def test_leaders_of_other_clusters_do_not_count(open_backend):
    await provision(open_backend(WEST, 7), new_names(), "uid-1")

    assert isinstance(await provision(open_backend(EAST, 1), new_names(), "uid-2"), list)


async def test_an_older_leader_may_still_look(open_backend):
    old, names = open_backend(EAST, 1), new_names()
    await provision(old, names, "uid-1")
    await provision(open_backend(EAST, 2), new_names(), "uid-2")

    assert await converge(old, tenant_of(names, "uid-1")) == []


async def test_what_a_leader_was_writing_when_its_successor_came_is_taken_back(open_backend, address):
    """Nothing of the old leader can come after the new one has begun."""
    old, new, names = open_backend(EAST, 1), open_backend(EAST, 2), new_names()
    await PostgresLedger(old).claim_tenant(names.qualified, "uid-1")

    with pytest.raises(Unavailable):
        async with PostgresLedger(old).changing() as connection:
            await connection.execute("update memory_operator.tenants set released_at = now()")
            async with asyncio.timeout(5):
                assert isinstance(await PostgresLedger(new).claim_tenant("team-b/notes", "uid-2"), TenantClaim)

    rows = await run(address, "select released_at from memory_operator.tenants")
    assert [each["released_at"] for each in rows] == [None, None]


async def test_many_passes_of_one_leader_do_not_wait_for_one_another(open_backend):
    first, second = (PostgresLedger(open_backend(EAST, 3)) for _ in range(2))

    async with asyncio.timeout(5), first.changing(), second.changing():
        pass


class Office:
    """A term as the elector keeps it; `leads` is whether the Lease is still ours."""

    def __init__(self, epoch: int, *, leads: bool = True) -> None:
        self.epoch, self.is_leader = epoch, leads

    async def raise_epoch(self, above: int) -> int:
        if not self.is_leader:
            raise Conflict("somebody else leads")
        self.epoch = above + 1
        return self.epoch


async def test_a_leader_that_begins_a_new_term_goes_on_with_the_same_connections(open_backend):
    office = Office(1)
    backend, names = open_backend(EAST, term=office), new_names()
    await provision(backend, names, "uid-1")
    await provision(open_backend(EAST, 2), new_names(), "uid-2")

    office.epoch = 3

    assert isinstance(await provision(backend, new_names(), "uid-3"), list)


async def test_a_leader_whose_lease_began_anew_outgrows_the_epoch_that_is_remembered(open_backend, address):
    await provision(open_backend(EAST, 7), new_names(), "uid-1")
    office = Office(1)
    backend, names = open_backend(EAST, term=office), new_names()

    assert isinstance(await provision(backend, names, "uid-2"), list)

    assert office.epoch == 8
    (found,) = await run(address, "select epoch from memory_operator.fencing")
    assert found["epoch"] == 8


async def test_a_former_leader_does_not_outgrow_its_successor(open_backend):
    await provision(open_backend(EAST, 7), new_names(), "uid-1")
    office = Office(6, leads=False)

    with pytest.raises(Conflict, match="another leader took over"):
        await provision(open_backend(EAST, term=office), new_names(), "uid-2")

    assert office.epoch == 6
