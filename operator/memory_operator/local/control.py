"""Starting, waiting for and stopping the supervisor from another process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from memory_contracts.conditions import Condition
from memory_contracts.errors import Unavailable
from memory_contracts.reasons import ConditionStatus, ConditionType, Reason
from memory_operator.local.files import tail
from memory_operator.local.processes import end_process
from memory_operator.local.report import Report, changes, is_resting, is_settled, observe
from memory_operator.local.state import StateDirectory
from memory_operator.status import first_problem

POLL_SECONDS = 0.1
# Longer than the API's and the database's orderly stop together.
STOP_SECONDS = 60.0
TAIL_LINES = 10
# A person has to act; waiting longer changes nothing.
HOPELESS = (
    Reason.REJECTED,
    Reason.BLOCKED,
    Reason.CLAIMED_BY_ANOTHER,
    Reason.FOREIGN_OBJECT,
    Reason.AUTHENTICATION_FAILED,
    Reason.TLS_FAILED,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why it is not ready: a sentence, and the end of the log that tells more."""

    sentence: str
    log: str


def start_detached(state: StateDirectory) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own, so that it outlives this command and its terminal."""
    with state.log("supervisor").open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "memory_operator.local", str(state.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state.path,
            start_new_session=True,
        )


def wait_until_ready(
    state: StateDirectory,
    generation: int,
    seconds: float,
    echo: Callable[[str], object],
    child: subprocess.Popen[bytes] | None = None,
) -> Report | Failure:
    """Wait until this generation is served, or rests as it asks for, telling each condition that turns.

    Returns a `Failure` when a person has to act, when `child` (the supervisor) has ended, or when the time is over.
    """
    told: tuple[Condition, ...] = ()
    deadline = time.monotonic() + seconds
    while True:
        report = observe(state)
        ended = child is not None and child.poll() is not None and not state.served
        if report.generation == generation:
            for line in changes(told, report.conditions):
                echo(line)
            told = report.conditions
            if is_settled(report.conditions) and (report.ready or is_resting(report.conditions)):
                return report
        if ended or time.monotonic() > deadline or (report.generation == generation and _hopeless(report)):
            return _failure(state, report, ended, seconds)
        time.sleep(POLL_SECONDS)


def stop_supervisor(state: StateDirectory) -> bool:
    """Stop the supervisor and what it runs; False when there was none. Raises `Unavailable` when it will not end."""
    record = state.supervisor()
    if record is None:
        return False
    if not end_process(record, [(signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)]):
        raise Unavailable(f"the supervisor (pid {record.pid}) does not end")
    return True


def _hopeless(report: Report) -> bool:
    problem = first_problem(report.conditions)
    return problem is not None and problem.status is ConditionStatus.FALSE and problem.reason in HOPELESS


def _failure(state: StateDirectory, report: Report, ended: bool, seconds: float) -> Failure:
    problem = first_problem(report.conditions)
    log = state.log(_log_name(problem, state))
    if ended:
        sentence, log = "the supervisor ended", state.log("supervisor")
    elif problem is None:
        sentence = f"not ready after {seconds:g} s"
    elif _hopeless(report):
        sentence = f"{problem.type}: {problem.message}"
    else:
        sentence = f"not ready after {seconds:g} s; {problem.type}: {problem.message}"
    return Failure(sentence, f"{log}:\n{tail(log, TAIL_LINES)}")


def _log_name(problem: Condition | None, state: StateDirectory) -> str:
    match problem:
        case Condition(type=ConditionType.API_AVAILABLE | ConditionType.SYNCED):
            return "api"
        case Condition(type=ConditionType.CLUSTER_ACCEPTED | ConditionType.CLAIMED) if state.log("postgres").is_file():
            return "postgres"
        case _:
            return "supervisor"
