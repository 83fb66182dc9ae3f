"""What `soma status` says: the supervisor's last word, checked against what is alive and answers now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memory_contracts.api.base import ObjectMeta
from memory_contracts.conditions import Condition
from memory_contracts.reasons import ConditionStatus, ConditionType, Reason
from memory_contracts.settings import READINESS_PATH
from memory_operator.local.probe import answers
from memory_operator.local.state import ProcessStatus, StateDirectory
from memory_operator.status import is_ready

# No process is to run, so nothing answers, and that is right.
RESTING = (Reason.FENCED, Reason.HIBERNATED)


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one state directory at this moment."""

    ready: bool
    endpoint: str | None
    token_file: str | None
    metadata: ObjectMeta | None
    generation: int
    processes: tuple[ProcessStatus, ...]
    conditions: tuple[Condition, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object that `soma status -o json` prints; scripts rely on its keys."""
        return {
            "ready": self.ready,
            "endpoint": self.endpoint,
            "tokenFile": self.token_file,
            "namespace": self.metadata.name if self.metadata else None,
            "processes": [
                each.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"started"})
                for each in self.processes
            ],
            "conditions": [each.model_dump(mode="json", by_alias=True) for each in self.conditions],
        }


def observe(state: StateDirectory) -> Report:
    """Return what is true now: the lock tells whether a supervisor runs, pids and probes whether its word holds."""
    desired, supervisor, said = state.desired(), state.supervisor(), state.read_status()
    alive = [each for each in said.processes if each.record.alive]
    metadata = desired.metadata if desired else None
    token_file = state.token_file(metadata.name) if metadata else None
    report = Report(
        ready=False,
        endpoint=None,
        token_file=str(token_file) if token_file and token_file.is_file() else None,
        metadata=metadata,
        generation=0,
        processes=tuple(alive),
        conditions=(),
    )
    if supervisor is None or supervisor.pid != said.supervisor:
        return report
    processes = tuple(asyncio.run(_probed(alive)))
    complete = len(alive) == len(said.processes) and all(each.ready for each in processes)
    return replace(
        report,
        ready=complete and is_ready(said.namespace.conditions),
        endpoint=None if is_resting(said.namespace.conditions) else said.namespace.endpoint,
        generation=said.namespace.observed_generation,
        processes=processes,
        conditions=tuple(said.namespace.conditions),
    )


def is_resting(conditions: Sequence[Condition]) -> bool:
    """Return whether no process is to run."""
    return any(each.type is ConditionType.API_AVAILABLE and each.reason in RESTING for each in conditions)


def is_settled(conditions: Sequence[Condition]) -> bool:
    """Return whether all is as asked for: it serves, every process with the present settings, or it rests."""
    synced = next((each for each in conditions if each.type is ConditionType.SYNCED), None)
    # What drifted and is only reported is not waited for.
    in_place = synced and (synced.status is ConditionStatus.TRUE or synced.reason is Reason.DRIFT_DETECTED)
    return bool(in_place) and (is_ready(conditions) or is_resting(conditions))


def changes(before: Sequence[Condition], after: Sequence[Condition]) -> Iterator[str]:
    """Yield a line for each condition that says something new."""
    known = {each.type: each for each in before}
    for each in after:
        former = known.get(each.type)
        same = former is not None and (former.status, former.message) == (each.status, each.message)
        if not same and _is_news(each, former):
            yield _line(each)


def _is_news(condition: Condition, former: Condition | None) -> bool:
    """Waiting is nothing new, nor is a backend that nobody asked for; Ready and Synced count when they turn."""
    match condition.type:
        case ConditionType.READY:
            return condition.status is ConditionStatus.TRUE
        case ConditionType.SYNCED if condition.status is ConditionStatus.TRUE:
            return former is not None and former.status is ConditionStatus.FALSE
        case _:
            return condition.reason not in (Reason.WAITING_FOR_EARLIER_STAGE, Reason.NOT_CONFIGURED)


def _line(condition: Condition) -> str:
    status = "off" if condition.reason is Reason.NOT_CONFIGURED else condition.status
    return f"{condition.type:<17} {status:<7} {condition.message}"


def table(report: Report) -> Iterator[str]:
    """Yield the lines that `soma status` prints for people."""
    if report.metadata:
        yield f"namespace   {report.metadata.namespace}/{report.metadata.name}"
    yield f"ready       {'yes' if report.ready else 'no'}"
    yield f"endpoint    {report.endpoint or '-'}"
    yield f"token file  {report.token_file or '-'}"
    for condition in report.conditions:
        yield f"condition   {_line(condition)}"
    for each in report.processes:
        state = "ready" if each.ready else "not ready"
        yield f"process     {each.name:<17} {state:<9} pid {each.pid}  {each.endpoint or ''}".rstrip()
    if not report.processes:
        yield "nothing runs here; start it with: soma up -f FILE"


async def _probed(processes: Sequence[ProcessStatus]) -> list[ProcessStatus]:
    return list(await asyncio.gather(*map(_probe, processes)))


async def _probe(process: ProcessStatus) -> ProcessStatus:
    if not process.endpoint:
        return process
    port = int(process.endpoint.rpartition(":")[2])
    return process.model_copy(update={"ready": await answers(port, READINESS_PATH)})
