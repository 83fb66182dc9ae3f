from hypothesis import given
from hypothesis import strategies as st

from memory_runtime.cli.text import one_line, snippet


@given(st.text())
def test_a_line_is_one_line_without_steering_characters(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert "\x1b" not in line
    line.encode()


@given(st.text(max_size=400), st.integers(2, 50))
def test_a_snippet_keeps_to_its_length_and_shows_that_it_was_cut(text, length):
    short = snippet(text, length)
    assert len(short) <= length
    assert short == one_line(text) or short.endswith("…")
