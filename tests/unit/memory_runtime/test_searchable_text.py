"""Which text of a payload is embedded and searched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_runtime.domain.text import MAX_CONTENT, TEXT_FIELDS, searchable_text
from memory_runtime.domain.words import MAX_SEARCHED, MAX_WORDS, STOP_WORDS, distinct_words, query_words

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"text": "a bee", "source": "chat"}, "a bee"),
        ({"body": "x", "title": "Bees", "text": "They hum"}, "Bees\nThey hum"),
        ({"note": "a", "more": {"deep": ["b", 1, {"c": "d"}]}}, "a\nb\nd"),
        ({"text": 5, "note": "a"}, "a"),
        ({"text": ["a"], "note": "b"}, "a\nb"),
        ({"number": 5, "flag": True, "none": None}, ""),
        ({}, ""),
        ({"text": ""}, ""),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_the_text_fields_are_taken_and_otherwise_every_string(payload, text):
    assert searchable_text(payload) == text


@given(st.dictionaries(st.text() | st.sampled_from(TEXT_FIELDS), JSON))
def test_every_payload_has_a_text_of_its_own_strings(payload):
    text = searchable_text(payload)
    assert len(text) <= MAX_CONTENT
    encoded = json.dumps(payload, ensure_ascii=False)
    assert all(json.dumps(line, ensure_ascii=False)[1:-1] in encoded for line in text.split("\n"))


def test_the_keys_of_a_payload_are_no_text():
    assert "colour" not in searchable_text({"colour": "red", "in": {"colour": "blue"}})


def test_a_long_text_is_cut_at_64_ki_characters():
    assert len(searchable_text({"title": "x" * 50_000, "text": "y" * 50_000})) == MAX_CONTENT


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Who is the owner of the RED bicycle?", "owner red bicycle"),
        ("where were you", "where were you"),
        ("C++ & naïve café", "c naïve café"),
        ("!?", ""),
        ("", ""),
        ("日本語", "日本語"),
    ],
)
def test_the_telling_words_of_a_question(question, words):
    assert query_words(question) == words


@given(st.text())
def test_telling_words_are_few_and_tell_unless_none_does(text):
    words = query_words(text).split(" ")
    assert len(words) <= MAX_WORDS
    assert not set(words) & STOP_WORDS or set(words) <= STOP_WORDS


@given(st.text())
def test_a_query_names_each_word_once_and_is_bounded(text):
    query = distinct_words(text)
    assert len(query) <= MAX_SEARCHED
    words = query.split()
    assert len(words) == len(set(words))
    assert set(words[:-1]) <= set(text.split())


def test_a_word_that_is_repeated_ten_thousand_times_is_searched_once():
    """Regression: 64 KiB of one word kept Postgres busy until the timeout."""
    assert distinct_words("word " * 13_000) == "word"
