"""From the results of the stages to ``status.conditions``; pure, the time comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from memory_contracts.conditions import Condition, ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Conflict, PlatformError, Rejected, Unavailable

# The order in which the stages gate one another. Ready is no stage, but their summary.
STAGES = tuple(each for each in ConditionType if each is not ConditionType.READY)


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage came to; `message` is a sentence for a person."""

    stage: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str

    @property
    def passed(self) -> bool:
        """Whether the next stage may begin."""
        return self.status is ConditionStatus.TRUE


def passed(stage: ConditionType, reason: Reason, message: str) -> StageResult:
    """Return the result of a stage that reached its goal."""
    return StageResult(stage, ConditionStatus.TRUE, reason, message)


def held(stage: ConditionType, reason: Reason, message: str) -> StageResult:
    """Return the result of a stage that is known not to have reached its goal (yet)."""
    return StageResult(stage, ConditionStatus.FALSE, reason, message)


def failed(stage: ConditionType, error: PlatformError) -> StageResult:
    """Return the result of a stage that an error ended: False when it can never work so, else Unknown."""
    match error:
        case Rejected():
            return StageResult(stage, ConditionStatus.FALSE, Reason.REJECTED, error.detail)
        case Conflict():
            return StageResult(stage, ConditionStatus.UNKNOWN, Reason.PROGRESSING, error.detail)
        case Unavailable():
            return StageResult(stage, ConditionStatus.UNKNOWN, Reason.BACKEND_UNAVAILABLE, error.detail)
        case _:
            return StageResult(stage, ConditionStatus.UNKNOWN, Reason.BACKEND_UNAVAILABLE, error.detail)


def build_conditions(
    results: Sequence[StageResult], previous: Sequence[Condition], generation: int, now: datetime
) -> list[Condition]:
    """Return all conditions: the stages in order, those not reached as Unknown, then the summary Ready.

    The transition time moves only when the status does, so a converged object is written once.
    """
    reached = {result.stage: result for result in results}
    stages = [reached.get(stage) or _not_reached(stage, results) for stage in STAGES]
    known = {condition.type: condition for condition in previous}
    return [_condition(result, known, generation, now) for result in [*stages, _summary(stages)]]


def is_ready(conditions: Sequence[Condition]) -> bool:
    """Return whether the summary says so."""
    return any(each.type is ConditionType.READY and each.status is ConditionStatus.TRUE for each in conditions)


def first_problem(conditions: Sequence[Condition]) -> Condition | None:
    """Return the condition that holds the others up, or None when all is well."""
    return next((each for each in conditions if each.status is not ConditionStatus.TRUE), None)


def _not_reached(stage: ConditionType, results: Sequence[StageResult]) -> StageResult:
    blocker = f"waiting for {results[-1].stage}" if results else "not tried yet"
    return StageResult(stage, ConditionStatus.UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE, blocker)


def _summary(stages: Sequence[StageResult]) -> StageResult:
    for stage in stages:
        if not stage.passed:
            return StageResult(ConditionType.READY, stage.status, stage.reason, f"{stage.stage}: {stage.message}")
    return passed(ConditionType.READY, Reason.AVAILABLE, "stores and recalls memories")


def _condition(result: StageResult, known: dict[ConditionType, Condition], generation: int, now: datetime) -> Condition:
    before = known.get(result.stage)
    unchanged = before is not None and before.status is result.status
    return Condition(
        type=result.stage,
        status=result.status,
        reason=result.reason,
        message=result.message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and unchanged else now,
    )
