import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_contracts.errors import Rejected
from memory_runtime.cli.jsonl import Record, read_records


def test_a_string_is_a_text():
    assert read_records('"hello"\n\n  \n"there"') == [Record({"text": "hello"}, 1), Record({"text": "there"}, 4)]


def test_an_object_gives_coordinate_type_and_importance_and_the_rest_is_the_payload():
    line = '{"text": "x", "who": "Ada", "coord": "1,2", "type": "episodic", "importance": 2}'
    assert read_records(line) == [Record({"text": "x", "who": "Ada"}, 1, (1.0, 2.0), "episodic", 2)]


def test_an_object_with_a_payload_is_taken_as_it_is():
    assert read_records('{"coord": [1], "payload": {"a": 1}}') == [Record({"a": 1}, 1, (1.0,), is_whole=True)]


def test_line_separators_inside_a_string_do_not_end_the_line():
    assert read_records('"a\u2028b\x0cc"'.replace("\x0c", "\\f"))[0].payload == {"text": "a\u2028b\x0cc"}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_every_text_survives(texts):
    text = "\n".join(json.dumps(each, ensure_ascii=False) for each in texts)
    assert [record.payload["text"] for record in read_records(text)] == texts


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("12", "a string or an object"),
        ("[]", "a string or an object"),
        ('""', "nothing to remember"),
        ("{}", "nothing to remember"),
        ('{"coord": "1"}', "nothing to remember"),
        ('{"text": "x", "coord": "1,x"}', "not a finite number"),
        ('{"text": "x", "type": "dream"}', "episodic or semantic"),
        ('{"text": "x", "importance": -1}', "0 or more"),
        ('{"text": "x", "importance": true}', "0 or more"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1e999}', "NaN or infinite"),
        (r'"\ud800"', "lone surrogate"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_is_no_memory_is_named(line, reason):
    with pytest.raises(Rejected, match=f"^line 2: .*{reason}"):
        read_records(f'"fine"\n{line}')
