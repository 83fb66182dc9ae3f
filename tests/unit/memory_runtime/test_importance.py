"""Importance: any scale becomes [0, 1] by the shape of what is stored, for ever adapting."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from memory_runtime.adapters.slab import Slab
from memory_runtime.domain.importance import SAMPLE_SIZE, Method, Normaliser, fit, fit_sample
from memory_runtime.domain.records import IndexEntry

IMPORTANCES = hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1e12))
RNG = np.random.default_rng(5)
SHAPES = {
    Method.MIN_MAX: RNG.uniform(0, 5, 400),
    Method.LOGISTIC: RNG.lognormal(0, 2, 400),
    Method.WINSORISED: np.concatenate([RNG.uniform(40, 60, 400), [0, 1, 2], [98, 99, 100]]),
    Method.CONSTANT: np.full(400, 3.0),
}


@pytest.mark.parametrize("method", Method)
def test_the_gentlest_map_that_fits_the_shape_is_chosen(method):
    assert fit(SHAPES[method]).method is method


def test_no_tail_gives_exactly_min_max():
    sample = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(fit(sample)(sample), [0, 0.25, 0.5, 0.75, 1])


def test_a_tail_on_both_sides_is_cut_at_the_5_and_95_percent_points():
    sample = SHAPES[Method.WINSORISED]
    normaliser = fit(sample)
    low, high = np.quantile(sample, [0.05, 0.95])
    assert (normaliser.low, normaliser.high) == (low, high)
    np.testing.assert_allclose(normaliser(np.array([0, low, (low + high) / 2, high, 100])), [0, 0, 0.5, 1, 1])


def test_a_long_tail_on_one_side_is_bent_by_a_logistic_curve():
    sample = SHAPES[Method.LOGISTIC]
    normaliser = fit(sample)
    low, middle, high = normaliser(np.array([normaliser.low, (normaliser.low + normaliser.high) / 2, normaliser.high]))
    assert (low, middle, high) == pytest.approx((0.1, 0.5, 0.9), abs=0.01)
    assert normaliser(sample).max() <= 1.0


@pytest.mark.parametrize("value", [0.0, 1.0, 1e12])
def test_equal_importances_are_all_1(value):
    """Regression: equal importances gave a score of 0."""
    assert fit(np.full(10, value))(np.array([value, value])).tolist() == [1.0, 1.0]
    assert fit(np.array([value]))(np.array([value])).tolist() == [1.0]
    assert fit(np.zeros(0))(np.array([value])).tolist() == [1.0]


@given(IMPORTANCES, hnp.arrays(np.float64, 20, elements=st.floats(0, 1e12)))
@example(np.array([0.0, 5e-324]), np.array([1e12]))
@example(np.array([*np.linspace(0, 1e-310, 100), 1e12]), np.array([0.0, 1e12]))
def test_every_importance_lands_in_0_to_1_and_order_is_kept(sample, others):
    normaliser = fit(sample)
    mapped = normaliser(np.sort(np.concatenate([sample, others])))
    assert np.isfinite(mapped).all()
    assert ((mapped >= 0) & (mapped <= 1)).all()
    assert (np.diff(mapped) >= 0).all()


@given(IMPORTANCES)
def test_the_order_of_arrival_changes_nothing(sample):
    assert fit(sample) == fit(sample[::-1]) == fit(np.sort(sample))


@given(st.sampled_from(list(Method)), st.floats(1e-3, 1e6))
def test_another_unit_changes_nothing(method, unit):
    sample = SHAPES[method]
    np.testing.assert_allclose(fit(sample * unit)(sample * unit), fit(sample)(sample), atol=1e-9)


def entries(importances, start=0, seed=1):
    rng = np.random.default_rng(seed)
    vector = np.ones(4, dtype=np.float32) / 2
    return [
        IndexEntry(start + at, UUID(bytes=rng.bytes(16)), 1, "episodic", float(value), vector)
        for at, value in enumerate(importances)
    ]


class TestTheSample:
    def test_up_to_its_size_everything_is_looked_at(self):
        ranks, values = np.arange(SAMPLE_SIZE, dtype=np.uint64), RNG.uniform(0, 1, SAMPLE_SIZE)
        assert fit_sample(ranks, values)[0] == fit(values)

    def test_beyond_it_the_lowest_ranks_are_taken(self):
        ranks, values = RNG.permutation(5_000).astype(np.uint64), RNG.uniform(0, 9, 5_000)
        normaliser, highest = fit_sample(ranks, values)
        assert normaliser == fit(values[np.argsort(ranks)[:SAMPLE_SIZE]])
        assert highest == SAMPLE_SIZE - 1

    def test_it_keeps_adapting_after_512(self):
        """Regression: quantiles froze after sample 512."""
        slab = Slab(4)
        slab.apply(entries(RNG.uniform(0, 1, 2_000)))
        before = slab.normaliser
        slab.apply(entries(RNG.uniform(50, 100, 8_000), start=10_000, seed=2))
        after = slab.normaliser
        assert before.high < 2
        assert after.high > 90
        assert after(np.array([1.0]))[0] < 0.1

    def test_processes_that_saw_the_rows_in_another_order_agree(self):
        rows = entries(RNG.lognormal(0, 1, 3_000))
        forwards, backwards, later = Slab(4), Slab(4), Slab(4)
        forwards.apply(rows)
        backwards.apply(rows[::-1])
        for start in range(0, 3_000, 100):
            later.apply(rows[start : start + 100])
            assert isinstance(later.normaliser, Normaliser)  # asked in between, so it is fitted again and again
        assert forwards.normaliser == backwards.normaliser == later.normaliser

    def test_a_restart_changes_nothing(self):
        rows = entries(RNG.lognormal(0, 1, 2_000))
        slab = Slab(4)
        slab.apply(rows)
        before = slab.normaliser
        slab.clear()
        slab.apply(rows)
        assert slab.normaliser == before

    def test_deleted_memories_leave_the_sample(self):
        slab = Slab(4)
        rows = entries([*RNG.uniform(0, 1, 600), *RNG.uniform(900, 1000, 600)])
        slab.apply(rows)
        slab.apply([IndexEntry(row.seq, row.id, 2, "", 0.0, None) for row in rows[600:]])
        assert (
            slab.normaliser
            == fit_sample(
                np.array([row.id.int >> 64 for row in rows[:600]], dtype=np.uint64),
                np.array([row.importance for row in rows[:600]]),
            )[0]
        )
        assert slab.normaliser.high <= 1
