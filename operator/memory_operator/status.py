"""From the results of the stages to ``status.conditions``; pure, the time comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from memory_contracts.conditions import ClusterConditionType, Condition, ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Conflict, PlatformError, Rejected

Stage: TypeAlias = ConditionType | ClusterConditionType

# The order in which the stages are shown. Ready is no stage, but their summary.
STAGES: tuple[Stage, ...] = tuple(each for each in ConditionType if each is not ConditionType.READY)
CLUSTER_STAGES: tuple[Stage, ...] = tuple(
    each for each in ClusterConditionType if each is not ClusterConditionType.READY
)
# A stage may be False without anything being wrong.
_NO_PROBLEM = (Reason.NOT_CONFIGURED,)
# What somebody asked for stays until he asks for something else.
_AS_ASKED = (Reason.PAUSED, Reason.FENCED, Reason.HIBERNATED)
# Progress shows itself by an event of a child, so asking is a precaution, the rarer the longer it lasts: thousands may
# wait for nodes. The rest has to be asked for again.
_PROGRESS_SECONDS, _LONG_PROGRESS_SECONDS = 30.0, 300.0
_SLOW_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage came to; `message` is a sentence for a person.

    `applied` are the summaries of the steps that were carried out, `withheld` of those that were only reported.
    """

    stage: Stage
    status: ConditionStatus
    reason: Reason
    message: str
    applied: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the next stage may begin."""
        return self.status is ConditionStatus.TRUE or self.reason in _NO_PROBLEM


def passed(
    stage: Stage, reason: Reason, message: str, *, applied: Sequence[str] = (), withheld: Sequence[str] = ()
) -> StageResult:
    """Return the result of a stage that reached its goal."""
    return StageResult(stage, ConditionStatus.TRUE, reason, message, tuple(applied), tuple(withheld))


def held(stage: Stage, reason: Reason, message: str) -> StageResult:
    """Return the result of a stage that is known not to have reached its goal (yet)."""
    return StageResult(stage, ConditionStatus.FALSE, reason, message)


def failed(stage: Stage, error: PlatformError) -> StageResult:
    """Return the result of a stage that an error ended: False when it can never work so, else Unknown."""
    match error:
        case Rejected():
            return StageResult(stage, ConditionStatus.FALSE, error.reason or Reason.REJECTED, error.detail)
        case Conflict():
            return StageResult(stage, ConditionStatus.UNKNOWN, error.reason or Reason.PROGRESSING, error.detail)
        case _:
            return StageResult(stage, ConditionStatus.UNKNOWN, error.reason or Reason.BACKEND_UNAVAILABLE, error.detail)


def build_conditions(
    results: Sequence[StageResult],
    previous: Sequence[Condition],
    generation: int,
    now: datetime,
    *,
    stages: Sequence[Stage] = STAGES,
    ready: Stage = ConditionType.READY,
    ready_message: str = "stores and recalls memories",
) -> list[Condition]:
    """Return all conditions: the stages in order, those not reached as Unknown, then the summary `ready`.

    The transition time moves only when the status does, so a converged object is written once.
    """
    reached = {result.stage: result for result in results}
    shown = [reached.get(stage) or _not_reached(stage, results) for stage in stages]
    known = {condition.type: condition for condition in previous}
    return [_condition(each, known, generation, now) for each in [*shown, _summary(shown, ready, ready_message)]]


def is_ready(conditions: Sequence[Condition]) -> bool:
    """Return whether the summary says so."""
    return any(each.type == "Ready" and each.status is ConditionStatus.TRUE for each in conditions)


def first_problem(conditions: Sequence[Condition]) -> Condition | None:
    """Return the condition that holds the others up, or None when all is well."""
    return next((each for each in conditions if _is_problem(each)), None)


def recheck_after(conditions: Sequence[Condition], now: datetime) -> float | None:
    """Return the seconds after which to look again although nothing has been seen to change; None when all is as asked.

    What is `Unknown` is retried by the queue, with backoff; the rest changes by somebody's hand or by its own progress.
    """
    problems = [each for each in conditions if _is_problem(each) and each.reason not in _AS_ASKED]
    if not problems:
        return None
    if any(each.reason is not Reason.PROGRESSING for each in problems):
        return _SLOW_SECONDS
    lasted = max((now - (each.last_transition_time or now)).total_seconds() for each in problems)
    return min(max(_PROGRESS_SECONDS, lasted / 2), _LONG_PROGRESS_SECONDS)


def needs_retry(conditions: Sequence[Condition]) -> bool:
    """Return whether a dependency did not answer, or somebody was faster."""
    return any(
        each.status is ConditionStatus.UNKNOWN and each.reason is not Reason.WAITING_FOR_EARLIER_STAGE
        for each in conditions
    )


def _is_problem(condition: Condition) -> bool:
    return condition.status is not ConditionStatus.TRUE and condition.reason not in _NO_PROBLEM


def _not_reached(stage: Stage, results: Sequence[StageResult]) -> StageResult:
    blocker = next((each for each in results if not each.passed), None)
    waiting = f"waiting for {blocker.stage}" if blocker else "not tried yet"
    return StageResult(stage, ConditionStatus.UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE, waiting)


def _summary(stages: Sequence[StageResult], ready: Stage, message: str) -> StageResult:
    problems = [each for each in stages if not each.passed and each.stage is not ConditionType.SYNCED]
    # What a person has to act on comes before what waits for it.
    problems.sort(key=lambda each: each.reason is Reason.WAITING_FOR_EARLIER_STAGE)
    for stage in problems:
        return StageResult(ready, stage.status, stage.reason, f"{stage.stage}: {stage.message}")
    return passed(ready, Reason.AVAILABLE, message)


def _condition(result: StageResult, known: Mapping[Stage, Condition], generation: int, now: datetime) -> Condition:
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
