"""The scalars of Kubernetes: read as Kubernetes reads them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity as reference

from memory_contracts.api.scalars import (
    CIDR,
    DURATION,
    HOST,
    QUANTITY,
    duration_seconds,
    lies_inside,
    parse_cidr,
    parse_quantity,
)

SUFFIXES = ["", *"numkMGTPE", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
# Go keeps a duration as nanoseconds in 64 bits.
LONGEST_IN_GO = (2**63 - 1) // 10**9


@given(st.decimals(0, 10**6, places=3), st.sampled_from(SUFFIXES))
def test_quantities_are_what_kubernetes_takes_them_for(number, suffix):
    assert re.search(QUANTITY, f"{number}{suffix}")
    assert parse_quantity(f"{number}{suffix}") == reference(f"{number}{suffix}")


@pytest.mark.parametrize(
    ("one", "other"), [("1000m", 1), ("1Gi", 1024**3), ("1e3", "1k"), ("5E-1", "500m"), (".5", "0.5"), ("2.", 2)]
)
def test_quantities_in_other_words_are_equal(one, other):
    assert parse_quantity(one) == parse_quantity(other)


@pytest.mark.parametrize("text", ["", "lots", "-1", "+1", "1 Gi", "1gi", "1KI", "1e", "0x10", "1_000", ".", "1Mi\n"])
def test_what_is_no_quantity_is_refused(text):
    assert not re.fullmatch(QUANTITY, text)
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)


@given(st.from_regex(DURATION, fullmatch=True))
def test_every_duration_of_the_form_fits_into_gos(text):
    assert 0 <= duration_seconds(text) <= LONGEST_IN_GO


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90s", 90), ("2m", 120), ("1h1m1s", 3661), ("168h", 604800)])
def test_durations_are_read(text, seconds):
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "64:ff9b::1.2.3.4/96"]
)
def test_ranges_are_read(text):
    assert re.search(CIDR, text)
    assert parse_cidr(text) is not None


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0/8", "010.0.0.0/8", "::ffff:10.0.0.0/104", "::/129", "a::b::/8"]
)
def test_what_is_no_range_is_not_read(text):
    assert parse_cidr(text) is None


@pytest.mark.parametrize(
    ("part", "whole", "inside"),
    [
        ("10.1.0.0/16", "10.0.0.0/8", True),
        ("10.1.0.0/16", "10.9.9.9/8", True),
        ("10.0.0.0/8", "10.0.0.0/8", False),
        ("10.0.0.0/7", "10.0.0.0/8", False),
        ("11.0.0.0/16", "10.0.0.0/8", False),
        ("2001:db8:1::/48", "2001:db8::/32", True),
        ("10.0.0.0/8", "::/0", False),
        ("nothing", "10.0.0.0/8", False),
    ],
)
def test_a_part_lies_inside_the_whole_and_is_smaller(part, whole, inside):
    assert lies_inside(part, whole) is inside


@pytest.mark.parametrize("host", ["db", "db.example.", "10.0.0.1", "::1", "2001:db8::10.0.0.1", "my_db"])
def test_hosts(host):
    assert re.search(HOST, host)


@pytest.mark.parametrize("host", ["db:5432", "10.0.0.1:5432", "a/b", "u@h", "a b", "[::1]", "a,b", "h?x", "h#x", ""])
def test_what_is_no_host(host):
    assert not re.search(HOST, host)
