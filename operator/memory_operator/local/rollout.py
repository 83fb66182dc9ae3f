"""Which processes to start, stop and restart, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from memory_operator.local.replica import ReplicaSpec


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Run one process more."""

    spec: ReplicaSpec

    @property
    def summary(self) -> str:
        """One line for log and status."""
        return f"start {self.spec.name}"


@dataclass(frozen=True, slots=True)
class RestartProcess:
    """Replace a process when it is its turn, for these variables or parts of its manifest are others now."""

    spec: ReplicaSpec
    changed: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for log and status; names, no values."""
        return f"restart {self.spec.name} for other {', '.join(self.changed)}"


@dataclass(frozen=True, slots=True)
class StopProcess:
    """End a process that is not wanted any more."""

    name: str

    @property
    def summary(self) -> str:
        """One line for log and status."""
        return f"stop {self.name}"


ProcessStep: TypeAlias = StartProcess | RestartProcess | StopProcess


def plan_processes(wanted: Mapping[str, ReplicaSpec], told: Mapping[str, ReplicaSpec]) -> list[ProcessStep]:
    """Return the steps from what was told before to what is wanted now; [] when that is the same.

    What was told counts, not what runs: as with a Deployment, a restart that waits for its turn is no difference, nor
    is a process that has just died and is started again by itself.
    """
    stops = [StopProcess(name) for name in told if name not in wanted]
    starts = [StartProcess(spec) for name, spec in wanted.items() if name not in told]
    restarts = [
        RestartProcess(spec, tuple(_changed(told[name], spec)))
        for name, spec in wanted.items()
        if name in told and told[name] != spec
    ]
    return [*stops, *starts, *restarts]


@dataclass(frozen=True, slots=True)
class Turn:
    """What decides whose turn it is to be restarted: has the replica the wanted manifest, and does it answer?"""

    name: str
    current: bool
    ready: bool


def next_restart(turns: Sequence[Turn]) -> str | None:
    """Return the one replica to restart now, or None.

    One that does not answer has nothing to lose and goes first. Otherwise the next one waits until those that were
    restarted answer, so that a change that breaks the API stops at the first replica.
    """
    outdated = [each for each in turns if not each.current]
    for each in outdated:
        if not each.ready:
            return each.name
    if any(each.current and not each.ready for each in turns):
        return None
    return outdated[0].name if outdated else None


def _changed(before: ReplicaSpec, after: ReplicaSpec) -> Iterator[str]:
    names = {*before.environment, *after.environment}
    yield from sorted(name for name in names if before.environment.get(name) != after.environment.get(name))
    if before.command != after.command:
        yield "command"
    if (before.port, before.readiness_path) != (after.port, after.readiness_path):
        yield "port or probe"
    if before.stop_seconds != after.stop_seconds:
        yield "time to stop"
