"""How the legs of a recall become one score in [0, 1]. All functions are pure and work on arrays of shape (n,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# Importance moves a hybrid score by at most this factor's spread: cosine times an unrelated importance halves recall
# quality, a factor of .85 to 1.15 costs .3 points (measured on LoCoMo).
IMPORTANCE_FLOOR = 0.85
IMPORTANCE_SPAN = 0.30


def min_max(scores: FloatArray) -> FloatArray:
    """Stretch one leg's scores to [0, 1]; equal scores become 1 when positive, else 0."""
    if scores.size == 0:
        return scores
    low, high = float(scores.min()), float(scores.max())
    if high - low <= 1e-12:
        return np.full_like(scores, 1.0 if high > 0.0 else 0.0)
    return (scores - low) / (high - low)


def hybrid(cosine: FloatArray, keyword: FloatArray, importance_norm: FloatArray, dense_weight: float) -> FloatArray:
    """Fuse the legs: weighted sum of per-query min–max scores, times a bounded factor of importance.

    A leg that found nothing gives its weight to the other. The weighted sum beats rank fusion by about five points
    of recall on conversational text.
    """
    if not keyword.any():
        fused = min_max(cosine)
    elif not (cosine > 0.0).any():
        fused = min_max(keyword)
    else:
        fused = dense_weight * min_max(cosine) + (1.0 - dense_weight) * min_max(keyword)
    factor = (IMPORTANCE_FLOOR + IMPORTANCE_SPAN * importance_norm) / (IMPORTANCE_FLOOR + IMPORTANCE_SPAN)
    return fused * factor


def classic(cosine: FloatArray, importance_norm: FloatArray) -> FloatArray:
    """Score by ``max(0, cosine) × importance_norm`` and nothing else."""
    return np.maximum(0.0, np.minimum(1.0, cosine)) * importance_norm
