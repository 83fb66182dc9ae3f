"""Importance, brought into [0, 1] by the shape of its own distribution.

Callers use any scale: 0..1, stars, counts with a long tail. The normaliser looks at a sample of what is stored and
takes the gentlest map that fits: min–max when there is no tail, min–max between winsorised bounds when there is one on
either side, a logistic curve when the tail is long and one-sided.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SAMPLE_SIZE = 512
# Distance of an extreme from the 5/95 % quantile, in units of the range between those quantiles.
TAIL_RATIO = 0.5
# Share of the tail that must lie on one side before it counts as asymmetric.
ASYMMETRY = 0.8
# Slope of the logistic: the inter-decile range spans about 0.1 .. 0.9.
LOGISTIC_STEEPNESS = 4.4


class Method(StrEnum):
    """How importances are mapped."""

    CONSTANT = "constant"
    MIN_MAX = "min-max"
    WINSORISED = "winsorised"
    LOGISTIC = "logistic"


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A monotone map from importance to [0, 1]; `low` and `high` are its bounds, or the logistic's 10/90 % points."""

    method: Method
    low: float = 0.0
    high: float = 1.0

    def __call__(self, importance: FloatArray) -> FloatArray:
        """Map an array of importances, element by element."""
        if self.method is Method.CONSTANT:
            return np.ones_like(importance, dtype=np.float64)
        width = self.high - self.low
        with np.errstate(over="ignore"):  # far beyond a tiny range is as good as infinitely far
            if self.method is Method.LOGISTIC:
                centred = (importance - (self.low + self.high) / 2) / width
                return np.asarray(1.0 / (1.0 + np.exp(np.clip(-LOGISTIC_STEEPNESS * centred, -60.0, 60.0))))
            return np.clip((importance - self.low) / width, 0.0, 1.0)


def fit(sample: FloatArray) -> Normaliser:
    """Choose the map for `sample` (shape (n,), finite). Equal importances all map to 1, so they change no ranking."""
    if sample.size == 0 or float(sample.min()) == float(sample.max()):
        return Normaliser(Method.CONSTANT)
    smallest, q05, q10, q90, q95, largest = (float(q) for q in np.quantile(sample, [0, 0.05, 0.1, 0.9, 0.95, 1]))
    core = q95 - q05
    if core <= 0.0:
        return Normaliser(Method.MIN_MAX, smallest, largest)
    below, above = (q05 - smallest) / core, (largest - q95) / core
    if max(below, above) <= TAIL_RATIO:
        return Normaliser(Method.MIN_MAX, smallest, largest)
    if max(below, above) / (below + above) >= ASYMMETRY and q90 > q10:
        return Normaliser(Method.LOGISTIC, q10, q90)
    return Normaliser(Method.WINSORISED, q05, q95)


def fit_sample(ranks: NDArray[np.uint64], importances: FloatArray) -> tuple[Normaliser, int]:
    """Fit to the `SAMPLE_SIZE` rows of lowest rank; also return the highest rank that was looked at.

    Ranks are the leading bits of memory ids, which are hashes: the lowest ones are a uniform sample that every process
    draws alike, that survives a restart, and that keeps following the data.
    """
    if ranks.size <= SAMPLE_SIZE:
        return fit(importances), int(np.iinfo(np.uint64).max)
    chosen = np.argpartition(ranks, SAMPLE_SIZE - 1)[:SAMPLE_SIZE]
    return fit(importances[chosen]), int(ranks[chosen].max())
