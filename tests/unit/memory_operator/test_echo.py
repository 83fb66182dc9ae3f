"""A watch that has gone deaf is noticed by what the operator itself writes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_operator.controller.watchdog import Watchdog
from memory_operator.kube.kinds import DEPLOYMENT, SECRET
from memory_operator.shell.echo import ECHO_SECONDS, WatchEcho


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


@pytest.fixture
def echo(watchdog: Watchdog) -> WatchEcho:
    return WatchEcho(watchdog)


def test_a_write_that_comes_back_in_time_is_well(echo, watchdog, clock):
    echo.wrote(DEPLOYMENT, 5)
    clock.now = ECHO_SECONDS
    assert watchdog.problems() == []
    echo.seen(DEPLOYMENT, 5)
    clock.now = 1e6

    assert watchdog.problems() == []


def test_a_write_that_does_not_come_back_names_its_watch(echo, watchdog, clock):
    echo.wrote(DEPLOYMENT, 5)
    clock.now = ECHO_SECONDS + 1

    (problem,) = watchdog.problems()
    assert problem.startswith("the watch of deployments gave no sign of life for 181 s")


def test_something_older_is_no_echo_and_something_newer_is(echo, watchdog, clock):
    echo.wrote(DEPLOYMENT, 5)
    echo.seen(DEPLOYMENT, 4)
    clock.now = ECHO_SECONDS + 1
    assert watchdog.problems()

    echo.seen(DEPLOYMENT, 6)
    assert watchdog.problems() == []


def test_the_echo_of_another_kind_is_none(echo, watchdog, clock):
    echo.wrote(DEPLOYMENT, 5)
    echo.seen(SECRET, 9)
    clock.now = ECHO_SECONDS + 1

    assert len(watchdog.problems()) == 1


@pytest.mark.parametrize("version", [4, 5], ids=["older than what was seen", "the last that was seen"])
def test_a_write_that_changed_nothing_is_not_expected(echo, watchdog, clock, version):
    """It answers with the version that the object had before."""
    echo.seen(DEPLOYMENT, 5)
    echo.wrote(DEPLOYMENT, version)
    clock.now = 1e6

    assert watchdog.problems() == []


def test_an_echo_may_be_faster_than_the_answer_to_the_write(echo, watchdog, clock):
    echo.seen(DEPLOYMENT, 5)
    echo.wrote(DEPLOYMENT, 5)
    clock.now = 1e6

    assert watchdog.problems() == []


def test_a_deaf_watch_is_noticed_however_much_is_written(echo, watchdog, clock):
    """Further writes do not put the time off."""
    for version in range(5, 100):
        echo.wrote(DEPLOYMENT, version)
        clock.now += 10

    assert len(watchdog.problems()) == 1


def test_a_watch_that_goes_deaf_later_is_noticed_with_the_next_write(echo, watchdog, clock):
    echo.wrote(DEPLOYMENT, 5)
    echo.seen(DEPLOYMENT, 5)
    clock.now = 1e6
    echo.wrote(DEPLOYMENT, 6)
    clock.now += ECHO_SECONDS + 1

    assert len(watchdog.problems()) == 1


def test_where_nothing_is_written_nothing_is_expected(echo, watchdog, clock):
    clock.now = 1e6

    assert watchdog.problems() == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["wrote", "seen"]), st.integers(1, 20)), max_size=30))
def test_a_watch_that_has_shown_everything_is_never_called_deaf(events):
    clock = Clock()
    watchdog = Watchdog(clock)
    echo = WatchEcho(watchdog)
    for what, version in events:
        getattr(echo, what)(DEPLOYMENT, version)
    echo.seen(DEPLOYMENT, 20)
    clock.now = 1e6

    assert watchdog.problems() == []
