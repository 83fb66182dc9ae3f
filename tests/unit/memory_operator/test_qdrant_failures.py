"""What the failures of a Qdrant server mean, and which addresses and keys are refused before it is asked."""

from __future__ import annotations

import json
import ssl

import pytest

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, NotFound, Rejected, Unavailable
from memory_operator.providers.qdrant.connection import QdrantConnection
from memory_operator.providers.qdrant.failures import no_answer, refusal, too_slow

WHERE = "Qdrant at qdrant.example:6333"


def answer(error: str) -> bytes:
    return json.dumps({"status": {"error": error}, "time": 0}).encode()


@pytest.mark.parametrize(
    ("status", "content", "kind", "reason"),
    [
        (401, b"Must provide an API key or an Authorization bearer token", Rejected, Reason.AUTHENTICATION_FAILED),
        (403, answer("Forbidden: Global manage access is required"), Rejected, Reason.AUTHENTICATION_FAILED),
        (403, b"ExpiredSignature", Rejected, Reason.AUTHENTICATION_FAILED),
        (403, answer("Storage locked: maintenance"), Unavailable, Reason.BACKEND_READ_ONLY),
        (500, answer("Read-only file system (os error 30)"), Unavailable, Reason.BACKEND_READ_ONLY),
        (500, answer("No space left on device (os error 28)"), Unavailable, Reason.BACKEND_FULL),
        (500, answer("Service internal error: Out of disk: WAL needs 32 MB"), Unavailable, Reason.BACKEND_FULL),
        (507, answer("Insufficient storage"), Unavailable, Reason.BACKEND_FULL),
        (500, answer("Service internal error: task panicked"), Unavailable, None),
        (503, b"<html>no healthy upstream</html>", Unavailable, None),
        (408, answer("Timeout: Operation 'x' timed out"), Unavailable, None),
        (429, answer("Rate limiting exceeded: slow down"), Unavailable, None),
        (404, answer("Not found: Collection `x` doesn't exist!"), NotFound, None),
        (409, answer("Wrong input: Collection `x` already exists!"), Conflict, None),
        (400, answer("Wrong input: there is no space left in this name"), Rejected, None),
        (301, b"", Rejected, None),
    ],
)
def test_an_answer_becomes_one_of_three_errors(status, content, kind, reason):
    error = refusal(WHERE, status, content)

    assert type(error) is kind
    assert error.reason is reason
    assert error.detail.startswith(WHERE)


def test_the_sentence_holds_what_the_server_said_on_one_line_of_bearable_length():
    error = refusal(WHERE, 500, b"first\n  second " + b"x" * 5000)

    assert "first second xxx" in error.detail
    assert len(error.detail) < 400


def test_the_time_to_wait_is_the_server_s():
    error = refusal(WHERE, 429, answer("Rate limiting exceeded"), retry_after=7)

    assert isinstance(error, Unavailable)
    assert error.retry_after == 7


def wrapped(cause: BaseException) -> Exception:
    error = ConnectionError("the driver's words")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "kind", "reason", "words"),
    [
        (ssl.SSLCertVerificationError(1, "bad"), Rejected, Reason.TLS_FAILED, "cannot be trusted"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), Rejected, Reason.TLS_FAILED, "no encrypted connection"),
        (ssl.SSLEOFError(8, "EOF occurred"), Unavailable, None, "cannot be reached"),
        (ValueError("3 validation errors"), Rejected, None, "does not answer as Qdrant does"),
        (OSError(111, "Connection refused"), Unavailable, None, "cannot be reached: the driver's words"),
    ],
    ids=["certificate", "protocol", "hung up", "another server", "nobody there"],
)
def test_no_answer_becomes_an_error_by_its_cause(cause, kind, reason, words):
    if isinstance(cause, ssl.SSLCertVerificationError):
        cause.verify_message = "unable to get local issuer certificate"

    error = no_answer(WHERE, wrapped(cause))

    assert type(error) is kind
    assert error.reason is reason
    assert WHERE in error.detail
    assert words in error.detail


def test_a_slow_server_is_unavailable():
    assert too_slow(WHERE, 5.0).detail == f"{WHERE} does not answer within 5 s"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://qdrant:6333", "qdrant:6333"),
        ("https://qdrant.example/", "qdrant.example:6333"),
        ("https://qdrant.example:443", "qdrant.example:443"),
    ],
)
def test_an_address_without_a_port_means_that_of_qdrant(url, address):
    assert QdrantConnection(url).address == address


@pytest.mark.parametrize(
    "url",
    ["qdrant:6333", "ftp://qdrant", "https://", "http://q:port", "http://q:99999", "http://me:secret@q", "http://[::1"],
)
def test_what_is_no_address_is_refused_without_repeating_it(url):
    with pytest.raises(Rejected, match="not of the form") as refused:
        QdrantConnection(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "secret\n", " secret", "sec ret", "sécret"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key):
    with pytest.raises(Rejected, match="API key for Qdrant at q:6333") as refused:
        QdrantConnection("http://q", key)

    assert refused.value.reason is Reason.AUTHENTICATION_FAILED
    assert "secret" not in str(refused.value)


def test_a_connection_does_not_show_its_key():
    assert "secret" not in repr(QdrantConnection("http://q", "secret"))
