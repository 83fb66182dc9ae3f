"""Which key is worked on next. Pure: the time comes in, nothing waits here.

A key is ready, or waits for its time, or is being worked on; while it is worked on it may also be asked for again. It
is in each state at most once, so no two workers ever have the same key.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# While a key is overdue, one turn in so many is given by age.
TURNS_PER_AGED = 4


class Priority(IntEnum):
    """Why a key is asked for; the greater goes first."""

    START_UP = 0
    DRIFT = 1
    RETRY = 2
    CHILD = 3
    CREATION = 4  # hundreds may come at once, and nobody's edit shall wait for them
    SECRET = 5
    USER_EDIT = 6


@dataclass(frozen=True, slots=True)
class Turn(Generic[Key]):
    """A key that a worker has now; `waited` is for how many seconds it could have been taken before."""

    key: Key
    priority: Priority
    waited: float


@dataclass(frozen=True, slots=True)
class _Request:
    priority: Priority
    ready_at: float

    def merged(self, other: _Request) -> _Request:
        return _Request(max(self.priority, other.priority), min(self.ready_at, other.ready_at))


class Schedule(Generic[Key]):
    """The keys that are asked for, and those being worked on.

    Greater priorities go first, and inside a priority first come, first served. So that a flood of edits cannot starve
    the rest, of every `TURNS_PER_AGED` turns one goes to the key that has been ready longest, once that is longer than
    `patience` seconds. It is a share and no absolute bound on purpose: with one, a backlog older than `patience` (5,000
    keys after a restart) would push a user's edit to its end.

    Keys that depend on the same thing share a lane, and no more than `lane_limit` of them are worked on at once: what
    makes them slow cannot take every worker.
    """

    def __init__(
        self, patience: float, lane_of: Callable[[Key], Hashable] = lambda key: None, lane_limit: float = math.inf
    ) -> None:
        self._patience = patience
        self._lane_of = lane_of
        self._lane_limit = lane_limit
        self._requests: dict[Key, _Request] = {}
        self._processing: dict[Key, Hashable] = {}
        self._busy: Counter[Hashable] = Counter()
        # The ready keys twice: in line by priority and lane, and by age. (Taking the first of a plain dict again and
        # again is quadratic; of an OrderedDict it is not.)
        self._lines: dict[Priority, dict[Hashable, OrderedDict[Key, None]]] = {
            each: {} for each in sorted(Priority)[::-1]
        }
        self._lanes: dict[Key, Hashable] = {}
        self._ready_since: OrderedDict[Key, float] = OrderedDict()
        # A heap by time; what a later request has made obsolete stays until it comes up.
        self._timers: list[tuple[float, int, Key]] = []
        self._tickets = itertools.count()
        self._turns_by_priority = 0

    @property
    def ready(self) -> int:
        """How many keys could be taken when the schedule was last used."""
        return len(self._ready_since)

    @property
    def waiting(self) -> int:
        """How many keys wait for their time, or for the worker that has them."""
        return len(self._requests) - len(self._ready_since)

    def add(self, key: Key, priority: Priority, ready_at: float, now: float) -> bool:
        """Ask for `key`; of two requests the greater priority and the earlier time hold. Return whether it is news."""
        self._ripen(now)  # first, so that what was due earlier counts as older
        before, wanted = self._requests.get(key), _Request(priority, ready_at)
        if before:
            wanted = before.merged(wanted)
            if wanted == before:
                return False
            self._leave_line(key, before.priority)
        self._requests[key] = wanted
        if key not in self._processing:
            self._place(key, wanted, now)
        return before is None

    def take(self, now: float) -> Turn[Key] | None:
        """Give the next key to a worker, who brings it back with `done`; None when none may be taken now."""
        self._ripen(now)
        if not self._ready_since:
            return None
        key = self._next(now)
        if key is None:
            return None
        request, since = self._requests.pop(key), self._ready_since.pop(key)
        lane = self._processing[key] = self._leave_line(key, request.priority)
        self._busy[lane] += 1
        return Turn(key, request.priority, max(0.0, now - since))

    def done(self, key: Key, now: float) -> None:
        """Note that the worker has finished; a request that came meanwhile takes its place."""
        if key not in self._processing:
            raise ValueError(f"{key!r} is not being worked on; call done once for each key that was taken")
        lane = self._processing.pop(key)
        self._busy[lane] -= 1
        if not self._busy[lane]:
            del self._busy[lane]
        if request := self._requests.get(key):
            self._place(key, request, now)

    def next_ready_at(self) -> float | None:
        """Return when the next key becomes ready by time alone, or None."""
        while self._timers:
            ready_at, _, key = self._timers[0]
            if self._timer_holds(key, ready_at):
                return ready_at
            heapq.heappop(self._timers)
        return None

    def _place(self, key: Key, request: _Request, now: float) -> None:
        if request.ready_at > now:
            heapq.heappush(self._timers, (request.ready_at, next(self._tickets), key))
            self._drop_obsolete_timers()
        else:
            self._enter_line(key, request.priority)
            self._ready_since.setdefault(key, now)

    def _enter_line(self, key: Key, priority: Priority) -> None:
        lane = self._lanes[key] = self._lane_of(key)
        self._lines[priority].setdefault(lane, OrderedDict())[key] = None

    def _leave_line(self, key: Key, priority: Priority) -> Hashable:
        """Take a key that may be in line out of it; return its lane."""
        lane = self._lanes.pop(key, None)
        if (line := self._lines[priority].get(lane)) is not None:
            line.pop(key, None)
            if not line:
                del self._lines[priority][lane]
        return lane

    def _ripen(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            ready_at, _, key = heapq.heappop(self._timers)
            if self._timer_holds(key, ready_at):
                self._enter_line(key, self._requests[key].priority)
                self._ready_since[key] = ready_at

    def _timer_holds(self, key: Key, ready_at: float) -> bool:
        request = self._requests.get(key)
        idle = key not in self._processing and key not in self._ready_since
        return request is not None and idle and request.ready_at == ready_at

    def _drop_obsolete_timers(self) -> None:
        """Keep the heap no larger than a multiple of what is asked for, however often keys are asked for again."""
        if len(self._timers) > 2 * len(self._requests) + 64:
            self._timers = [each for each in self._timers if self._timer_holds(each[2], each[0])]
            heapq.heapify(self._timers)

    def _next(self, now: float) -> Key | None:
        first = self._first()
        if first is None:
            return None
        oldest, since = next(iter(self._ready_since.items()))
        if now - since < self._patience or first == oldest or not self._open(self._lanes[oldest]):
            self._turns_by_priority = 0
        elif self._turns_by_priority < TURNS_PER_AGED - 1:
            self._turns_by_priority += 1
        else:
            self._turns_by_priority = 0
            return oldest
        return first

    def _first(self) -> Key | None:
        for lanes in self._lines.values():
            for lane, line in lanes.items():
                if self._open(lane):
                    lanes[lane] = lanes.pop(lane)  # behind the others, so that lanes take turns
                    return next(iter(line))
        return None

    def _open(self, lane: Hashable) -> bool:
        return self._busy[lane] < self._lane_limit
