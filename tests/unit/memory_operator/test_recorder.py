"""Events: which changes are told, how repetition and floods are held, and that a reconcile never notices."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import in_virtual_time, virtual_now

from memory_contracts.conditions import Condition, ConditionStatus, ConditionType, Reason
from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected, Unavailable
from memory_operator.controller.correlator import Correlator, Event, ObjectReference, Post, transitions
from memory_operator.controller.event_api import MAX_NOTE_BYTES, build_event, shorten
from memory_operator.controller.recorder import Recorder

NOTES = ObjectReference("memory.somafractal.io/v1alpha1", "MemoryNamespace", "team-a", "notes", "uid-1")
OTHER = ObjectReference("memory.somafractal.io/v1alpha1", "MemoryNamespace", "team-a", "other", "uid-2")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def condition(status, reason, message="", of=ConditionType.SCHEMA_READY) -> Condition:
    return Condition(type=of, status=status, reason=reason, message=message)


def happened(reason="Blocked", note="the schema is another's", about=NOTES) -> Event:
    return Event(about, reason, note, warning=True)


# --- which changes are told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((TRUE, Reason.PROVISIONED), (TRUE, Reason.PROVISIONED), False),
        ((TRUE, Reason.PROVISIONED), (UNKNOWN, Reason.BACKEND_UNAVAILABLE), True),
        ((UNKNOWN, Reason.BACKEND_UNAVAILABLE), (TRUE, Reason.PROVISIONED), True),
        ((FALSE, Reason.BLOCKED), (FALSE, Reason.REJECTED), True),
        ((TRUE, Reason.PROVISIONED), (UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE), False),
        ((UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE), (TRUE, Reason.PROVISIONED), True),
        (None, (UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE), False),
        (None, (TRUE, Reason.PROVISIONED), False),
        (None, (FALSE, Reason.NOT_CONFIGURED), False),
        (None, (FALSE, Reason.BLOCKED), True),
    ],
    ids=[
        *("nothing", "lost", "found", "another reason", "held up", "reached", "not yet reached"),
        *("well from the beginning", "not there from the beginning", "a problem from the beginning"),
    ],
)
def test_a_change_of_status_or_reason_is_told_and_waiting_for_another_stage_is_not(before, after, told):
    known = [condition(*before, "then")] if before else []

    changes = transitions(known, [condition(*after, "now")])

    assert [each.after.message for each in changes] == (["now"] if told else [])


def test_a_new_object_tells_where_it_stands_and_not_of_each_stage_that_goes_well():
    stages = [
        condition(TRUE, Reason.PROVISIONED, of=ConditionType.SCHEMA_READY),
        condition(FALSE, Reason.PROGRESSING, of=ConditionType.API_AVAILABLE),
    ]
    ready = condition(FALSE, Reason.PROGRESSING, of=ConditionType.READY)

    assert [each.after for each in transitions([], [*stages, ready])] == [ready]


def test_changes_come_in_the_order_of_the_stages():
    before = [condition(TRUE, Reason.AVAILABLE, of=ConditionType.READY)]
    after = [
        condition(FALSE, Reason.BLOCKED, of=ConditionType.SCHEMA_READY),
        condition(FALSE, Reason.BLOCKED, of=ConditionType.READY),
    ]

    assert [each.after.type for each in transitions(before, after)] == ["SchemaReady", "Ready"]


@pytest.mark.parametrize(
    ("status", "reason", "warning"),
    [
        (TRUE, Reason.PROVISIONED, False),
        (FALSE, Reason.BLOCKED, True),
        (UNKNOWN, Reason.BACKEND_UNAVAILABLE, True),
        (FALSE, Reason.PROGRESSING, False),
        (FALSE, Reason.HIBERNATED, False),
        (FALSE, Reason.DRIFT_DETECTED, True),
    ],
)
def test_what_a_person_should_look_at_is_a_warning(status, reason, warning):
    before = [condition(UNKNOWN, Reason.WAITING_FOR_EARLIER_STAGE)]

    (change,) = transitions(before, [condition(status, reason, "because")])

    event = change.event(NOTES)

    assert event == Event(NOTES, str(reason), f"SchemaReady is {status}: because", warning=warning)


# --- what is worth a write


def test_the_same_within_ten_minutes_is_a_series_and_later_a_new_event():
    correlator = Correlator()

    posts = [correlator.decide(happened(), now) for now in (0, 500, 1000, 1601)]

    assert [post.count for post in posts if post] == [1, 2, 3, 1]
    assert posts[0].name == posts[1].name == posts[2].name != posts[3].name


@pytest.mark.parametrize(
    "another",
    [happened(about=OTHER), happened(reason="Rejected"), happened(note="else"), Event(NOTES, "Blocked", "x")],
    ids=["object", "reason", "note", "type"],
)
def test_what_differs_is_no_repetition(another):
    correlator = Correlator()
    first = correlator.decide(happened(), 0)

    second = correlator.decide(another, 0)

    assert first and second
    assert second.count == 1
    assert second.name != first.name


def test_one_object_may_cause_a_burst_and_then_one_a_minute_and_others_are_not_held():
    correlator = Correlator(burst=25, refill=60.0)
    numbers = count()

    def allowed(now: float, about: ObjectReference = NOTES) -> bool:
        return correlator.decide(happened(note=str(next(numbers)), about=about), now) is not None

    assert sum(allowed(0) for _ in range(100)) == 25
    assert allowed(0, OTHER)
    assert not allowed(59)
    assert allowed(60)
    assert not allowed(61)
    assert sum(allowed(1e6) for _ in range(100)) == 25


def test_what_could_not_be_written_is_written_as_new_next_time():
    correlator = Correlator()
    correlator.decide(happened(), 0)
    correlator.forget(happened())

    again = correlator.decide(happened(), 1)

    assert again
    assert again.count == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=300), st.integers(1, 20))
def test_memory_is_bounded_whatever_happens(happenings, memory):
    correlator = Correlator(memory=memory)
    for now, (number, note) in enumerate(happenings):
        about = ObjectReference("v1", "Pod", "a", f"pod-{number}", f"uid-{number}")
        correlator.decide(happened(about=about, note=str(note)), float(now))

    assert len(correlator._series) <= memory
    assert len(correlator._buckets) <= memory


def test_what_was_used_last_is_remembered_longest():
    correlator = Correlator(memory=2)
    correlator.decide(happened(note="kept"), 0)
    correlator.decide(happened(note="old"), 1)
    correlator.decide(happened(note="kept"), 2)
    correlator.decide(happened(note="new"), 3)

    assert correlator.decide(happened(note="kept"), 4).count == 3
    assert correlator.decide(happened(note="old"), 5).count == 1


def test_the_name_of_an_event_is_never_too_long():
    about = ObjectReference("v1", "ConfigMap", "a", "n" * 253, "uid")

    post = Correlator().decide(happened(about=about), 0)

    assert post
    assert len(post.name) <= 253


def test_the_manifest_says_what_happened_to_what():
    post = Post(happened(), "notes.1", 1)

    assert build_event(post, NOON) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "notes.1", "namespace": "team-a"},
        "eventTime": "2026-11-01T12:00:00.000000Z",
        "type": "Warning",
        "reason": "Blocked",
        "action": "Reconcile",
        "note": "the schema is another's",
        "regarding": {
            "apiVersion": "memory.somafractal.io/v1alpha1",
            "kind": "MemoryNamespace",
            "namespace": "team-a",
            "name": "notes",
            "uid": "uid-1",
        },
    }


@settings(deadline=None)
@given(st.text(max_size=3000))
def test_a_note_is_cut_to_the_bytes_the_api_accepts_and_stays_text(note):
    cut = shorten(note.replace("\ud800", ""))

    assert len(cut.encode()) <= MAX_NOTE_BYTES
    assert cut == note or note.startswith(cut[:-1])


# --- the background


@dataclass
class Api:
    """Events by name with their count; `faults` are raised in turn before it works."""

    events: dict[str, int] = field(default_factory=dict)
    at: list[datetime] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    seconds: float = 0.0
    requests: int = 0

    async def create(self, post: Post, at: datetime) -> None:
        await self._pass()
        if post.name in self.events:
            raise Conflict("exists")
        self.events[post.name] = 1
        self.at.append(at)

    async def continue_series(self, post: Post, at: datetime) -> None:
        await self._pass()
        if post.name not in self.events:
            raise NotFound("gone")
        self.events[post.name] = post.count

    async def _pass(self) -> None:
        self.requests += 1
        await asyncio.sleep(self.seconds)
        if self.faults:
            raise self.faults.pop(0)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def results() -> Counter[str]:
    return Counter()


def new_recorder(api: Api, results: Counter[str], **options) -> Recorder:
    return Recorder(
        api, count=lambda result: results.update([result]), now=virtual_now, utc_now=lambda: NOON, **options
    )


@in_virtual_time
async def test_events_are_posted_in_the_background_and_flushed_at_the_end(api, results):
    api.seconds = 0.1
    async with new_recorder(api, results) as recorder:
        for reason in ("Blocked", "Rejected", "Blocked"):
            recorder.record(happened(reason))
        assert api.events == {}

    assert sorted(api.events.values()) == [1, 2]
    assert results == {"created": 2, "repeated": 1}
    assert api.at == [NOON, NOON]


@in_virtual_time
async def test_transitions_become_events(api, results):
    async with new_recorder(api, results) as recorder:
        recorder.record_transitions(NOTES, [condition(FALSE, Reason.BLOCKED)], [condition(TRUE, Reason.PROVISIONED)])
        recorder.record_transitions(NOTES, [condition(TRUE, Reason.PROVISIONED)], [condition(TRUE, Reason.PROVISIONED)])

    assert results == {"created": 1}


@in_virtual_time
async def test_too_many_at_once_are_dropped_and_counted_and_nobody_waits(api, results):
    api.seconds = 3600
    async with new_recorder(api, results, queue_limit=10) as recorder:
        began = virtual_now()
        for number in range(100):
            recorder.record(happened(note=str(number)))
        assert virtual_now() == began
        assert results["dropped"] == 90


@in_virtual_time
async def test_the_end_waits_for_a_dead_api_only_briefly_and_counts_what_is_lost(api, results):
    api.seconds = 3600
    recorder = new_recorder(api, results)
    async with recorder:
        for number in range(5):
            recorder.record(happened(note=str(number)))
        began = virtual_now()

    assert virtual_now() - began <= 2.1
    assert results["dropped"] == 4  # one was under way


@pytest.mark.parametrize(
    ("fault", "result"),
    [(Rejected("403: the namespace is being terminated"), "refused"), (RuntimeError("a bug"), "failed")],
)
@in_virtual_time
async def test_an_event_that_is_refused_is_counted_and_the_next_is_posted(api, results, fault, result):
    api.faults = [fault]
    async with new_recorder(api, results) as recorder:
        recorder.record(happened("Blocked"))
        recorder.record(happened("Rejected"))

    assert results == {result: 1, "created": 1}


@in_virtual_time
async def test_after_a_refusal_the_same_is_a_new_event_and_no_series_of_nothing(api, results):
    api.faults = [Rejected("403")]
    async with new_recorder(api, results) as recorder:
        recorder.record(happened())
        recorder.record(happened())

    assert list(api.events.values()) == [1]
    assert api.requests == 2


@in_virtual_time
async def test_a_short_outage_loses_no_event_and_a_long_one_only_itself(api, results):
    async with new_recorder(api, results) as recorder:
        api.faults = [Unavailable("down"), Unavailable("down")]
        recorder.record(happened("Blocked"))
        await asyncio.sleep(10)
        api.faults = [Unavailable("down")] * 3
        recorder.record(happened("Rejected"))
        await asyncio.sleep(10)
        recorder.record(happened("Rejected"))

    assert results == {"created": 2, "failed": 1}


@in_virtual_time
async def test_a_lost_answer_does_not_make_two_events(api, results):
    api.faults = []
    original = api.create

    async def forgetful(post: Post, at: datetime) -> None:
        await original(post, at)
        api.create = original
        raise Unavailable("no answer")

    api.create = forgetful
    async with new_recorder(api, results) as recorder:
        recorder.record(happened())
        await asyncio.sleep(10)

    assert list(api.events.values()) == [1]
    assert results == {"created": 1}


@in_virtual_time
async def test_a_series_whose_event_has_expired_begins_anew(api, results):
    async with new_recorder(api, results) as recorder:
        recorder.record(happened())
        await asyncio.sleep(1)
        api.events.clear()
        recorder.record(happened())
        recorder.record(happened())
        await asyncio.sleep(1)

    assert list(api.events.values()) == [2]


@in_virtual_time
async def test_an_object_that_causes_too_many_is_held_and_counted(api, results):
    async with new_recorder(api, results, correlator=Correlator(burst=3)) as recorder:
        for number in range(10):
            recorder.record(happened(note=str(number)))

    assert results == {"created": 3, "limited": 7}


@settings(deadline=None)
@given(st.integers(0, 2**32))
@in_virtual_time
async def test_every_event_comes_to_exactly_one_end(seed):
    chance, api, results = random.Random(seed), Api(), Counter()
    faults: list[PlatformError] = [Unavailable("down"), Rejected("no"), NotFound("gone"), Conflict("exists")]
    async with new_recorder(api, results, queue_limit=5) as recorder:
        for _ in range(50):
            recorder.record(happened(note=str(chance.randint(0, 3))))
            if chance.random() < 0.3:
                api.faults.append(chance.choice(faults))
            await asyncio.sleep(chance.choice([0, 0, 1, 5]))
        await asyncio.sleep(100)

    assert results.total() == 50
