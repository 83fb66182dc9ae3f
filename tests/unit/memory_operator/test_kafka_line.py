"""What errors of connections mean; that the driver reports them so is shown on a real broker."""

import pytest

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_operator.providers.kafka.connection import KafkaConnection, Sasl
from memory_operator.providers.kafka.line import Line

CONNECTION = KafkaConnection(
    "kafka.example:9093", sasl=Sasl("SCRAM-SHA-512", "operator", "correct-horse"), tls=True, ca_certificates="PEM"
)
REFUSED_LOGIN = "sasl_ssl://10.0.0.1:9093/bootstrap: SASL authentication error: invalid credentials"
ALL_DOWN = ("_ALL_BROKERS_DOWN", "3/3 brokers are down")


def line(*errors: tuple[str, str], at: float = 10.0) -> Line:
    it = Line(CONNECTION)
    for name, text in errors:
        it.heard(name, text, at)
    return it


@pytest.mark.parametrize(
    ("name", "kind", "reason", "words"),
    [
        ("_AUTHENTICATION", Rejected, Reason.AUTHENTICATION_FAILED, "refuses the login of operator (SCRAM-SHA-512)"),
        ("_SSL", Unavailable, Reason.TLS_FAILED, "fails at TLS"),
        ("_RESOLVE", Unavailable, Reason.BACKEND_UNAVAILABLE, "cannot be reached"),
        ("_TRANSPORT", Unavailable, Reason.BACKEND_UNAVAILABLE, "cannot be reached"),
    ],
)
def test_each_trouble_has_its_reason(name, kind, reason, words):
    error = line((name, "what was wrong")).failure()

    assert type(error) is kind
    assert error.reason is reason
    assert words in error.detail
    assert "kafka.example:9093" in error.detail
    assert error.detail.endswith("what was wrong")


def test_silence_says_how_long_it_lasted():
    assert "does not answer within 8 s" in line().failure().detail


def test_a_connection_that_is_closed_without_a_word_asks_for_the_settings():
    closed = ("_TRANSPORT", "ssl://10.0.0.1:9093/bootstrap: Disconnected: SSL connection closed by peer")

    assert "expects TLS and a login as the spec says" in line(ALL_DOWN).failure().detail
    assert line(ALL_DOWN, closed).failure().detail == line(ALL_DOWN).failure().detail


@pytest.mark.parametrize("name", ["_AUTHENTICATION", "_SSL", "_RESOLVE"])
def test_what_will_not_pass_is_not_waited_for(name):
    assert line((name, "…"), ALL_DOWN).hopeless(since=9.0)


@pytest.mark.parametrize(
    ("errors", "since"),
    [
        ([("_TRANSPORT", "Connection refused"), ALL_DOWN], 9.0),
        ([("_AUTHENTICATION", REFUSED_LOGIN)], 9.0),
        ([("_AUTHENTICATION", REFUSED_LOGIN), ALL_DOWN], 11.0),
        ([], 9.0),
    ],
    ids=["the next address may do", "another broker may do", "heard before the request", "nothing heard"],
)
def test_what_may_pass_is_waited_for(errors, since):
    assert line(*errors).hopeless(since) is None


def test_an_answer_ends_every_trouble():
    it = line(("_AUTHENTICATION", REFUSED_LOGIN), ALL_DOWN)

    it.answered()

    assert it.hopeless(since=0.0) is None
    assert "does not answer" in it.failure().detail


def test_two_attempts_give_the_same_sentence():
    """Else the condition would be written again at each pass."""
    first = line(("_AUTHENTICATION", f"{REFUSED_LOGIN} (after 310ms in state AUTH_REQ)"))
    second = line(
        ("_AUTHENTICATION", f"{REFUSED_LOGIN} (after 7ms in state AUTH_REQ, 4 identical error(s) suppressed)")
    )

    assert first.failure().detail == second.failure().detail
    assert first.failure().detail.endswith("SASL authentication error: invalid credentials")


def test_the_password_is_nowhere():
    assert "correct-horse" not in repr(CONNECTION)
    assert "correct-horse" not in line(("_AUTHENTICATION", REFUSED_LOGIN)).failure().detail
