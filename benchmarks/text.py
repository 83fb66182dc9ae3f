"""Made-up memories in real words, the same ones in every run.

Words and their order of frequency come from the documentation that Python carries with it (the topics of ``help()`` and
the docstrings of the top-level modules), so nothing is downloaded. Frequencies follow Zipf's law as Mandelbrot
mended it: ``1 / (rank + 2.7)``, which fits English. Text indexes depend on that law: a query of ordinary words meets
a few words that many memories hold, and some that few do.
"""

from __future__ import annotations

import ast
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

SHORTEST, LONGEST = 8, 25
SHORTEST_QUERY, LONGEST_QUERY = 5, 8
# One query of so many holds a misspelt word, besides the foreign word that each has.
MISSPELT_ONE_OF = 4
_WORD = re.compile(r"(?<![\w.])[a-z]{2,14}(?![\w(.=])")


class Corpus:
    """Memory `n` and query `n`, for any n, each made from its number alone."""

    def __init__(self, seed: str = "memories") -> None:
        self._seed = seed

    def passage(self, number: int) -> str:
        """Return the text of a memory: 8 to 25 words."""
        dice = random.Random(f"{self._seed} {number}")
        return " ".join(self._words(dice, dice.randint(SHORTEST, LONGEST)))

    def item(self, number: int) -> dict[str, Any]:
        """Return the body of a store."""
        return {
            "coord": [float(number), 0.5],
            "payload": {"text": self.passage(number), "day": number % 365},
            "type": "semantic" if number % 4 == 0 else "episodic",
            "importance": (number * 37 % 100) / 100,
        }

    def query(self, number: int, stored: int) -> str:
        """Return some consecutive words of one of the first `stored` memories, with noise."""
        dice = random.Random(f"{self._seed} query {number}")
        words = self.passage(dice.randrange(max(stored, 1))).split()
        length = dice.randint(SHORTEST_QUERY, LONGEST_QUERY)
        start = dice.randint(0, len(words) - length)
        asked = words[start : start + length]
        if number % MISSPELT_ONE_OF == 0:
            longest = max(range(length), key=lambda at: len(asked[at]))
            asked[longest] = _misspelt(asked[longest])
        asked.insert(dice.randint(0, length), *self._words(dice, 1))
        return " ".join(asked)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The words, most frequent first."""
        counts = Counter(word for text in _texts() for word in _WORD.findall(text.lower()))
        return sorted(counts, key=lambda word: (-counts[word], word))

    @cached_property
    def _cumulative(self) -> list[float]:
        return list(accumulate(1 / (rank + 2.7) for rank in range(1, len(self.vocabulary) + 1)))

    def _words(self, dice: random.Random, count: int) -> list[str]:
        return dice.choices(self.vocabulary, cum_weights=self._cumulative, k=count)


def _texts() -> Iterator[str]:
    yield from topics.values()
    for module in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(module.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node, clean=False) or ""


def _misspelt(word: str) -> str:
    """Swap two letters in the middle."""
    middle = len(word) // 2
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
