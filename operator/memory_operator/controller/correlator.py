"""Which Events are worth a write: repetitions become a series, and no object may flood the API. Pure; time comes in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from uuid import uuid4

from memory_contracts.conditions import Condition, ConditionStatus, Reason

Value = TypeVar("Value")
SUMMARY = "Ready"

# A stage that waits for another has nothing to tell; the other has.
_SILENT = frozenset({Reason.WAITING_FOR_EARLIER_STAGE})
# Not True, but as it should be: on the way, or as somebody asked for.
_EXPECTED = frozenset(
    {
        *(Reason.PROGRESSING, Reason.NOT_CONFIGURED, Reason.TERMINATING),
        *(Reason.PAUSED, Reason.READ_ONLY, Reason.FENCED, Reason.HIBERNATED),
    }
)


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """The object that an Event is about; `namespace` is empty for one without."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: `reason` in UpperCamelCase for programs, `note` as a sentence for people."""

    regarding: ObjectReference
    reason: str
    note: str
    action: str = "Reconcile"
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition that has another status or another reason than before."""

    before: Condition | None
    after: Condition

    @property
    def warning(self) -> bool:
        """Whether a person should look at it."""
        return self.after.status is not ConditionStatus.TRUE and self.after.reason not in _EXPECTED

    def event(self, regarding: ObjectReference) -> Event:
        """Return the Event that tells of it."""
        told = f"{self.after.type} is {self.after.status}"
        note = f"{told}: {self.after.message}" if self.after.message else told
        return Event(regarding, str(self.after.reason), note, warning=self.warning)


def transitions(before: Sequence[Condition], after: Sequence[Condition]) -> list[Transition]:
    """Return what has changed in status or reason, in the order of `after`.

    A new message alone is none, nor is a stage that has come to wait for an earlier one, or that is from the beginning
    as it should be: a new object would else tell of each of its stages, where Ready tells of all.
    """
    known = {each.type: each for each in before}
    changes = [Transition(known.get(each.type), each) for each in after if each.reason not in _SILENT]
    return [each for each in changes if _is_news(each)]


def _is_news(change: Transition) -> bool:
    if change.before is None:
        as_it_should_be = change.after.status is ConditionStatus.TRUE or change.after.reason in _EXPECTED
        return not as_it_should_be or change.after.type == SUMMARY
    return _state(change.before) != _state(change.after)


def _state(condition: Condition) -> tuple[ConditionStatus, Reason]:
    return condition.status, condition.reason


@dataclass(frozen=True, slots=True)
class Post:
    """An Event to be written under `name`: a new one when it is the first (`count` 1), else its series goes on."""

    event: Event
    name: str
    count: int


class Recent(OrderedDict[str | Event, Value], Generic[Value]):
    """A mapping that forgets what was not set for longest."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: str | Event, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Series:
    name: str
    count: int
    last: float


@dataclass(frozen=True, slots=True)
class _Bucket:
    tokens: float
    filled: float


class Correlator:
    """Remembers what was told, of a bounded number of objects.

    The same about the same object within `window` seconds continues a series. One object may cause `burst` writes, and
    from then on one each `refill` seconds, like client-go's spam filter; that one refills each 5 minutes, which would
    leave a namespace that went through an outage and its end without an Event for hours.
    """

    def __init__(
        self,
        *,
        window: float = 600.0,
        burst: int = 25,
        refill: float = 60.0,
        memory: int = 4096,
        new_id: Callable[[], str] = lambda: uuid4().hex[:16],
    ) -> None:
        self._window, self._burst, self._refill = window, burst, refill
        self._new_id = new_id
        self._series: Recent[_Series] = Recent(memory)
        self._buckets: Recent[_Bucket] = Recent(memory)

    def decide(self, event: Event, now: float) -> Post | None:
        """Return what to write, or None when the object has caused too many writes."""
        if not self._may_write(event.regarding.uid, now):
            return None
        before = self._series.get(event)
        if before is None or now - before.last > self._window:
            return self.begin_anew(event, now)
        self._series[event] = series = replace(before, count=before.count + 1, last=now)
        return Post(event, series.name, series.count)

    def begin_anew(self, event: Event, now: float) -> Post:
        """Return the first Event of a series; what was remembered is no longer there."""
        # Together at most 253 characters, what a name may have.
        self._series[event] = series = _Series(f"{event.regarding.name[:230]}.{self._new_id()}", 1, now)
        return Post(event, series.name, 1)

    def forget(self, event: Event) -> None:
        """Note that the Event could not be written: there is no series to continue."""
        self._series.pop(event, None)

    def _may_write(self, uid: str, now: float) -> bool:
        bucket = self._buckets.get(uid) or _Bucket(self._burst, now)
        tokens = min(float(self._burst), bucket.tokens + (now - bucket.filled) / self._refill)
        allowed = tokens >= 1.0
        self._buckets[uid] = _Bucket(tokens - 1.0 if allowed else tokens, now)
        return allowed
