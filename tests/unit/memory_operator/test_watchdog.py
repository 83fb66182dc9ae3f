"""The watchdog says what has stopped, and of what goes on it says nothing."""

import asyncio
import threading
import time

import pytest
from polling import until

from memory_operator.controller.watchdog import Watchdog, keep_beating


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watchdog(clock: Clock) -> Watchdog:
    return Watchdog(clock)


def test_what_gives_signs_of_life_in_time_is_no_problem(watchdog, clock):
    watchdog.expect("control-loop", within=30)
    for _ in range(10):
        clock.now += 30
        assert watchdog.problems() == []
        watchdog.beat("control-loop")


def test_what_is_silent_for_too_long_is_named_with_its_silence(watchdog, clock):
    watchdog.expect("control-loop", within=30)
    watchdog.expect("watch of Secrets", within=300)
    clock.now = 31

    assert watchdog.problems() == ["control-loop gave no sign of life for 31 s; 30 s are allowed"]


def test_what_never_began_is_a_problem_too(watchdog, clock):
    watchdog.expect("watch of Secrets", within=10)
    clock.now = 11

    assert len(watchdog.problems()) == 1


def test_what_comes_back_to_life_is_a_problem_no_longer(watchdog, clock):
    watchdog.expect("control-loop", within=30)
    clock.now = 100
    watchdog.beat("control-loop")

    assert watchdog.problems() == []


def test_what_is_dismissed_may_be_silent_and_its_last_beat_is_no_error(watchdog, clock):
    watchdog.expect("watch of Secrets", within=10)
    watchdog.dismiss("watch of Secrets")
    watchdog.beat("watch of Secrets")
    watchdog.dismiss("watch of Secrets")
    clock.now = 1000

    assert watchdog.problems() == []


def test_a_deadline_must_lie_ahead(watchdog):
    with pytest.raises(ValueError, match="control-loop"):
        watchdog.expect("control-loop", within=0)


async def test_a_blocked_event_loop_is_noticed_from_another_thread_and_its_recovery_too():
    watchdog, seen = Watchdog(), []
    beating = asyncio.create_task(keep_beating(watchdog, "control-loop", within=0.4))
    await asyncio.sleep(0.1)

    prober = threading.Thread(target=lambda: (time.sleep(0.7), seen.extend(watchdog.problems())))
    prober.start()
    prober.join()  # what a blocking call does to the loop

    assert [each.split()[0] for each in seen] == ["control-loop"]
    await until(lambda: watchdog.problems() == [])
    beating.cancel()
    await asyncio.wait((beating,))
    await asyncio.sleep(0.5)
    assert watchdog.problems() == [], "a loop that ended in order is not missed"


def test_many_threads_beat_at_once():
    watchdog = Watchdog()
    names = [f"thread-{number}" for number in range(8)]

    def live(name: str) -> None:
        for _ in range(500):
            watchdog.expect(name, within=60)
            watchdog.beat(name)
            watchdog.problems()
            watchdog.dismiss(name)

    threads = [threading.Thread(target=live, args=(name,)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert watchdog.problems() == []
