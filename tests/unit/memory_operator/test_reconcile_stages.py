"""One pass over a MemoryNamespace: which stage gates which, what is made, and what the conditions say of it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fake_world import EVERY_BACKEND, KAFKA, REDIS, FakeWorld, Object, down
from tenants import cluster

from memory_contracts.conditions import ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Conflict, Rejected
from memory_operator.outcome import Outcome
from memory_operator.providers.shapes import Blocked
from memory_operator.reconcile import Unwanted, survey
from memory_operator.status import STAGES as IN_ORDER

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
DEPLOYMENT = "Deployment research-api"
OPTIONAL = {"CollectionReady", "TopicReady", "CacheReady"}
OTHERS_TOKEN = "a-token-that-somebody-brought"


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def tenant(world: FakeWorld) -> Object:
    """With all four backends."""
    return Object(world, cluster(**EVERY_BACKEND))


@pytest.fixture
async def ready(tenant: Object) -> Object:
    await tenant.reconcile()
    tenant.world.told.clear()
    return tenant


def states(conditions) -> dict[str, ConditionStatus]:
    return {kind: each.status for kind, each in conditions.items()}


# --- the way up -------------------------------------------------------------------------------------------------------


async def test_an_empty_world_is_ready_after_one_pass_when_the_pods_answer(tenant, world):
    found = await tenant.reconcile()

    assert states(found) == dict.fromkeys(ConditionType, TRUE)
    assert {name for name, each in world.servers.items() if each.holds == {"team-a/research"}} == set(world.servers)
    assert {name for name, each in world.servers.items() if each.lets_in == {"team-a/research"}} == {
        "postgres",
        "redis",
    }
    assert DEPLOYMENT in world.workloads.running
    assert tenant.status.endpoint == "http://research-api.team-a.svc:9595"


async def test_a_second_pass_changes_nothing_and_says_the_very_same(ready, world):
    before = ready.status

    await ready.reconcile()

    assert ready.status == before
    assert world.told == []


@pytest.mark.parametrize(
    ("answers", "kept", "held", "running"),
    [((), False, False, False), ((True,), True, False, False), ((True, True), True, True, False)],
)
async def test_nothing_is_built_on_for_an_object_that_is_not_wanted_any_more(
    tenant, world, answers, kept, held, running
):
    said = iter((*answers, False))

    with pytest.raises(Unwanted):
        await survey(tenant.namespace, tenant.cluster, world.world(), lambda: next(said))

    made = bool(world.secrets.kept), bool(world.servers["postgres"].holds), bool(world.workloads.running)
    assert made == (kept, held, running)


async def test_what_the_cluster_does_not_name_is_no_problem(world):
    found = await Object(world).reconcile()

    assert {kind for kind, each in found.items() if each.reason is Reason.NOT_CONFIGURED} == OPTIONAL
    assert {each.status for kind, each in found.items() if kind not in OPTIONAL} == {TRUE}
    assert world.servers["kafka"].holds == set()


async def test_ready_waits_for_the_pods(tenant, world):
    world.workloads.pods_answer = False

    found = await tenant.reconcile()

    assert (found["Ready"].status, found["Ready"].reason) == (FALSE, Reason.PROGRESSING)
    assert found["Ready"].message == "APIAvailable: 0 of 1 ready; waiting for the readiness probe"
    world.workloads.pods_answer = True
    assert (await tenant.reconcile())["Ready"].status is TRUE


SCALED = {"autoscaling": {"maxReplicas": 3}}
NO_CPU = {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}
HALF_A_CPU = {"requests": {"cpu": "500m"}}


@pytest.fixture
def without_cpu(tenant: Object) -> Object:
    """Its MemoryCluster gives processes no CPU."""
    tenant.cluster = cluster(**EVERY_BACKEND, defaults={"resources": NO_CPU})
    return tenant


async def test_an_autoscaler_without_cpu_to_measure_is_told_with_the_remedy_and_the_rest_is_done(without_cpu, world):
    without_cpu.edit(api=SCALED)

    found = await without_cpu.reconcile()

    assert (found["Synced"].status, found["Synced"].reason) == (FALSE, Reason.REJECTED)
    assert found["Synced"].message == (
        "spec.api.autoscaling measures CPU use against requests.cpu, which spec.defaults.resources of MemoryCluster "
        "memory-system/default lacks; give it there or in spec.api.resources, or remove autoscaling"
    )
    assert {kind for kind, each in found.items() if each.status is not TRUE} == {"Synced"}
    assert DEPLOYMENT in world.workloads.running


@pytest.mark.parametrize(
    ("resources", "spec"),
    [
        (HALF_A_CPU, {"api": SCALED}),
        ({"limits": {"cpu": 1}}, {"api": SCALED}),
        (NO_CPU, {"api": {**SCALED, "resources": HALF_A_CPU}}),
        (NO_CPU, {"api": {"replicas": 3}}),
    ],
    ids=["the cluster's request", "the cluster's limit", "its own request", "nothing scales"],
)
async def test_an_autoscaler_that_can_measure_keeps_nothing_from_being_in_sync(tenant, resources, spec):
    tenant.cluster = cluster(**EVERY_BACKEND, defaults={"resources": resources})
    tenant.edit(**spec)

    assert (await tenant.reconcile())["Synced"].status is TRUE


async def test_a_namespace_is_fenced_whatever_its_autoscaler_lacks(without_cpu, world):
    without_cpu.edit(api=SCALED)
    await without_cpu.reconcile()

    without_cpu.edit(api=SCALED, state="Fenced")
    found = await without_cpu.reconcile()

    assert world.workloads.running[DEPLOYMENT]["spec"]["replicas"] == 0
    assert found["Synced"].status is TRUE


def said_of_pods(found) -> list[tuple[str, str]]:
    return [(found[kind].status.value, found[kind].message) for kind in ("APIAvailable", "Synced", "Ready")]


URL = "http://research-api.team-a.svc:9595"


async def test_it_stays_ready_while_further_processes_start(tenant, world):
    """Regression: a namespace that was scaled out was not ready, although it served as before."""
    tenant.edit(api={"replicas": 2})
    await tenant.reconcile()

    tenant.edit(api={"replicas": 3})
    world.workloads.slow = 1
    for _ in range(2):
        assert said_of_pods(await tenant.reconcile()) == [
            ("True", f"2 of 3 ready at {URL}"),
            ("False", "2 of 3 ready; waiting for the readiness probe"),
            ("True", "stores and recalls memories"),
        ]

    world.workloads.slow = 0
    assert [status for status, _ in said_of_pods(await tenant.reconcile())] == ["True", "True", "True"]


async def test_it_is_not_ready_while_one_that_served_is_missing(tenant, world):
    tenant.edit(api={"replicas": 2})
    await tenant.reconcile()

    world.workloads.slow = 1
    for _ in range(2):
        message = "1 of 2 ready; waiting for the readiness probe"
        assert said_of_pods(await tenant.reconcile()) == [
            ("False", message),
            ("False", message),
            ("False", f"APIAvailable: {message}"),
        ]

    world.workloads.slow = 0
    assert (await tenant.reconcile())["Ready"].status is TRUE


async def test_a_first_roll_out_is_ready_when_all_of_it_is(tenant, world):
    tenant.edit(api={"replicas": 2})
    for world.workloads.slow in (2, 1):
        assert (await tenant.reconcile())["Ready"].status is FALSE

    world.workloads.slow = 0
    assert (await tenant.reconcile())["Ready"].status is TRUE


async def test_scaling_out_that_is_stuck_is_told_while_the_others_serve(tenant, world):
    await tenant.reconcile()

    tenant.edit(api={"replicas": 2})
    world.workloads.slow, world.workloads.reason = 1, Reason.QUOTA_EXCEEDED
    world.workloads.detail = "pods is forbidden: exceeded quota: small"
    found = await tenant.reconcile()

    assert found["Ready"].status is TRUE
    assert (found["Synced"].reason, found["Synced"].message) == (Reason.QUOTA_EXCEEDED, world.workloads.detail)


# --- one stage holds the later ones -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Obstacle:
    """What is broken before the first pass, and what the pass says of it."""

    name: str
    put: Callable[[Object], object]
    stage: str
    status: ConditionStatus
    reason: Reason


def set_on(part: str, name: str, value: object) -> Callable[[Object], object]:
    return lambda tenant: setattr(getattr(tenant.world, part) if part else tenant.world, name, value)


def on_postgres(name: str, value: object) -> Callable[[Object], object]:
    return lambda tenant: setattr(tenant.world.servers["postgres"], name, value)


FOREIGN = Blocked(Reason.FOREIGN_OBJECT, "schema mem_x is somebody else's")
OBSTACLES = [
    Obstacle("no cluster", lambda tenant: setattr(tenant, "cluster", None), "ClusterAccepted", FALSE,
             Reason.CLUSTER_NOT_FOUND),
    Obstacle("no consent", set_on("", "refusal", Rejected("no", reason=Reason.NAMESPACE_NOT_ALLOWED)),
             "ClusterAccepted", FALSE, Reason.NAMESPACE_NOT_ALLOWED),
    Obstacle("no admin Secret", set_on("", "unreachable", Rejected("no", reason=Reason.SECRET_NOT_FOUND)),
             "ClusterAccepted", FALSE, Reason.SECRET_NOT_FOUND),
    Obstacle("no answer about the Secret", set_on("", "unreachable", down()), "ClusterAccepted", UNKNOWN,
             Reason.BACKEND_UNAVAILABLE),
    Obstacle("claimed", lambda tenant: tenant.world.backends.claims.update({"team-a/research": "other"}), "Claimed",
             FALSE, Reason.CLAIMED_BY_ANOTHER),
    Obstacle("no database", on_postgres("failure", down()), "Claimed", UNKNOWN, Reason.BACKEND_UNAVAILABLE),
    Obstacle("wrong password", on_postgres("failure", Rejected("no", reason=Reason.AUTHENTICATION_FAILED)), "Claimed",
             FALSE, Reason.AUTHENTICATION_FAILED),
    Obstacle("foreign Secret", set_on("secrets", "failure", Rejected("no", reason=Reason.FOREIGN_OBJECT)),
             "CredentialsReady", FALSE, Reason.FOREIGN_OBJECT),
    Obstacle("no token Secret", lambda tenant: tenant.edit(api={"auth": {"tokenSecretRef": {"name": "theirs"}}}),
             "CredentialsReady", FALSE, Reason.SECRET_NOT_FOUND),
    Obstacle("foreign schema", on_postgres("blocked", FOREIGN), "SchemaReady", FALSE, Reason.FOREIGN_OBJECT),
]  # fmt: skip


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda each: each.name)
async def test_a_stage_that_does_not_pass_holds_all_later_ones(tenant, world, obstacle):
    obstacle.put(tenant)

    found = await tenant.reconcile()

    assert (found[obstacle.stage].status, found[obstacle.stage].reason) == (obstacle.status, obstacle.reason)
    assert (found["Ready"].status, found["Ready"].reason) == (obstacle.status, obstacle.reason)
    assert found["Ready"].message == f"{obstacle.stage}: {found[obstacle.stage].message}"
    later = IN_ORDER[IN_ORDER.index(obstacle.stage) + 1 :]
    gated = [each for each in later if each not in OPTIONAL or obstacle.stage != "SchemaReady"]
    assert {found[each].reason for each in gated} == {Reason.WAITING_FOR_EARLIER_STAGE}
    assert world.workloads.running == {}
    assert tenant.status.endpoint is None
    assert tenant.status.observed_inputs == ""


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda each: each.name)
async def test_nothing_is_made_in_a_backend_before_the_stages_ahead_have_passed(tenant, world, obstacle):
    obstacle.put(tenant)

    await tenant.reconcile()

    assert world.servers["postgres"].holds == set()
    if obstacle.stage != "SchemaReady":
        assert world.told == []


@pytest.mark.parametrize(
    ("name", "stage"), [("qdrant", "CollectionReady"), ("kafka", "TopicReady"), ("redis", "CacheReady")]
)
@pytest.mark.parametrize("failure", [down(), Rejected("never", reason=Reason.TLS_FAILED)], ids=["down", "rejected"])
async def test_an_index_a_broker_or_a_cache_keeps_nobody_from_storing(tenant, world, name, stage, failure):
    world.servers[name].failure = failure

    found = await tenant.reconcile()

    assert found[stage].status is not TRUE
    assert found["APIAvailable"].status is TRUE
    assert DEPLOYMENT in world.workloads.running
    assert found["Ready"].message.startswith(f"{stage}: ")
    assert (found["Synced"].status, found["Synced"].message) == (FALSE, f"waiting for {stage}")
    others = {each.name for each in world.servers.values() if each.name != name}
    assert {each.name for each in world.servers.values() if each.holds} == others


async def test_of_several_problems_ready_names_the_one_of_the_earliest_stage(tenant, world):
    for name in ("redis", "qdrant", "kafka"):
        world.servers[name].failure = down(name)

    found = await tenant.reconcile()

    assert found["Ready"].message == "CollectionReady: qdrant cannot be reached"


async def test_a_foreign_child_is_left_alone_and_blocks(tenant, world):
    world.workloads.foreign = {"Service research-api"}

    found = await tenant.reconcile()

    assert (found["APIAvailable"].status, found["APIAvailable"].reason) == (FALSE, Reason.FOREIGN_OBJECT)
    assert world.workloads.running == {}
    assert tenant.status.endpoint is None


async def test_a_quota_that_refuses_a_child_is_named(tenant, world):
    world.workloads.failure = Rejected("exceeded quota: small", reason=Reason.QUOTA_EXCEEDED)

    found = await tenant.reconcile()

    assert (found["APIAvailable"].status, found["APIAvailable"].reason) == (FALSE, Reason.QUOTA_EXCEEDED)
    assert tenant.status.observed_inputs == ""


async def test_a_race_is_looked_at_again_and_is_no_failure(tenant, world):
    world.workloads.failure = Conflict("somebody was faster")

    found = await tenant.reconcile()

    assert (found["APIAvailable"].status, found["APIAvailable"].reason) == (UNKNOWN, Reason.PROGRESSING)


async def test_a_fault_of_the_program_is_no_condition(tenant, world):
    world.servers["kafka"].failure = ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError):
        await tenant.reconcile()


# --- once it ran ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (down(), UNKNOWN),
        (Rejected("password refused", reason=Reason.AUTHENTICATION_FAILED), FALSE),
        (Rejected("certificate expired", reason=Reason.TLS_FAILED), FALSE),
    ],
    ids=["does not answer", "refuses the password", "shows another certificate"],
)
async def test_what_ran_before_is_repaired_also_while_the_database_cannot_be_asked(ready, world, failure, status):
    world.servers["postgres"].failure = failure
    world.workloads.running.pop(DEPLOYMENT)

    found = await ready.reconcile()

    assert states(found) == dict.fromkeys(ConditionType, TRUE) | {
        "Claimed": status,
        "SchemaReady": status,
        "Synced": FALSE,
        "Ready": status,
    }
    assert found["Ready"].message == f"Claimed: {failure.detail}"
    assert DEPLOYMENT in world.workloads.running


async def test_what_ran_before_stops_being_repaired_when_its_data_is_anothers(ready, world):
    world.backends.claims["team-a/research"] = "another-uid"
    world.workloads.running.pop(DEPLOYMENT)

    found = await ready.reconcile()

    assert (found["Claimed"].status, found["Ready"].reason) == (FALSE, Reason.CLAIMED_BY_ANOTHER)
    assert DEPLOYMENT not in world.workloads.running
    assert ready.status.endpoint, "what is known of the processes stays"


async def test_a_cluster_that_goes_away_leaves_everything_as_it_is(ready, world):
    ready.cluster = None
    before = dict(world.workloads.running)

    found = await ready.reconcile()

    assert found["Ready"].reason is Reason.CLUSTER_NOT_FOUND
    assert "MemoryCluster team-a/default, which does not exist" in found["Ready"].message
    assert world.workloads.running == before
    assert world.told == []


async def test_what_heals_is_ready_again_after_one_pass(ready, world):
    world.servers["postgres"].failure = down()
    await ready.reconcile()
    world.servers["postgres"].failure = None

    assert states(await ready.reconcile()) == dict.fromkeys(ConditionType, TRUE)
    assert ready.status.drift is None


# --- credentials ------------------------------------------------------------------------------------------------------


async def test_credentials_are_kept_before_anything_depends_on_them(tenant, world):
    world.servers["postgres"].blocked = FOREIGN

    await tenant.reconcile()

    kept = world.secrets.kept["research"]
    assert kept.api_token
    assert set(kept.postgres_passwords) == {"a"}
    assert kept.redis_password


async def test_credentials_stay_the_same_from_pass_to_pass(tenant, world):
    world.servers["postgres"].blocked = FOREIGN
    await tenant.reconcile()
    first = world.secrets.kept["research"]
    world.servers["postgres"].blocked = None

    await tenant.reconcile()
    await tenant.reconcile()

    assert world.secrets.kept["research"] == first


async def test_no_password_is_made_for_a_redis_that_there_is_not(world):
    await Object(world).reconcile()

    assert world.secrets.kept["research"].redis_password is None


async def test_a_lost_secret_is_made_anew_reaches_the_pods_and_is_no_drift(ready, world):
    before = world.workloads.running[DEPLOYMENT]
    world.secrets.kept.clear()

    await ready.reconcile()

    assert world.secrets.kept["research"].api_token
    assert world.workloads.running[DEPLOYMENT] != before
    assert ready.status.drift is None


async def test_the_tokens_that_somebody_brought_take_the_place_of_our_own(tenant, world):
    tenant.edit(api={"auth": {"tokenSecretRef": {"name": "theirs", "key": "tokens"}}})
    world.secrets.values["team-a", "theirs"] = {"tokens": f"{OTHERS_TOKEN}\n\nand-a-second-one-of-theirs\n"}

    found = await tenant.reconcile()

    assert found["Ready"].status is TRUE
    assert world.secrets.kept["research"].api_token is None, "a token that is withdrawn must not be found again"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"token": OTHERS_TOKEN}, "key tokens of Secret theirs (spec.api.auth.tokenSecretRef) is missing; add it"),
        ({"tokens": "short"}, "key tokens of Secret theirs"),
    ],
    ids=["another key", "too short"],
)
async def test_tokens_that_cannot_be_used_are_named_and_not_shown(tenant, world, values, said):
    tenant.edit(api={"auth": {"tokenSecretRef": {"name": "theirs", "key": "tokens"}}})
    world.secrets.values["team-a", "theirs"] = values

    told = (await tenant.reconcile())["CredentialsReady"]

    assert told.status is FALSE
    assert said in told.message
    assert not any(value in told.message for value in values.values())


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "reason"), [("Fenced", Reason.FENCED), ("Hibernated", Reason.HIBERNATED)])
async def test_a_state_without_processes_is_false_with_its_own_reason_and_in_sync(ready, world, state, reason):
    ready.edit(state=state)

    found = await ready.reconcile()

    assert (found["APIAvailable"].status, found["Ready"].reason) == (FALSE, reason)
    assert f"spec.state is {state}" in found["Ready"].message
    assert found["Synced"].status is TRUE
    assert world.workloads.running[DEPLOYMENT]["spec"]["replicas"] == 0
    ready.edit()
    assert (await ready.reconcile())["Ready"].status is TRUE


async def test_read_only_is_ready_and_says_what_it_does_not_do(ready):
    ready.edit(state="ReadOnly")

    found = await ready.reconcile()

    assert found["APIAvailable"].reason is Reason.READ_ONLY
    assert (found["Ready"].status, found["Ready"].message) == (
        TRUE,
        "recalls memories; spec.state is ReadOnly, so nothing is stored",
    )


# --- drift ------------------------------------------------------------------------------------------------------------


async def test_drift_is_corrected_counted_and_told(ready, world):
    world.servers["kafka"].holds.clear()
    world.workloads.running.pop(DEPLOYMENT)

    found = await ready.reconcile()

    assert states(found) == dict.fromkeys(ConditionType, TRUE)
    drift = ready.status.drift
    assert drift.detail == "create team-a/research in kafka; create Deployment research-api"
    assert (drift.corrected, drift.last_detected) == (1, world.now())
    assert world.servers["kafka"].holds == {"team-a/research"}


async def test_report_finds_drift_and_leaves_it(tenant, world):
    tenant.edit(driftPolicy="Report")
    await tenant.reconcile()
    world.servers["kafka"].holds.clear()

    found = await tenant.reconcile()

    assert (found["Synced"].status, found["Synced"].reason) == (FALSE, Reason.DRIFT_DETECTED)
    assert "create team-a/research in kafka" in found["Synced"].message
    assert found["Ready"].status is TRUE
    assert world.servers["kafka"].holds == set()
    assert tenant.status.drift.corrected == 0


async def test_report_carries_edits_out_all_the_same(tenant, world):
    tenant.edit(driftPolicy="Report")
    await tenant.reconcile()

    tenant.edit(driftPolicy="Report", api={"replicas": 3})
    found = await tenant.reconcile()

    assert world.workloads.running[DEPLOYMENT]["spec"]["replicas"] == 3
    assert found["Synced"].status is TRUE
    assert tenant.status.drift is None


async def test_correct_after_report_sets_right_what_was_reported(tenant, world):
    tenant.edit(driftPolicy="Report")
    await tenant.reconcile()
    world.servers["kafka"].holds.clear()
    await tenant.reconcile()

    tenant.edit(driftPolicy="Correct")
    found = await tenant.reconcile()

    assert world.servers["kafka"].holds == {"team-a/research"}
    assert found["Synced"].status is TRUE
    assert tenant.status.drift.corrected == 1


async def test_a_change_of_the_cluster_reaches_the_pods_and_is_no_drift(ready, world):
    ready.cluster = cluster(host="other.example.com", **EVERY_BACKEND)
    before = world.workloads.running[DEPLOYMENT]

    await ready.reconcile()

    assert world.workloads.running[DEPLOYMENT] != before
    assert ready.status.drift is None


async def test_a_backend_that_is_added_later_is_brought_in_order_and_is_no_drift(world):
    tenant = Object(world, cluster(kafka=KAFKA))
    await tenant.reconcile()

    tenant.cluster = cluster(kafka=KAFKA, redis=REDIS)
    found = await tenant.reconcile()

    assert found["CacheReady"].status is TRUE
    assert world.secrets.kept["research"].redis_password
    assert tenant.status.drift is None


# --- the dry run ------------------------------------------------------------------------------------------------------


async def test_a_dry_run_names_every_step_and_takes_none(tenant, world):
    outcome: Outcome = await survey(tenant.namespace, tenant.cluster, world.world(dry=True))

    assert world.told == []
    assert world.workloads.running == {}
    assert world.secrets.kept == {}
    assert world.backends.claims == {}
    assert {f"create team-a/research in {name}" for name in world.servers} <= set(outcome.withheld)
    assert "create Deployment research-api" in outcome.withheld
    assert outcome.applied == []


async def test_a_dry_run_of_what_is_converged_names_nothing(ready, world):
    outcome = await survey(ready.namespace, ready.cluster, world.world(dry=True))

    assert outcome.withheld == []


async def test_a_dry_run_says_whose_data_it_is(tenant, world):
    world.backends.claims["team-a/research"] = "another-uid"

    outcome = await survey(tenant.namespace, tenant.cluster, world.world(dry=True))

    assert outcome.results[-1].message == "team-a/research belongs to another-uid"
