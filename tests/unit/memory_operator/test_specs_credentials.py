"""The Secrets: what is kept is found again, what is spoilt is made anew, and others learn only what they need."""

import base64
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenants import CREDENTIALS, TOKEN, decoded, workload

from memory_contracts.errors import Rejected
from memory_operator.specs.secret import StoredCredentials, read_credentials
from memory_operator.specs.tenant import Credentials

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=16, max_size=64)
TOKEN_OF_OTHERS = {"api": {"auth": {"tokenSecretRef": {"name": "tokens"}}}}


def never():
    pytest.fail("nothing was missing, yet something was generated")


def numbered():
    numbers = count(1)
    return lambda: f"generated-secret-{next(numbers)}"


@given(SECRETS, SECRETS, SECRETS, st.sampled_from(["a", "b"]), st.none() | SECRETS)
def test_what_is_kept_is_found_again(token, first, second, slot, redis):
    credentials = Credentials(token, {"a": first, "b": second}, slot, redis)
    stored = read_credentials(workload(credentials).secret["data"])

    assert stored.complete(never, redis=redis is not None) == credentials


@pytest.mark.parametrize("data", [{}, {"unrelated": "AAAA"}], ids=["nothing", "something else"])
def test_an_empty_secret_holds_nothing_and_everything_is_generated(data):
    assert read_credentials(data) == StoredCredentials()
    assert read_credentials(data).complete(numbered(), redis=True) == Credentials(
        "generated-secret-1", {"a": "generated-secret-2"}, "a", "generated-secret-3"
    )


def test_the_slot_in_use_gets_a_password_and_the_other_keeps_what_it_has():
    stored = StoredCredentials("a-token-of-twenty-letters", "b", {"a": "the-password-of-slot-a"})

    assert stored.complete(numbered()).postgres_passwords == {
        "a": "the-password-of-slot-a",
        "b": "generated-secret-1",
    }


def encoded(value):
    return base64.b64encode(value).decode()


@pytest.mark.parametrize(
    "spoilt",
    [
        "", "not base64!", "AAA", encoded(b"\xff" * 20), encoded(b"short"), encoded("é".encode() * 20),
        encoded(b"with a space in it"), encoded(b"with-a-newline-at-end\n"), encoded(b"\x00" * 20),
        encoded(b"two-tokens-in-it,two-tokens-in-it"), None, 7,
    ],
    ids=repr,
)  # fmt: skip
def test_what_somebody_spoilt_is_made_anew_and_the_rest_is_kept(spoilt):
    data = workload().secret["data"] | {"postgres-password-a": spoilt, "api-token": spoilt, "slot": spoilt}
    found = read_credentials(data).complete(numbered())

    assert found.api_token == "generated-secret-1"
    assert found.postgres_passwords == {"a": "generated-secret-2", "b": CREDENTIALS.postgres_passwords["b"]}
    assert found.slot == "a"


@pytest.mark.parametrize("tokens", ["the-token-of-theirs", "first-token-of-theirs\nsecond-token-of-theirs"])
def test_tokens_of_the_user_take_the_place_of_the_operators_and_are_not_taken_for_it_later(tokens):
    stored = read_credentials(workload().secret["data"])
    theirs = stored.complete(never, tokens=tokens)
    secret = workload(theirs, **TOKEN_OF_OTHERS).secret

    assert decoded(secret)["SOMA_API_TOKEN"] == tokens
    assert read_credentials(secret["data"]).api_token is None
    # Withdrawn tokens must not be accepted any longer, neither theirs nor the former one of the operator.
    assert read_credentials(secret["data"]).complete(numbered()).api_token == "generated-secret-1"


def test_a_redis_password_is_kept_only_while_there_is_a_redis():
    with_redis = replace(CREDENTIALS, redis_password="password-in-redis")

    assert decoded(workload(with_redis).secret)["redis-password"] == "password-in-redis"
    assert "redis-password" not in workload().secret["data"]
    assert read_credentials(workload(with_redis).secret["data"]).complete(never).redis_password is None


@pytest.mark.parametrize("slot", ["a", "b"])
def test_the_process_logs_in_with_the_role_and_the_password_of_the_slot_in_use(slot):
    passwords = {"a": "password-of-slot-a", "b": "password-of-slot-b"}
    url = decoded(workload(Credentials(TOKEN, passwords, slot)).secret)["POSTGRES_URL"]

    assert url.startswith(f"postgresql://mem_team_a_research_2aee086f_{slot}:password-of-slot-{slot}@")


def test_the_binding_says_how_to_reach_the_api_and_nothing_of_the_database():
    binding = workload().binding

    assert binding["type"] == "servicebinding.io/memory"
    assert decoded(binding) == {
        "type": "memory",
        "provider": "memory-operator",
        "host": "research-api.team-a.svc",
        "port": "9595",
        "uri": "http://research-api.team-a.svc:9595",
        "token": TOKEN,
    }


@pytest.mark.parametrize("separator", ["\n", ",", ", ", "\r\n"])
def test_of_several_tokens_the_binding_has_the_first(separator):
    several = replace(CREDENTIALS, api_token=f"the-new-token-of-theirs{separator}the-old-token-of-theirs\n")

    assert decoded(workload(several, **TOKEN_OF_OTHERS).binding)["token"] == "the-new-token-of-theirs"


@pytest.mark.parametrize("token", ["", "short", "long-enough-for-a-token\nshort", "ä" * 20])
def test_tokens_that_the_api_would_not_start_with_are_refused_beforehand(token):
    with pytest.raises(Rejected, match="the API token: a token "):
        workload(replace(CREDENTIALS, api_token=token))


def test_credentials_do_not_show_what_they_hold():
    stored = read_credentials(workload().secret["data"])
    shown = repr(CREDENTIALS) + repr(stored) + repr(replace(CREDENTIALS, redis_password="redis-password-1"))

    for secret in (TOKEN, "redis-password-1", *CREDENTIALS.postgres_passwords.values()):
        assert secret not in shown
