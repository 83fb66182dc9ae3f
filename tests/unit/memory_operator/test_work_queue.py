"""The queue between events and workers: one worker a key, nothing lost, the urgent first, nobody starved."""

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from virtual_time import in_virtual_time, virtual_now

from memory_operator.controller.schedule import TURNS_PER_AGED, Priority, Schedule
from memory_operator.controller.work_queue import Backoff, QueueShutDown, Unmeasured, WorkQueue

FOREVER = float("inf")
KEYS = ("team-a/one", "team-a/two", "team-b/one", "team-b/two")


def new_queue(**options) -> WorkQueue[str]:
    return WorkQueue(**{"now": virtual_now, "chance": lambda: 0.5, **options})


async def taken(queue: WorkQueue[str]) -> list[str]:
    """Everything that can be had now, each key given back at once."""
    await asyncio.sleep(0)
    keys = []
    with pytest.raises(TimeoutError):
        while True:
            async with asyncio.timeout(0.001):
                keys.append(await queue.get())
            queue.done(keys[-1])
    return keys


def test_the_order_of_urgency_is_that_of_the_design():
    assert sorted(Priority, reverse=True) == [
        Priority.USER_EDIT,
        Priority.SECRET,
        Priority.CREATION,
        Priority.CHILD,
        Priority.RETRY,
        Priority.DRIFT,
        Priority.START_UP,
    ]


@in_virtual_time
async def test_the_urgent_goes_first_and_equals_in_the_order_they_came():
    queue = new_queue()
    queue.add("drift-1", Priority.DRIFT)
    queue.add("start", Priority.START_UP)
    queue.add("edit-1", Priority.USER_EDIT)
    queue.add("drift-2", Priority.DRIFT)
    queue.add("edit-2", Priority.USER_EDIT)

    assert await taken(queue) == ["edit-1", "edit-2", "drift-1", "drift-2", "start"]


@in_virtual_time
async def test_a_key_that_is_asked_for_twice_runs_once_with_the_greater_priority():
    queue = new_queue()
    queue.add("a", Priority.START_UP)
    queue.add("b", Priority.CHILD)
    queue.add("a", Priority.USER_EDIT)
    queue.add("a", Priority.DRIFT)

    assert await taken(queue) == ["a", "b"]


@pytest.mark.parametrize(("first", "second"), [(10.0, 5.0), (5.0, 10.0)])
@in_virtual_time
async def test_of_two_times_the_earlier_holds(first, second):
    queue, began = new_queue(), virtual_now()
    queue.add_after("a", first, Priority.DRIFT)
    queue.add_after("a", second, Priority.DRIFT)

    key = await queue.get()
    queue.done(key)

    assert virtual_now() - began == pytest.approx(5.0)
    await asyncio.sleep(60)
    assert await taken(queue) == []


@in_virtual_time
async def test_an_edit_does_not_wait_for_the_pause_after_a_failure():
    queue, began = new_queue(), virtual_now()
    for _ in range(8):
        queue.retry("a")
    queue.add("a", Priority.USER_EDIT)

    assert await queue.get() == "a"
    assert virtual_now() == began


@in_virtual_time
async def test_a_request_while_the_key_is_worked_on_runs_once_more_afterwards_and_never_beside():
    queue = new_queue()
    queue.add("a", Priority.CHILD)
    assert await queue.get() == "a"

    queue.add("a", Priority.DRIFT)
    queue.add("a", Priority.USER_EDIT)
    beside = asyncio.create_task(queue.get())
    await asyncio.sleep(5)

    assert not beside.done()
    queue.done("a")
    assert await beside == "a"
    queue.done("a")
    assert await taken(queue) == []


@in_virtual_time
async def test_a_pause_that_begins_while_the_key_is_worked_on_is_kept():
    queue, began = new_queue(), virtual_now()
    queue.add("a", Priority.CHILD)
    await queue.get()
    queue.add_after("a", 60, Priority.DRIFT)
    await asyncio.sleep(20)
    queue.done("a")

    assert await queue.get() == "a"
    assert virtual_now() - began == pytest.approx(60)


@in_virtual_time
async def test_pauses_double_up_to_the_limit_and_begin_anew_when_forgotten():
    queue = new_queue(backoff=Backoff(base=1.0, limit=8.0), chance=lambda: 0.0)

    pauses = [queue.retry("a") for _ in range(5)]
    queue.forget("a")

    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert queue.retry("a") == 0.5
    assert queue.retry("b") == 0.5


@in_virtual_time
async def test_a_backend_that_says_when_to_come_back_is_believed():
    queue, began = new_queue(), virtual_now()

    assert queue.retry("a", at_least=20.0) == 20.0

    await queue.get()
    assert virtual_now() - began == pytest.approx(20.0)


@settings(deadline=None)
@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_half_and_all_of_its_span(failures, chance):
    backoff = Backoff(base=0.5, limit=60.0)
    span = min(60.0, 0.5 * 2 ** (failures - 1)) if failures < 20 else 60.0

    assert span / 2 <= backoff.pause(failures, chance) <= span


@in_virtual_time
async def test_shutdown_ends_workers_that_wait_and_those_that_come_back():
    queue = new_queue()
    queue.add("a", Priority.CHILD)
    busy = await queue.get()
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(1)

    queue.add("b", Priority.START_UP)
    queue.shutdown()
    queue.add("c", Priority.USER_EDIT)
    queue.done(busy)

    for each in waiting:
        with pytest.raises(QueueShutDown):
            await each
    with pytest.raises(QueueShutDown):
        await queue.get()


@in_virtual_time
async def test_a_worker_that_is_cancelled_while_it_waits_takes_no_key_with_it():
    queue = new_queue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(1)
    queue.add("a", Priority.CHILD)
    waiting.cancel()
    await asyncio.wait((waiting,))

    assert await taken(queue) == ["a"]


def test_a_key_that_was_not_taken_cannot_be_given_back():
    with pytest.raises(ValueError, match="'a' is not being worked on"):
        Schedule(30.0).done("a", 0.0)


@in_virtual_time
async def test_a_flood_of_edits_leaves_each_fourth_turn_to_what_has_waited_too_long():
    queue = new_queue(patience=30.0)
    queue.add("cold", Priority.START_UP)
    served = []
    for number in range(200):
        queue.add(f"edit-{number}", Priority.USER_EDIT)
        queue.add(f"edit-{number}-too", Priority.USER_EDIT)
        served.append(await queue.get())
        await asyncio.sleep(1)
        queue.done(served[-1])

    assert 30 <= served.index("cold") <= 30 + TURNS_PER_AGED


@in_virtual_time
async def test_an_edit_waits_at_most_one_turn_behind_a_backlog_that_is_overdue():
    queue = new_queue(patience=30.0)
    for number in range(5000):
        queue.add(f"start-{number}", Priority.START_UP)
    await asyncio.sleep(600)
    for _ in range(10):
        queue.done(await queue.get())

    queue.add("edit", Priority.USER_EDIT)

    first_two = [await queue.get(), await queue.get()]
    assert "edit" in first_two


@in_virtual_time
async def test_a_retry_ages_from_when_it_was_due():
    queue = new_queue(patience=30.0)
    queue.add_after("late", 10, Priority.START_UP)
    await asyncio.sleep(100)
    for number in range(10):
        queue.add(f"edit-{number}", Priority.USER_EDIT)

    served = [await queue.get() for _ in range(TURNS_PER_AGED)]

    assert "late" in served


def test_asking_again_and_again_does_not_let_the_schedule_grow():
    schedule: Schedule[str] = Schedule(30.0)
    for second in range(10_000):
        schedule.add("a", Priority.USER_EDIT, second, second)
        assert schedule.take(second)
        schedule.done("a", second)
        schedule.add("a", Priority.DRIFT, second + 3600, second)

    assert len(schedule._timers) < 100


def test_keys_come_in_the_order_of_their_times_however_often_those_were_moved():
    schedule, chance = Schedule[int](30.0), random.Random(5)
    for _ in range(5000):
        schedule.add(chance.randrange(200), Priority.DRIFT, chance.uniform(100, 1e6), 0.0)

    times = []
    while (at := schedule.next_ready_at()) is not None:
        times.append(at)
        assert schedule.take(at)

    assert len(times) == 200
    assert times == sorted(times)


class Recording(Unmeasured):
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def added(self, priority):
        self.told.append(("added", priority))

    def depth(self, ready, waiting):
        self.ready, self.waiting = ready, waiting

    def started(self, priority, waited):
        self.told.append(("started", priority, round(waited, 3)))

    def finished(self, worked):
        self.told.append(("finished", round(worked, 3)))

    def retried(self):
        self.told.append(("retried",))


@in_virtual_time
async def test_the_metrics_tell_depth_adds_latency_work_and_retries():
    metrics = Recording()
    queue = new_queue(metrics=metrics)
    queue.add("a", Priority.CHILD)
    queue.add("a", Priority.CHILD)
    queue.add_after("b", 100, Priority.DRIFT)
    assert (metrics.ready, metrics.waiting, len(queue)) == (1, 1, 1)
    await asyncio.sleep(2)

    await queue.get()
    await asyncio.sleep(3)
    queue.retry("a")
    queue.done("a")

    assert metrics.told == [
        ("added", Priority.CHILD),
        ("added", Priority.DRIFT),
        ("started", Priority.CHILD, 2.0),
        ("added", Priority.RETRY),
        ("retried",),
        ("finished", 3.0),
    ]
    assert (metrics.ready, metrics.waiting) == (0, 2)


class AnySchedule(RuleBasedStateMachine):
    """Whatever is asked for, taken and given back, against a list of what is owed."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule[str] = Schedule(patience=FOREVER)
        self.now = 0.0
        self.owed: dict[str, tuple[Priority, float]] = {}
        self.working: set[str] = set()

    @rule(key=st.sampled_from(KEYS), priority=st.sampled_from(Priority), delay=st.sampled_from([0.0, 0.0, 1.0, 5.0]))
    def ask(self, key, priority, delay):
        before = self.owed.get(key, (priority, FOREVER))
        is_news = self.schedule.add(key, priority, self.now + delay, self.now)
        assert is_news == (key not in self.owed)
        self.owed[key] = (max(before[0], priority), min(before[1], self.now + delay))

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def take(self):
        turn = self.schedule.take(self.now)
        due = {key: each for key, each in self.owed.items() if each[1] <= self.now and key not in self.working}
        if turn is None:
            assert not due, "a key that is due is not given out"
            return
        assert turn.key not in self.working, "two workers have one key"
        assert turn.key in due, "a key is given out before its time"
        assert turn.priority == due[turn.key][0] == max(priority for priority, _ in due.values())
        del self.owed[turn.key]
        self.working.add(turn.key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def give_back(self, data):
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.working.remove(key)
        self.schedule.done(key, self.now)

    @invariant()
    def nothing_is_lost_and_nothing_doubled(self):
        assert self.schedule.ready + self.schedule.waiting == len(self.owed)

    @invariant()
    def whoever_sleeps_is_woken_in_time(self):
        idle = [ready_at for key, (_, ready_at) in self.owed.items() if key not in self.working]
        future = [each for each in idle if each > self.now]
        at = self.schedule.next_ready_at()
        assert not future or (at is not None and at <= min(future))

    def teardown(self):
        for key in self.working:
            self.schedule.done(key, self.now)
        self.now += 100
        seen = {turn.key for turn in iter(lambda: self.schedule.take(self.now), None)}
        assert seen == set(self.owed)


TestAnySchedule = AnySchedule.TestCase
TestAnySchedule.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 8))
@in_virtual_time
async def test_with_any_workers_no_request_is_lost_and_no_key_has_two(seed, workers):
    chance = random.Random(seed)
    queue = new_queue(patience=3.0, chance=chance.random)
    asked: dict[str, float] = {}
    began: dict[str, float] = {}
    working: set[str] = set()

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueShutDown:
                return
            assert key not in working
            working.add(key)
            began[key] = virtual_now()
            await asyncio.sleep(chance.choice([0, 0, 0.1, 2.0]))
            working.remove(key)
            if chance.random() < 0.3:
                queue.retry(key)
            else:
                queue.forget(key)
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
        for _ in range(100):
            key = chance.choice(KEYS)
            asked[key] = virtual_now()
            queue.add_after(key, chance.choice([0, 0, 0, 1.5]), chance.choice(list(Priority)))
            await asyncio.sleep(chance.choice([0, 0, 0.05, 0.5]))
        await asyncio.sleep(600)
        queue.shutdown()

    assert all(began[key] >= at for key, at in asked.items())


@in_virtual_time
async def test_pauses_of_keys_that_fail_together_come_apart():
    queue = new_queue(chance=random.Random(7).random)

    pauses = sorted(queue.retry(f"key-{number}") for number in range(50))

    assert any(later - earlier > 0.001 for earlier, later in pairwise(pauses))
    assert len(set(pauses)) == 50


def lane(key: str) -> str:
    return key.partition("/")[0]


@in_virtual_time
async def test_a_lane_that_is_full_leaves_the_workers_to_the_others():
    queue = new_queue(lane_of=lane, lane_limit=2)
    for number in range(5):
        queue.add(f"slow/{number}", Priority.USER_EDIT)
    queue.add("other/1", Priority.START_UP)

    assert [await queue.get() for _ in range(3)] == ["slow/0", "slow/1", "other/1"]
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(1)
    assert not waiting.done()

    queue.done("slow/0")
    assert await waiting == "slow/2"


@in_virtual_time
async def test_lanes_take_turns_inside_a_priority_and_edits_go_first_in_a_full_one():
    queue = new_queue(lane_of=lane, lane_limit=1)
    for number in range(3):
        queue.add(f"a/{number}", Priority.START_UP)
        queue.add(f"b/{number}", Priority.START_UP)
    first, second = await queue.get(), await queue.get()
    queue.add("a/edit", Priority.USER_EDIT)
    queue.done(first)
    queue.done(second)

    assert {lane(first), lane(second)} == {"a", "b"}
    assert await queue.get() == "a/edit"


@in_virtual_time
async def test_an_overdue_key_of_a_full_lane_holds_up_nobody():
    queue = new_queue(lane_of=lane, lane_limit=1, patience=1)
    queue.add("slow/1", Priority.START_UP)
    queue.add("slow/2", Priority.START_UP)
    assert await queue.get() == "slow/1"
    await asyncio.sleep(100)
    for number in range(2 * TURNS_PER_AGED):
        queue.add(f"other/{number}", Priority.CHILD)

    for number in range(2 * TURNS_PER_AGED):
        key = await queue.get()
        queue.done(key)
        assert key == f"other/{number}"
