"""From the results of the stages to conditions."""

from datetime import timedelta

import pytest
from fake_world import NOW
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_contracts.conditions import ClusterConditionType, Condition, ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Conflict, NotFound, Rejected, Unavailable
from memory_operator.status import (
    CLUSTER_STAGES,
    STAGES,
    StageResult,
    build_conditions,
    failed,
    first_problem,
    held,
    is_ready,
    needs_retry,
    passed,
    recheck_after,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LATER = NOW + timedelta(hours=1)
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
ALL_PASSED = [passed(stage, Reason.PROVISIONED, "done") for stage in STAGES]


def by_type(conditions):
    return {each.type: each for each in conditions}


def but(*others: StageResult) -> list[StageResult]:
    """All stages passed, but these."""
    changed = {each.stage: each for each in others}
    return [changed.get(each.stage, each) for each in ALL_PASSED]


def test_every_condition_type_is_always_there_once_and_in_order():
    assert [each.type for each in build_conditions([], [], 1, NOW)] == list(ConditionType)
    assert [each.type for each in build_conditions(ALL_PASSED, [], 1, NOW)] == list(ConditionType)


def test_ready_is_true_when_every_stage_passed():
    conditions = build_conditions(ALL_PASSED, [], 3, NOW)

    assert is_ready(conditions)
    assert first_problem(conditions) is None
    assert {each.observed_generation for each in conditions} == {3}


def test_ready_repeats_the_first_problem_and_later_stages_wait():
    results = [*ALL_PASSED[:3], held(ConditionType.SCHEMA_READY, Reason.BLOCKED, "schema x is someone else's")]

    conditions = by_type(build_conditions(results, [], 1, NOW))

    ready, waiting = conditions[ConditionType.READY], conditions[ConditionType.API_AVAILABLE]
    assert (ready.status, ready.reason) == (FALSE, Reason.BLOCKED)
    assert ready.message == "SchemaReady: schema x is someone else's"
    assert (waiting.status, waiting.reason) == (UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE)
    assert waiting.message == "waiting for SchemaReady"


def test_ready_tells_what_a_person_can_mend_before_what_only_waits_for_it():
    """A backend is tried also when an earlier stage was not reached."""
    results = [held(ConditionType.CACHE_READY, Reason.REJECTED, "no such host")]

    ready = by_type(build_conditions(results, [], 1, NOW))["Ready"]

    assert (ready.status, ready.message) == (FALSE, "CacheReady: no such host")


@pytest.mark.parametrize(
    "result",
    [
        held(ConditionType.TOPIC_READY, Reason.NOT_CONFIGURED, "no Kafka"),
        held(ConditionType.SYNCED, Reason.DRIFT_DETECTED, "somebody changed it"),
        failed(ConditionType.SYNCED, Unavailable("down")),
    ],
    ids=["not configured", "drift", "sync unknown"],
)
def test_ready_does_not_mind_what_is_not_configured_or_not_in_sync(result):
    assert is_ready(build_conditions(but(result), [], 1, NOW))


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Unavailable("down"), UNKNOWN, Reason.BACKEND_UNAVAILABLE),
        (Unavailable("full", reason=Reason.BACKEND_FULL), UNKNOWN, Reason.BACKEND_FULL),
        (Conflict("raced"), UNKNOWN, Reason.PROGRESSING),
        (Rejected("never"), FALSE, Reason.REJECTED),
        (Rejected("who?", reason=Reason.AUTHENTICATION_FAILED), FALSE, Reason.AUTHENTICATION_FAILED),
        (NotFound("no secret"), FALSE, Reason.REJECTED),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.reason}" if isinstance(value, Exception) else None,
)
def test_each_class_of_error_has_its_status_and_reason(error, status, reason):
    result = failed(ConditionType.SCHEMA_READY, error)

    assert (result.status, result.reason, result.message) == (status, reason, error.detail)


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_transition_time_moves_only_with_the_status():
    before = build_conditions(ALL_PASSED, [], 1, NOW)
    lost = but(held(ConditionType.API_AVAILABLE, Reason.PROGRESSING, "0 of 1 ready"))

    unchanged = build_conditions(ALL_PASSED, before, 2, LATER)
    changed = by_type(build_conditions(lost, before, 2, LATER))

    assert {each.last_transition_time for each in unchanged} == {NOW}
    moved = {each.type for each in changed.values() if each.last_transition_time == LATER}
    assert moved == {ConditionType.API_AVAILABLE, ConditionType.READY}


def test_another_reason_or_message_is_no_transition():
    before = build_conditions(but(held(ConditionType.API_AVAILABLE, Reason.PROGRESSING, "0 of 2")), [], 1, NOW)

    after = build_conditions(but(held(ConditionType.API_AVAILABLE, Reason.BLOCKED, "1 of 2")), before, 1, LATER)

    assert {each.last_transition_time for each in after} == {NOW}
    assert by_type(after)["APIAvailable"].message == "1 of 2"


def test_the_same_results_give_equal_conditions():
    before = build_conditions(ALL_PASSED, [], 1, NOW)

    assert build_conditions(ALL_PASSED, before, 1, LATER) == before


results = st.builds(
    StageResult,
    stage=st.sampled_from(STAGES),
    status=st.sampled_from(ConditionStatus),
    reason=st.sampled_from(Reason),
    message=st.text(max_size=5),
)


@unhurried
@given(st.lists(results, unique_by=lambda each: each.stage), st.lists(results, unique_by=lambda each: each.stage))
def test_whatever_happens_a_time_moves_exactly_when_its_status_does(first, second):
    before = by_type(build_conditions(first, [], 1, NOW))
    after = by_type(build_conditions(second, list(before.values()), 2, LATER))

    for kind, each in after.items():
        moved = each.status is not before[kind].status
        assert each.last_transition_time == (LATER if moved else NOW)


@unhurried
@given(st.lists(results, unique_by=lambda each: each.stage))
def test_ready_is_true_exactly_when_each_stage_that_counts_has_passed(found):
    conditions = by_type(build_conditions(found, [], 1, NOW))

    counted = [conditions[each] for each in STAGES if each != "Synced"]
    well = all(each.status is TRUE or each.reason is Reason.NOT_CONFIGURED for each in counted)
    assert is_ready(conditions.values()) == well


# --- when to look again -----------------------------------------------------------------------------------------------


def one(status: ConditionStatus, reason: Reason, kind: ConditionType = ConditionType.TOPIC_READY) -> list[Condition]:
    """The conditions of an object of which one stage is not as it should be."""
    return build_conditions(but(StageResult(kind, status, reason, "")), [], 1, NOW)


@pytest.mark.parametrize(
    ("conditions", "retry", "seconds"),
    [
        (build_conditions(ALL_PASSED, [], 1, NOW), False, None),
        (one(FALSE, Reason.NOT_CONFIGURED), False, None),
        (one(TRUE, Reason.READ_ONLY, ConditionType.API_AVAILABLE), False, None),
        (one(FALSE, Reason.FENCED, ConditionType.API_AVAILABLE), False, None),
        (one(FALSE, Reason.HIBERNATED, ConditionType.API_AVAILABLE), False, None),
        (one(FALSE, Reason.PAUSED, ConditionType.SYNCED), False, None),
        (one(FALSE, Reason.PROGRESSING, ConditionType.API_AVAILABLE), False, 30.0),
        (one(FALSE, Reason.PROGRESSING, ConditionType.SYNCED), False, 30.0),
        (one(FALSE, Reason.REJECTED), False, 45.0),
        (one(FALSE, Reason.SECRET_NOT_FOUND), False, 45.0),
        (one(FALSE, Reason.AUTHENTICATION_FAILED), False, 45.0),
        (one(FALSE, Reason.FOREIGN_OBJECT), False, 45.0),
        (one(FALSE, Reason.DRIFT_DETECTED, ConditionType.SYNCED), False, 45.0),
        (one(UNKNOWN, Reason.BACKEND_UNAVAILABLE), True, 45.0),
        (one(UNKNOWN, Reason.PROGRESSING), True, 30.0),
        (one(UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE), False, 45.0),
        ([], False, None),
    ],
    ids=[
        "all is well",
        "not configured",
        "read only",
        "fenced",
        "hibernated",
        "paused",
        "pods are starting",
        "rolling out",
        "rejected",
        "a missing Secret",
        "a wrong password",
        "a foreign object",
        "drift that stays",
        "a backend that is down",
        "a race",
        "not reached",
        "never looked at",
    ],
)
def test_what_did_not_answer_is_retried_the_rest_is_looked_at_now_and_then(conditions, retry, seconds):
    assert (needs_retry(conditions), recheck_after(conditions, NOW)) == (retry, seconds)


def test_a_problem_beside_progress_is_looked_at_as_a_problem():
    found = build_conditions(
        but(
            held(ConditionType.API_AVAILABLE, Reason.PROGRESSING, "0 of 1 ready"),
            held(ConditionType.TOPIC_READY, Reason.CANNOT_SHRINK, "5 partitions"),
        ),
        [],
        1,
        NOW,
    )

    assert recheck_after(found, NOW) == 45.0


@pytest.mark.parametrize(("minutes", "seconds"), [(0, 30), (1, 30), (2, 60), (8, 240), (60, 300)])
def test_progress_is_asked_for_the_more_rarely_the_longer_it_lasts(minutes, seconds):
    found = build_conditions(but(held(ConditionType.API_AVAILABLE, Reason.PROGRESSING, "0 of 1 ready")), [], 1, NOW)

    assert recheck_after(found, NOW + timedelta(minutes=minutes)) == seconds


# --- the other resource -----------------------------------------------------------------------------------------------


def test_the_conditions_of_a_cluster_have_their_own_types_and_summary():
    results = [passed(each, Reason.AVAILABLE, "answers") for each in CLUSTER_STAGES]
    words = {"stages": CLUSTER_STAGES, "ready": ClusterConditionType.READY, "ready_message": "all backends answer"}

    conditions = build_conditions(results, [], 1, NOW, **words)

    assert [each.type for each in conditions] == list(ClusterConditionType)
    assert (conditions[-1].status, conditions[-1].message) == (TRUE, "all backends answer")
