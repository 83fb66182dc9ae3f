"""How the legs of a recall become one score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from memory_runtime.domain import scoring

UNIT = st.floats(0, 1)
COUNT = st.shared(st.integers(1, 30), key="count")
COSINES = COUNT.flatmap(lambda n: hnp.arrays(np.float64, n, elements=st.floats(-1.000001, 1.000001)))
SHARES = COUNT.flatmap(lambda n: hnp.arrays(np.float64, n, elements=UNIT))


@given(COSINES, SHARES, SHARES, UNIT)
def test_every_hybrid_score_lies_in_0_to_1(cosine, keyword, importance, weight):
    scores = scoring.hybrid(cosine, keyword, importance, weight)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1 + 1e-12)).all()


@given(COSINES, SHARES)
def test_every_classic_score_lies_in_0_to_1_and_is_the_formula(cosine, importance):
    scores = scoring.classic(cosine, importance)
    assert ((scores >= 0) & (scores <= 1)).all()
    inside = np.abs(cosine) <= 1
    np.testing.assert_array_equal(scores[inside], (np.maximum(0, cosine) * importance)[inside])


def test_classic_is_the_formula_to_the_letter():
    cosine, importance = np.array([0.5, -0.5, 1.0, 0.0, 1.0000001]), np.array([0.5, 1.0, 0.25, 1.0, 1.0])
    np.testing.assert_array_equal(scoring.classic(cosine, importance), [0.25, 0.0, 0.25, 0.0, 1.0])


@given(COSINES, SHARES, UNIT)
def test_a_better_leg_never_gives_a_worse_place(cosine, keyword, weight):
    scores = scoring.hybrid(cosine, keyword, np.ones_like(cosine), weight)
    for one in range(len(scores)):
        for other in range(len(scores)):
            if cosine[one] >= cosine[other] and keyword[one] >= keyword[other]:
                assert scores[one] >= scores[other] - 1e-12


@given(COSINES, SHARES, SHARES, UNIT)
def test_importance_is_a_bounded_factor(cosine, keyword, importance, weight):
    plain = scoring.hybrid(cosine, keyword, np.ones_like(cosine), weight)
    scores = scoring.hybrid(cosine, keyword, importance, weight)
    assert (scores <= plain + 1e-12).all()
    assert (scores >= plain * 0.85 / 1.15 - 1e-12).all()


def test_the_weighted_sum_of_the_min_max_scores():
    cosine, keyword = np.array([0.2, 0.6, 1.0]), np.array([0.5, 0.0, 0.25])
    scores = scoring.hybrid(cosine, keyword, np.ones(3), 0.4)
    np.testing.assert_allclose(scores, [0.4 * 0 + 0.6 * 1, 0.4 * 0.5 + 0.6 * 0, 0.4 * 1 + 0.6 * 0.5])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_leg_that_found_nothing_gives_its_weight_to_the_other(weight):
    found, nothing, ones = np.array([0.1, 0.9]), np.zeros(2), np.ones(2)
    np.testing.assert_allclose(scoring.hybrid(found, nothing, ones, weight), [0, 1])
    np.testing.assert_allclose(scoring.hybrid(nothing, found, ones, weight), [0, 1])
    np.testing.assert_allclose(scoring.hybrid(nothing, nothing, ones, weight), [0, 0])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([], []), ([0.4], [1.0]), ([0.0], [0.0]), ([-0.5], [0.0]), ([0.3, 0.3], [1, 1]), ([1, 2, 3], [0, 0.5, 1])],
)
def test_min_max(scores, expected):
    np.testing.assert_allclose(scoring.min_max(np.array(scores, dtype=np.float64)), expected)


def test_nothing_found_is_no_error():
    empty = np.zeros(0)
    assert scoring.hybrid(empty, empty, empty, 0.5).size == 0
    assert scoring.classic(empty, empty).size == 0
