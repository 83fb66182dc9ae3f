"""From the results of the stages to conditions."""

from datetime import UTC, datetime, timedelta

import pytest

from memory_contracts.conditions import ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Conflict, NotFound, Rejected, Unavailable
from memory_operator.status import STAGES, build_conditions, failed, first_problem, held, is_ready, passed

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ALL_PASSED = [passed(stage, Reason.PROVISIONED, "done") for stage in STAGES]


def by_type(conditions):
    return {each.type: each for each in conditions}


def test_every_condition_type_is_always_there_once_and_in_order():
    assert [each.type for each in build_conditions([], [], 1, NOW)] == list(ConditionType)
    assert [each.type for each in build_conditions(ALL_PASSED, [], 1, NOW)] == list(ConditionType)


def test_ready_is_true_when_every_stage_passed():
    conditions = build_conditions(ALL_PASSED, [], 3, NOW)

    assert is_ready(conditions)
    assert first_problem(conditions) is None
    assert {each.observed_generation for each in conditions} == {3}


def test_ready_repeats_the_first_problem_and_later_stages_wait():
    results = [*ALL_PASSED[:2], held(ConditionType.SCHEMA_READY, Reason.BLOCKED, "schema x is someone else's")]

    conditions = by_type(build_conditions(results, [], 1, NOW))

    ready, waiting = conditions[ConditionType.READY], conditions[ConditionType.API_AVAILABLE]
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, Reason.BLOCKED)
    assert ready.message == "SchemaReady: schema x is someone else's"
    assert (waiting.status, waiting.reason) == (ConditionStatus.UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE)
    assert waiting.message == "waiting for SchemaReady"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Unavailable("down"), ConditionStatus.UNKNOWN, Reason.BACKEND_UNAVAILABLE),
        (Conflict("raced"), ConditionStatus.UNKNOWN, Reason.PROGRESSING),
        (Rejected("never"), ConditionStatus.FALSE, Reason.REJECTED),
        (NotFound("no secret"), ConditionStatus.FALSE, Reason.REJECTED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_class_of_error_has_its_status_and_reason(error, status, reason):
    result = failed(ConditionType.SCHEMA_READY, error)

    assert (result.status, result.reason, result.message) == (status, reason, error.detail)


def test_the_transition_time_moves_only_with_the_status():
    before = build_conditions(ALL_PASSED, [], 1, NOW)
    lost = [*ALL_PASSED[:3], held(ConditionType.API_AVAILABLE, Reason.PROGRESSING, "0 of 1 ready")]

    unchanged = build_conditions(ALL_PASSED, before, 2, LATER)
    changed = by_type(build_conditions(lost, before, 2, LATER))

    assert {each.last_transition_time for each in unchanged} == {NOW}
    assert changed[ConditionType.API_AVAILABLE].last_transition_time == LATER
    assert changed[ConditionType.SCHEMA_READY].last_transition_time == NOW


def test_the_same_results_give_equal_conditions():
    before = build_conditions(ALL_PASSED, [], 1, NOW)

    assert build_conditions(ALL_PASSED, before, 1, LATER) == before
