"""potion-base-8M: a static sentence model, the mean of one vector a token (Model2Vec, github.com/MinishLab/model2vec).

The table is int8 with one scale a row and stays memory-mapped, so processes share its pages. ``build_potion`` makes
the files; a vector's cosine with its float32 original is at least .9999.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from memory_runtime.adapters.embedding.wordpiece import WordPiece
from memory_runtime.ports import Float32Array

DATA: Final = Path(__file__).parent / "potion-base-8M"
TABLE: Final = "table.npy"  # int8, one row a token
SCALES: Final = "scales.npy"  # float32: row = table[token] * scales[token]
VOCABULARY: Final = "vocabulary.txt"  # one token a line; the line number is the row

MAX_TOKENS = 512  # model2vec's default max_length
MAX_CHARACTERS = 6 * MAX_TOKENS  # model2vec cuts at max_length times the median token length, which is 6


class PotionEmbedder:
    """Static embedder of short English texts; threads may share one instance.

    The constructor opens the package's own files, about 20 ms, so that no first request pays for it.
    """

    embedder_id: Final = "potion-base-8M-int8"
    dimensions: Final = 256
    dense_weight: Final = 0.5

    def __init__(self, data: Path = DATA) -> None:
        self._table = np.load(data / TABLE, mmap_mode="r").view(np.ndarray)  # plain type: memmap slows indexing
        self._scales = np.load(data / SCALES)
        self._tokenizer = WordPiece((data / VOCABULARY).read_text(encoding="utf-8").removesuffix("\n").split("\n"))

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return float32 (len(texts), 256): unit rows, or zero for text without a known token.

        The first 512 tokens of a text count. One small product a text beats gathering a whole batch
        (``np.add.reduceat`` took twice as long), keeps temporaries small and makes a batch equal its single texts.
        """
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            tokens = self._tokenizer.encode(text[:MAX_CHARACTERS])[:MAX_TOKENS]
            if tokens:
                self._add_up(tokens, vector)
        return vectors

    def _add_up(self, tokens: list[int], vector: Float32Array) -> None:
        """Write the unit vector of the tokens' sum, which is that of their mean, into ``vector``."""
        rows = np.array(tokens)
        np.matmul(self._scales[rows], self._table[rows].astype(np.float32), out=vector)
        vector /= np.sqrt(vector @ vector) or 1.0
