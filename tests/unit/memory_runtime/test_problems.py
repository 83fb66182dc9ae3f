"""Errors as problem+json, and driver errors as the platform's three classes."""

import json

import asyncpg
import pytest
from asyncpg import exceptions as postgres

from memory_contracts.errors import (
    Conflict,
    IdempotencyMismatch,
    NotFound,
    PlatformError,
    PreconditionFailed,
    Rejected,
    Unavailable,
)
from memory_runtime.adapters.postgres.failures import translate
from memory_runtime.api.problems import HttpProblem, describe, invalid, problem_of


def body(response):
    assert response.headers["content-type"] == "application/problem+json"
    return json.loads(response.body)


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (NotFound("x"), 404, "Not Found"),
        (PreconditionFailed("x"), 412, "Precondition Failed"),
        (IdempotencyMismatch("x"), 422, "Unprocessable Entity"),
        (Unavailable("x"), 503, "Service Unavailable"),
        (Conflict("x"), 409, "Conflict"),
        (Rejected("x"), 422, "Unprocessable Entity"),
        (HttpProblem(413, "x"), 413, None),
        (PlatformError("x"), 500, "Internal Server Error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_its_status(error, status, title):
    response = problem_of(error)
    said = body(response)
    assert (response.status_code, said["status"], said["detail"]) == (status, status, "x")
    assert said["type"] == "about:blank"
    assert title in (None, said["title"])
    assert "field" not in said


def test_the_field_is_named():
    assert body(problem_of(Rejected("empty", field="coord")))["field"] == "coord"


@pytest.mark.parametrize(("seconds", "header"), [(1.0, "1"), (0.2, "1"), (2.5, "3")])
def test_unavailable_says_when_to_come_back_in_whole_seconds(seconds, header):
    assert problem_of(Unavailable("down", retry_after=seconds)).headers["retry-after"] == header


def test_headers_of_a_problem_are_sent():
    response = problem_of(HttpProblem(401, "who?", headers={"WWW-Authenticate": "Bearer"}))
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_detail_that_no_encoding_can_carry_is_still_answered():
    assert body(problem_of(Rejected("bad \ud800", field="\udfff")))["status"] == 422


def test_every_faulty_field_is_listed_and_the_first_named():
    said = body(invalid([{"field": "coord", "detail": "empty"}, {"field": "", "detail": "odd"}]))
    assert (said["field"], said["detail"], len(said["errors"])) == ("coord", "coord: empty", 2)
    assert "field" not in body(invalid([{"field": "", "detail": "odd"}]))


@pytest.mark.parametrize("name", ["query", "body", "path", "header", "coord"])
def test_a_field_is_named_even_if_it_is_called_like_a_part_of_a_request(name):
    """Regression: a faulty `query` of a recall was reported without its name."""
    (fault,) = describe([{"loc": ("body", name, 3), "msg": "Value error, odd"}], skip=1)
    assert fault == {"field": f"{name}.3", "detail": "odd"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), Unavailable),
        (ConnectionRefusedError(111, "refused"), Unavailable),
        (OSError("gone"), Unavailable),
        (asyncpg.InterfaceError("connection is closed"), Unavailable),
        (postgres.ConnectionDoesNotExistError("lost"), Unavailable),
        (postgres.CannotConnectNowError("starting up"), Unavailable),
        (postgres.AdminShutdownError("stopping"), Unavailable),
        (postgres.CrashShutdownError("crash"), Unavailable),
        (postgres.TooManyConnectionsError("too many"), Unavailable),
        (postgres.DiskFullError("no space left"), Unavailable),
        (postgres.OutOfMemoryError("oom"), Unavailable),
        (postgres.QueryCanceledError("timeout"), Unavailable),
        (postgres.LockNotAvailableError("locked"), Unavailable),
        (postgres.ReadOnlySQLTransactionError("read only"), Unavailable),
        (postgres.InvalidPasswordError("password"), Unavailable),
        (postgres.InvalidAuthorizationSpecificationError("no role"), Unavailable),
        (postgres.InvalidCatalogNameError("no database"), Unavailable),
        (postgres.UndefinedTableError("no table"), Unavailable),
        (postgres.InsufficientPrivilegeError("denied"), Unavailable),
        (postgres.PostgresIOError("i/o"), Unavailable),
        (postgres.DataCorruptedError("corrupt"), Unavailable),
        (postgres.SerializationError("again"), Conflict),
        (postgres.DeadlockDetectedError("deadlock"), Conflict),
        (postgres.UniqueViolationError("duplicate"), Conflict),
        (postgres.UntranslatableCharacterError("\\u0000"), Rejected),
        (postgres.CharacterNotInRepertoireError("0x00"), Rejected),
        (postgres.NumericValueOutOfRangeError("too large"), Rejected),
        (postgres.CheckViolationError("check"), Rejected),
        (postgres.ProgramLimitExceededError("row too big"), Rejected),
        (asyncpg.DataError("invalid input for query argument"), Rejected),
        (OverflowError("int too large"), Rejected),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), Rejected),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_driver_error_is_one_of_three_classes(error, kind):
    translated = translate(error)
    assert isinstance(translated, kind)
    assert sum(isinstance(translated, each) for each in (Unavailable, Rejected, Conflict)) == 1
    assert translated.detail


def test_a_long_error_of_the_driver_is_told_in_one_line():
    assert len(translate(postgres.DiskFullError("no space\n" + "x" * 5000)).detail) < 300
