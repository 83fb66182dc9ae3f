"""Reading bodies: what could be lost somewhere is refused here, everything else survives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_runtime.api.problems import HttpProblem
from memory_runtime.api.strict_json import MAX_DEPTH, MAX_TEXT_BYTES, check_query, parse

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXTS, inside, max_size=4),
    max_leaves=30,
)


def refused(body):
    with pytest.raises(HttpProblem) as caught:
        parse(body if isinstance(body, bytes) else body.encode())
    assert caught.value.status in (400, 422)
    return caught.value


@given(JSON)
def test_every_json_value_survives(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert parse(text.encode()) == value


@given(st.binary())
def test_any_bytes_are_json_or_refused(body):
    try:
        parse(body)
    except HttpProblem as problem:
        assert problem.status in (400, 422)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2**64, 10**100, 10**4_000])
def test_huge_integers_survive_to_the_last_digit(number):
    assert parse(str(number).encode()) == number


@pytest.mark.parametrize("number", ["1.7976931348623157e308", "5e-324", "-0.0", "0.1", "1E5", "123456789.123456789"])
def test_floats_survive_to_the_last_bit(number):
    assert repr(parse(number.encode())) == repr(float(number))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "Inf"])
def test_what_is_no_number_in_json_is_no_number_here(word):
    for body in (word, f"[{word}]", f'{{"a": {word}}}'):
        assert refused(body).status == 400


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e99999"])
def test_a_number_beyond_floats_is_refused_by_its_place(number):
    problem = refused(f'{{"a": [0, {{"b": {number}}}]}}')
    assert (problem.status, problem.field) == (422, "a.1.b")
    assert refused(number).field is None


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "\\ud83d x", "\\ud83d\\ud83d", "\\udc1d\\ud83d"])
def test_a_lone_surrogate_is_refused(escape):
    assert refused(f'{{"a": "{escape}"}}').status == 400
    assert refused(f'{{"{escape}": 1}}').status == 400


@pytest.mark.parametrize(
    "body", [b'"\xff"', b'"\xed\xa0\xbd"', b'"\xc0\x80"', b"\xef\xbb\xbf1", '"é"'.encode("utf-16")]
)
def test_what_is_not_utf_8_is_refused(body):
    assert refused(body).status == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [('{"a": "x\\u0000"}', "a"), ('{"a": {"\\u0000": 1}}', "a"), ('{"\\u0000": 1}', None), ('"\\u0000"', None)],
)
def test_the_character_u_0000_is_refused_by_its_place(body, field):
    problem = refused(body)
    assert (problem.status, problem.field or None) == (422, field)
    assert "U+0000" in problem.detail


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_32_levels_are_read_and_33_refused(opening, closing):
    def nested(levels):
        return opening * levels + "1" + closing * levels

    parse(nested(MAX_DEPTH).encode())
    assert refused(nested(MAX_DEPTH + 1)).status == 422
    assert refused(nested(100_000)).status == 400


@pytest.mark.parametrize("character", ["x", "é", "日", "🐝"])
def test_a_text_of_64_kib_is_read_and_one_more_byte_refused(character):
    fits = character * (MAX_TEXT_BYTES // len(character.encode()))
    assert parse(json.dumps({"a": fits}).encode()) == {"a": fits}
    problem = refused(json.dumps({"a": {"b": [fits + character]}}))
    assert (problem.status, problem.field) == (422, "a.b.0")
    assert refused(json.dumps({"a": {fits + character: 1}})).field == "a"


def test_a_query_parameter_is_refused_as_a_value_and_not_as_a_body():
    with pytest.raises(HttpProblem) as caught:
        parse(b"{", "filters")
    assert (caught.value.status, caught.value.field) == (422, "filters")


@pytest.mark.parametrize("query", [b"", b"a=1&b=%20x+y", b"a=%C3%A9", b"a", b"a=&a=", b"q=%F0%9F%90%9D&&"])
def test_a_usual_query_string_passes(query):
    check_query(query)


@pytest.mark.parametrize("query", [b"a=1&b=%00", b"b=%FF", b"b=%ED%A0%80", b"b=x%C3", b"b=" + b"x" * 70_000])
def test_a_parameter_that_no_body_could_hold_is_refused_by_name(query):
    with pytest.raises(HttpProblem) as caught:
        check_query(query)
    assert (caught.value.status, caught.value.field) == (422, "b")
