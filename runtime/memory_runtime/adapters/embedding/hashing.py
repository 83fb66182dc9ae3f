"""Feature hashing (Weinberger et al. 2009, arXiv:0902.2206): vectors without a model, for any language.

Texts are close when they share words, word pairs or spelling, not meaning; hence the low ``dense_weight``.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from memory_runtime.adapters.embedding.wordpiece import split_words
from memory_runtime.ports import Float32Array

MAX_CHARACTERS = 4_096  # about 700 words; bounds the time for one text to a few milliseconds
MAX_WORD_LENGTH = 40  # longer words are links and hashes; also bounds the cache

WORD_WEIGHT = 1.0
PAIR_WEIGHT = 0.5  # word order, and phrases
TRIGRAM_WEIGHT = 0.3  # a word has several: inflections and typing errors keep most of them


class HashEmbedder:
    """Signed hashing of words, word pairs and character trigrams with sub-linear term frequency."""

    dense_weight: Final = 0.15

    def __init__(self, dimensions: int = 512) -> None:
        if dimensions < 1:
            raise ValueError(f"hash embedder needs at least one dimension, got {dimensions}; 512 is a good size")
        self.dimensions: Final = dimensions
        self.embedder_id: Final = f"hash-v2-{dimensions}"

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return float32 (len(texts), dimensions): unit rows, or zero for text without words."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            features = weigh_features(text[:MAX_CHARACTERS])
            if features:
                self._add_up(features, vector)
        return vectors

    def _add_up(self, features: dict[str, float], vector: Float32Array) -> None:
        """Write the features' unit vector into ``vector``; a hash's last bit is the sign, the rest the bucket."""
        hashes = np.array([_hash(feature) for feature in features], dtype=np.uint64)
        buckets = (hashes >> np.uint64(1)) % np.uint64(self.dimensions)
        signs = np.where(hashes & np.uint64(1), 1.0, -1.0)
        weights = signs * np.fromiter(features.values(), dtype=np.float64)
        sums = np.bincount(buckets.astype(np.intp), weights, minlength=self.dimensions)
        vector[:] = sums / (np.linalg.norm(sums) or 1.0)


def weigh_features(text: str) -> dict[str, float]:
    """Return each feature with weight * (1 + log count); a prefix keeps the three kinds apart."""
    words = [word[:MAX_WORD_LENGTH] for word in split_words(text) if word[0].isalnum()]
    kinds = (
        (WORD_WEIGHT, Counter("w" + word for word in words)),
        (PAIR_WEIGHT, Counter(f"p{first} {second}" for first, second in pairwise(words))),
        (TRIGRAM_WEIGHT, Counter("t" + trigram for word in words for trigram in _trigrams(word))),
    )
    return {feature: weight * (1.0 + math.log(count)) for weight, counts in kinds for feature, count in counts.items()}


def _trigrams(word: str) -> list[str]:
    marked = f"<{word}>"
    return [marked[start : start + 3] for start in range(len(marked) - 2)]


@lru_cache(maxsize=32_768)
def _hash(feature: str) -> int:
    """64 bits, the same in every process; Python's own ``hash`` is salted."""
    return int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
