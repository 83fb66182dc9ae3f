"""Consistency tokens: opaque, exact, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_contracts.errors import Rejected
from memory_runtime.domain.consistency import decode_token, encode_token


@given(st.integers(0, 2**63 - 1))
def test_a_token_is_read_back_as_what_it_names(transaction):
    token = encode_token(transaction)
    assert decode_token(token) == transaction
    assert len(token) <= 64
    assert token.isascii()


NOT_TOKENS = ["", "t1-", "t1", "1f", "t2-1f", "T1-1f", "t1-1F", "t1-xyz", "t1- 1", "t1-1 ", "t1-1\n", "t1--1", "t1-+1"]
NOT_TOKENS += ["t1-" + "f" * 16, "t1-" + "1" * 17, "t1-" + "f" * 100_000, "s1-1", "u1-1", "t1-١", "\x00", "\ud800"]


@pytest.mark.parametrize("text", NOT_TOKENS, ids=lambda text: repr(text[:20]))
def test_anything_else_is_refused_by_the_name_of_the_field(text):
    with pytest.raises(Rejected) as caught:
        decode_token(text)
    assert caught.value.field == "token"
    assert len(caught.value.detail) < 200


@given(st.text() | st.from_regex(r"t1-[0-9a-f]{1,17}", fullmatch=True))
def test_a_text_is_a_token_or_refused(text):
    try:
        token = decode_token(text)
    except Rejected:
        return
    assert int(text.partition("-")[2], 16) == token
