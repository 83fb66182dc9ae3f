"""From what a pass came to, to the status: what is drift, what is settled, and what stays as it was."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fake_world import EVERY_BACKEND, NOW, down
from tenants import CREDENTIALS, LISTEN, cluster, namespace

from memory_contracts.api.status import CredentialsStatus, DriftStatus
from memory_contracts.conditions import ConditionStatus, ConditionType, Reason
from memory_contracts.v1alpha1 import MemoryNamespaceStatus
from memory_operator import outcome as module
from memory_operator.outcome import Outcome, build_status, external_names, inputs_digest, paused_status
from memory_operator.specs.tenant import Tenant, tenant_names
from memory_operator.specs.workload import build_workload
from memory_operator.status import failed, held, passed
from memory_operator.world import Availability

LATER = NOW + timedelta(hours=1)
AVAILABLE = Availability("http://api", wanted=2, ready=2, present=3, selector="app=memory")
BEFORE_API = [each for each in ConditionType if each not in ("APIAvailable", "Synced", "Ready")]


STARTING = held(ConditionType.API_AVAILABLE, Reason.PROGRESSING, "0 of 2 ready")


def new_outcome(
    *, applied=(), withheld=(), availability=AVAILABLE, inputs="same", problem=None, tenant=None, api=None
) -> Outcome:
    """Of a pass that reached every stage; `problem` is the result of the Kafka stage."""
    results = [passed(each, Reason.PROVISIONED, "done") for each in BEFORE_API]
    if problem:
        results[BEFORE_API.index(problem.stage)] = problem
    api = api or passed("APIAvailable", Reason.AVAILABLE, "2 of 2 ready", applied=applied, withheld=withheld)
    return Outcome(tenant_names(namespace()), [*results, api], tenant, inputs, availability)


def after(outcome: Outcome, *, at=LATER, **before: object) -> MemoryNamespaceStatus:
    """The status that `outcome` gives an object whose status was `before`."""
    status = MemoryNamespaceStatus(**before)
    return build_status(namespace().model_copy(update={"status": status}), outcome, at)


def condition(status: MemoryNamespaceStatus, kind: str):
    return next(each for each in status.conditions if each.type == kind)


def tenant_of(*, credentials=CREDENTIALS, of=None, **spec) -> Tenant:
    return Tenant(namespace(**spec), of or cluster(), LISTEN, credentials)


# --- drift ------------------------------------------------------------------------------------------------------------

SEEN = DriftStatus(last_detected=NOW, detail="create x", corrected=4)


@pytest.mark.parametrize(
    ("outcome", "before", "expected"),
    [
        (new_outcome(), None, None),
        (new_outcome(), SEEN, SEEN),
        (new_outcome(applied=["a"]), None, DriftStatus(last_detected=LATER, detail="a", corrected=1)),
        (new_outcome(applied=["a"]), SEEN, DriftStatus(last_detected=LATER, detail="a", corrected=5)),
        (new_outcome(applied=["create x"]), SEEN, DriftStatus(last_detected=LATER, detail="create x", corrected=5)),
        (new_outcome(withheld=["a"]), None, DriftStatus(last_detected=LATER, detail="a", corrected=0)),
        (new_outcome(withheld=["b"]), SEEN, DriftStatus(last_detected=LATER, detail="b", corrected=4)),
        (new_outcome(applied=["a"], inputs="other"), SEEN, SEEN),
        (new_outcome(applied=["a"], inputs=""), SEEN, SEEN),
    ],
    ids=[
        "nothing was found",
        "nothing was found this time",
        "first correction",
        "another correction",
        "the same again, after it was corrected",
        "first report",
        "another report",
        "our own doing: the inputs changed",
        "the pass did not come so far as to know",
    ],
)
def test_drift_is_what_changed_although_the_inputs_did_not(outcome, before, expected):
    assert after(outcome, observed_inputs="same", drift=before).drift == expected


def test_a_report_is_news_when_it_is_another_or_comes_back_and_not_while_it_stays():
    report, nothing = new_outcome(withheld=["create x"]), new_outcome()
    told = [NOW + timedelta(hours=number) for number in range(5)]

    def look(before: MemoryNamespaceStatus, outcome: Outcome, at) -> MemoryNamespaceStatus:
        return build_status(namespace().model_copy(update={"status": before}), outcome, at)

    first = look(MemoryNamespaceStatus(observed_inputs="same"), report, told[0])
    stays = look(first, report, told[1])
    gone = look(stays, nothing, told[2])
    back = look(gone, report, told[3])

    assert [each.drift.last_detected for each in (first, stays, gone, back)] == [told[0], told[0], told[0], told[3]]
    assert {each.drift.corrected for each in (first, stays, gone, back)} == {0}


def test_a_first_pass_corrects_no_drift():
    assert after(new_outcome(applied=["create everything"], inputs="new"), observed_inputs="").drift is None


def test_many_steps_are_told_by_the_first_and_their_number():
    steps = [f"step {number}" for number in range(7)]

    drift = after(new_outcome(applied=steps), observed_inputs="same").drift

    assert drift.detail == "step 0; step 1; step 2; step 3; step 4; and 2 more"


# --- what is settled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [
        (new_outcome(inputs="new"), True),
        (new_outcome(inputs="new", problem=held(ConditionType.TOPIC_READY, Reason.NOT_CONFIGURED, "no Kafka")), True),
        (new_outcome(inputs="new", availability=replace(AVAILABLE, ready=0), api=STARTING), True),
        (new_outcome(inputs="new", problem=failed(ConditionType.TOPIC_READY, down())), False),
        (new_outcome(inputs="new", problem=held(ConditionType.TOPIC_READY, Reason.CANNOT_SHRINK, "no")), False),
        (new_outcome(inputs="new", availability=None), False),
    ],
    ids=["all passed", "one is not configured", "pods are starting", "one is down", "one is blocked", "not reached"],
)
def test_inputs_count_as_observed_only_when_every_stage_has_done_its_work(outcome, settled):
    assert after(outcome, observed_inputs="old").observed_inputs == ("new" if settled else "old")


# --- Synced -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "message"),
    [
        (new_outcome(), "True", Reason.IN_SYNC, "everything is as the specification says"),
        (
            new_outcome(withheld=["drop x"]),
            "False",
            Reason.DRIFT_DETECTED,
            "driftPolicy is Report, so this was not done: drop x",
        ),
        (
            new_outcome(availability=replace(AVAILABLE, rolled_out=False)),
            "False",
            Reason.PROGRESSING,
            "not every process runs the present settings yet",
        ),
        (
            new_outcome(availability=replace(AVAILABLE, ready=1, detail="waiting")),
            "False",
            Reason.PROGRESSING,
            "1 of 2 ready; waiting",
        ),
        (
            new_outcome(availability=replace(AVAILABLE, rolled_out=False, reason=Reason.BLOCKED, detail="stuck")),
            "False",
            Reason.BLOCKED,
            "stuck",
        ),
        (
            new_outcome(availability=replace(AVAILABLE, reason=Reason.BLOCKED, detail="Service x is being deleted")),
            "False",
            Reason.BLOCKED,
            "Service x is being deleted",
        ),
        (
            new_outcome(problem=failed(ConditionType.TOPIC_READY, down())),
            "False",
            Reason.PROGRESSING,
            "waiting for TopicReady",
        ),
        (new_outcome(availability=None), "Unknown", Reason.WAITING_FOR_EARLIER_STAGE, "not tried yet"),
    ],
    ids=["in sync", "drift", "rolling", "starting", "stuck roll-out", "stuck child", "backend", "not reached"],
)
def test_synced_says_whether_all_is_as_asked(outcome, status, reason, message):
    synced = condition(after(outcome), "Synced")

    assert (synced.status, synced.reason, synced.message) == (status, reason, message)


def test_synced_does_not_decide_ready():
    status = after(new_outcome(withheld=["drop x"]))

    assert condition(status, "Ready").status is ConditionStatus.TRUE


# --- the rest of the status -------------------------------------------------------------------------------------------


def test_what_the_pass_did_not_reach_stays():
    before = after(new_outcome(applied=["a"], tenant=tenant_of()), observed_inputs="same", at=NOW)
    nothing = Outcome(tenant_names(namespace()), [failed(ConditionType.CLUSTER_ACCEPTED, down())])

    later = build_status(namespace().model_copy(update={"status": before}), nothing, LATER)

    kept = ("endpoint", "external", "credentials", "binding", "api", "drift", "observed_inputs")
    assert {name: getattr(later, name) for name in kept} == {name: getattr(before, name) for name in kept}
    assert later.api.model_dump() == {"replicas": 3, "ready": 2, "selector": "app=memory"}
    assert later.binding.name == "research-binding"


def test_the_generation_is_that_of_the_object():
    metadata = namespace().metadata.model_copy(update={"generation": 7})

    status = build_status(namespace().model_copy(update={"metadata": metadata}), new_outcome(), NOW)

    assert status.observed_generation == 7
    assert {each.observed_generation for each in status.conditions} == {7}


def test_the_slot_keeps_the_time_since_which_it_is_in_use():
    slot_b = replace(CREDENTIALS, slot="b")
    before = CredentialsStatus(slot="a", rotated_at=NOW)

    same = after(new_outcome(tenant=tenant_of()), credentials=before)
    rotated = after(new_outcome(tenant=tenant_of(credentials=slot_b)), credentials=before)

    assert same.credentials == before
    assert rotated.credentials == CredentialsStatus(slot="b", rotated_at=LATER)
    assert rotated.external.postgres.role.endswith("_b")


def test_names_are_told_of_the_backends_that_there_are():
    alone, every = external_names(tenant_of()), external_names(tenant_of(of=cluster(**EVERY_BACKEND)))

    assert (alone.qdrant, alone.kafka, alone.redis) == (None, None, None)
    names = tenant_names(namespace())
    assert (every.qdrant.collection, every.kafka.dead_letter) == (names.collection, f"{names.stem}.dead-letter")
    assert (every.redis.prefix, every.postgres.owner) == (names.redis_prefix, names.owner_role)


# --- inputs -----------------------------------------------------------------------------------------------------------


def digest(tenant: Tenant) -> str:
    return inputs_digest(tenant, build_workload(tenant))


@pytest.mark.parametrize(
    "changed",
    [
        tenant_of(api={"logLevel": "debug"}),
        tenant_of(events={"partitions": 4}),
        tenant_of(state="ReadOnly"),
        tenant_of(of=cluster(host="elsewhere.example.com")),
        tenant_of(of=cluster(**EVERY_BACKEND)),
        tenant_of(credentials=replace(CREDENTIALS, api_token="another-token-of-the-team")),
        replace(tenant_of(), postgres_ca="-----BEGIN CERTIFICATE-----"),
    ],
    ids=["edit", "topics", "state", "address", "backends", "token", "authority"],
)
def test_whatever_decides_what_should_be_there_is_an_input(changed):
    assert digest(changed) != digest(tenant_of())


@pytest.mark.parametrize(
    "spec",
    [
        {"resync": {"interval": "9m"}},
        {"capacity": {"maxNamespaces": 7}},
        {"allowedNamespaces": {"from": "All"}},
        {"paused": True},
    ],
    ids=lambda spec: next(iter(spec)),
)
def test_what_a_cluster_says_of_itself_is_no_input_and_is_not_written_into_every_status(spec):
    assert digest(tenant_of(of=cluster(**spec))) == digest(tenant_of())


def test_the_drift_policy_is_no_input_for_it_decides_nothing_but_what_becomes_of_drift():
    assert digest(tenant_of(driftPolicy="Report")) == digest(tenant_of())


def test_another_version_of_the_operator_corrects_no_drift(monkeypatch):
    before = digest(tenant_of())
    monkeypatch.setattr(module, "VERSION", "99.0")

    assert digest(tenant_of()) != before


# --- paused -----------------------------------------------------------------------------------------------------------


def test_a_pause_is_told_by_synced_alone_and_all_else_stays():
    before = after(new_outcome(applied=["a"], tenant=tenant_of()), observed_inputs="same", at=NOW)

    paused = paused_status(namespace().model_copy(update={"status": before}), LATER)

    synced = condition(paused, "Synced")
    assert (synced.status, synced.reason, synced.last_transition_time) == ("False", Reason.PAUSED, LATER)
    assert [each for each in paused.conditions if each.type != "Synced"] == [
        each for each in before.conditions if each.type != "Synced"
    ]
    assert paused.model_copy(update={"conditions": []}) == before.model_copy(update={"conditions": []})
    assert [each.type for each in paused.conditions] == list(ConditionType)


def test_a_pause_that_goes_on_changes_nothing():
    once = paused_status(namespace(), NOW)

    assert paused_status(namespace().model_copy(update={"status": once}), LATER) == once


def test_an_object_that_was_never_looked_at_can_be_paused():
    assert [each.type for each in paused_status(namespace(), NOW).conditions] == ["Synced"]
