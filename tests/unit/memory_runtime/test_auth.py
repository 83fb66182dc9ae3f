"""Tokens: which are accepted, for what, and that nothing passes by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from memory_contracts.errors import Rejected
from memory_contracts.settings import MIN_TOKEN_LENGTH, RuntimeSettings
from memory_runtime.api.auth import Scope, Tokens

ONE, TWO, READER = "one-token-of-the-team", "two-token-of-the-team", "reader-of-the-memory"
BOTH, READ, NOTHING = {Scope.READ, Scope.WRITE}, {Scope.READ}, set()


def tokens(token=None, read_token=None):
    return Tokens(
        RuntimeSettings(
            token=None if token is None else SecretStr(token),
            read_token=None if read_token is None else SecretStr(read_token),
        )
    )


def test_a_token_grants_what_it_was_set_for():
    known = tokens(ONE, READER)
    assert (known.scopes(ONE), known.scopes(READER), known.scopes(TWO)) == (BOTH, READ, NOTHING)


@pytest.mark.parametrize("separator", [",", "\n", ", ", " \n ", "\r\n"])
def test_several_tokens_may_be_set(separator):
    known = tokens(f"{ONE}{separator}{TWO}")
    assert known.scopes(ONE) == known.scopes(TWO) == BOTH
    assert known.scopes(f"{ONE}{separator}{TWO}") == NOTHING


def test_a_reader_alone_is_enough_to_start():
    assert tokens(read_token=READER).scopes(READER) == READ


def test_a_token_set_for_both_may_do_both():
    assert tokens(ONE, ONE).scopes(ONE) == BOTH


@pytest.mark.parametrize("near", [ONE[:-1], ONE + "x", ONE.upper(), f" {ONE}", "", "\x00", "\udcff", ONE * 1000])
def test_a_near_miss_grants_nothing(near):
    assert tokens(ONE, READER).scopes(near) == NOTHING


@given(st.text())
def test_no_other_text_grants_anything(text):
    assert text in (ONE, READER) or tokens(ONE, READER).scopes(text) == NOTHING


def test_no_token_no_start():
    with pytest.raises(Rejected, match="set SOMA_API_TOKEN or SOMA_API_TOKEN_FILE") as caught:
        tokens()
    assert caught.value.field == "SOMA_API_TOKEN"


@pytest.mark.parametrize(
    "token", ["short", "x" * (MIN_TOKEN_LENGTH - 1), f"{ONE},short", ",", " ", f"{ONE},", "é" * 20]
)
@pytest.mark.parametrize("variable", ["SOMA_API_TOKEN", "SOMA_API_READ_TOKEN"])
def test_an_unusable_token_is_refused_at_the_start_and_not_shown(token, variable):
    with pytest.raises(Rejected) as caught:
        tokens(token, ONE) if variable == "SOMA_API_TOKEN" else tokens(ONE, token)
    assert caught.value.field == variable
    assert ONE not in caught.value.detail


def test_tokens_are_kept_as_digests_only():
    assert ONE.encode() not in b"".join(digest for digest, _ in tokens(ONE)._grants)
