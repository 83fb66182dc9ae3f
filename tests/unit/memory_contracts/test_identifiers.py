"""Coordinates and ids: one place, one name, the same for ever."""

import json
import math
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memory_contracts.errors import Rejected
from memory_contracts.identifiers import (
    MAX_DIMENSIONS,
    MAX_TEXT_LENGTH,
    canonical_coordinate,
    derive_coordinate,
    memory_id,
    parse_coordinate,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COORDINATES = st.lists(NUMBERS, min_size=1, max_size=MAX_DIMENSIONS).map(tuple)


@given(COORDINATES)
@example((-0.0,))
@example((1.7976931348623157e308, 5e-324, -5e-324))
def test_the_canonical_text_is_read_back_as_the_same_coordinate(coordinate):
    parsed = parse_coordinate(list(coordinate))
    assert parsed == coordinate
    text = canonical_coordinate(parsed)
    if len(text) <= MAX_TEXT_LENGTH:
        assert parse_coordinate(text) == parsed
    assert canonical_coordinate(parse_coordinate(text.split(","))) == text


@given(COORDINATES)
def test_json_keeps_a_coordinate(coordinate):
    parsed = parse_coordinate(coordinate)
    assert parse_coordinate(json.loads(json.dumps(parsed))) == parsed


@given(COORDINATES, COORDINATES)
def test_two_coordinates_have_one_id_only_if_they_are_the_same_place(one, other):
    one, other = parse_coordinate(one), parse_coordinate(other)
    assert (memory_id("a/b", one) == memory_id("a/b", other)) == (one == other)


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=8))
def test_integers_and_floats_name_the_same_place(numbers):
    as_floats = [float(number) for number in numbers]
    forms = [numbers, as_floats, ",".join(map(str, numbers)), ", ".join(map(str, as_floats))]
    assert len({canonical_coordinate(parse_coordinate(form)) for form in forms}) == 1


@pytest.mark.parametrize(
    "forms",
    [
        ("1", "1.0", [1], [1.0], ["1"], (1,), " 1 ", "+1", "1e0", "01"),
        ("0", "-0", "-0.0", [0], [-0.0], ["-0"]),
        ("1,2.5", "1.0, 2.50", [1, 2.5], ["1", 2.5]),
        ("1e3", "1000", [1000], ["1E3"]),
    ],
    ids=lambda forms: forms[0],
)
def test_one_place_may_be_written_in_many_ways(forms):
    assert len({parse_coordinate(form) for form in forms}) == 1
    assert len({canonical_coordinate(parse_coordinate(form)) for form in forms}) == 1


def test_negative_zero_is_zero():
    (number,) = parse_coordinate([-0.0])
    assert math.copysign(1.0, number) == 1.0


REFUSED = {
    "nothing": [],
    "no text": "",
    "blanks": "   ",
    "an empty part": "1,,2",
    "a trailing comma": "1,",
    "65 numbers": [1] * 65,
    "65 numbers as text": ",".join("1" * 65),
    "a text that is too long": "1," * 2000 + "1",
    "nan": "nan",
    "NaN": [math.nan],
    "infinity": [math.inf],
    "-inf": "1,-inf",
    "an overflow": "1e400",
    "an integer beyond floats": [10**400],
    "an integer of 10,000 digits": [10**10_000],
    "a boolean": [True],
    "null": None,
    "null inside": [None],
    "a number": 1.0,
    "a mapping": {"x": 1},
    "a set": {1},
    "bytes": b"1",
    "a list inside": [[1]],
    "words": "here",
    "an underscore": "1_0",
    "Arabic digits": "١",
    "full-width digits": "１",
    "hexadecimal": "0x10",
    "a NUL": "1\x00",
    "a lone surrogate": "\ud800",
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_is_no_coordinate_is_refused_with_the_name_of_the_field(value):
    with pytest.raises(Rejected) as caught:
        parse_coordinate(value, field="from")
    assert caught.value.field == "from"
    assert len(caught.value.detail) < 200


@given(st.text() | st.lists(st.integers() | st.text() | st.none() | st.booleans() | st.floats()) | st.integers())
def test_anything_is_either_a_coordinate_or_refused(value):
    try:
        parsed = parse_coordinate(value)
    except Rejected as error:
        assert error.field == "coord"
    else:
        assert 1 <= len(parsed) <= MAX_DIMENSIONS
        assert all(math.isfinite(number) for number in parsed)


@pytest.mark.parametrize(
    ("namespace", "coordinate", "expected"),
    [
        ("default/default", "1", "141bbc70-e797-56e6-9b19-c527e4391f4d"),
        ("default/default", "1,2.5", "4112751d-7fa4-5684-bfb8-436892e43751"),
        ("team-a/research", "-0.1,1e300", "af3ace24-04c2-5549-ad32-ad79272214cd"),
    ],
)
def test_ids_never_move(namespace, coordinate, expected):
    assert memory_id(namespace, parse_coordinate(coordinate)) == UUID(expected)


def test_the_same_coordinate_in_two_namespaces_is_two_memories():
    ids = {memory_id(namespace, (1.0, 2.0)) for namespace in ("a/b", "a/c", "ab/", "a", "a/b\n1.0")}
    assert len(ids) == 5


class TestDerivedCoordinates:
    def test_they_never_move(self):
        assert derive_coordinate("text", "Alice keeps bees") == (
            226873042263796.0,
            142306181395410.0,
            258963766410971.0,
            11485769472955.0,
        )

    @given(st.text())
    def test_they_survive_every_codec(self, text):
        coordinate = derive_coordinate("text", text)
        assert len(coordinate) == 4
        assert all(number == int(number) and 0 <= number < 2**48 for number in coordinate)
        assert parse_coordinate(canonical_coordinate(coordinate)) == coordinate
        assert parse_coordinate(json.loads(json.dumps([int(number) for number in coordinate]))) == coordinate

    @given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
    def test_other_parts_give_another_coordinate(self, one, other):
        same = "\x1f".join(one) == "\x1f".join(other)
        assert (derive_coordinate(*one) == derive_coordinate(*other)) == same

    def test_a_lone_surrogate_is_no_obstacle(self):
        assert derive_coordinate("\ud800") != derive_coordinate("\ud801")
