"""The three classes of outcome."""

import pytest

from memory_contracts.conditions import Reason
from memory_contracts.errors import (
    Conflict,
    IdempotencyMismatch,
    NotFound,
    PlatformError,
    PreconditionFailed,
    Rejected,
    Unavailable,
)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (Unavailable, PlatformError),
        (Rejected, PlatformError),
        (Conflict, PlatformError),
        (NotFound, Rejected),
        (PreconditionFailed, Conflict),
        (IdempotencyMismatch, Rejected),
    ],
)
def test_every_error_belongs_to_one_of_three_classes(kind, base):
    error = kind("what happened, and what to do", field="coord")
    assert isinstance(error, base)
    assert str(error) == error.detail == "what happened, and what to do"
    assert error.field == "coord"
    assert sum(isinstance(error, each) for each in (Unavailable, Rejected, Conflict)) == 1


def test_unavailable_says_when_to_come_back():
    assert Unavailable("down").retry_after == 1.0
    assert Unavailable("down", retry_after=2.5).retry_after == 2.5


@pytest.mark.parametrize("kind", [Unavailable, Rejected, Conflict])
def test_an_error_may_know_the_reason_of_a_condition(kind):
    assert kind("down").reason is None
    assert kind("down", reason=Reason.TLS_FAILED).reason is Reason.TLS_FAILED
