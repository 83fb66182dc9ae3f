"""Feature hashing: similar texts are close, on every machine alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import memory_runtime
from memory_runtime.adapters.embedding.hashing import HashEmbedder

RELATED = [
    ("Alice moved to Berlin", "Alice has moved to Berlin in May"),
    ("the deployment failed on Friday", "on Friday, the deployments failed"),
    ("my favourite colour is green", "my favorite color is green"),
    ("Bob is allergic to peanuts", "BOB IS ALLERGIC TO PEANUTS!"),
    ("invoice number 48213 was paid", "paid: invoice number 48213"),
    ("Café in Zürich", "cafe in zurich"),
    ("我喜欢喝绿茶", "他喜欢喝绿茶"),
]
FROZEN = [
    0.150223,
    -0.375558,
    -0.112667,
    0.225335,
    -0.638448,
    -0.338002,
    -0.488225,
    -0.112667,
]  # "Alice moved to Berlin" in 8 dimensions
UNRELATED = "seventeen purple submarines rehearse a quiet opera"


def cosine(first: str, second: str) -> float:
    one, two = HashEmbedder().embed([first, second])
    return float(one @ two)


@pytest.mark.parametrize(("first", "second"), RELATED)
def test_similar_texts_are_close_unlike_with_the_tiled_hash_of_the_whole_text(first: str, second: str) -> None:
    """Regression: the first fallback repeated a 64-byte hash of the text, so one changed letter changed everything."""
    assert cosine(first, second) > 0.45
    assert cosine(first, second) > cosine(first, UNRELATED) + 0.3


def test_unrelated_texts_are_almost_orthogonal() -> None:
    texts = [first for first, _ in RELATED] + [UNRELATED]
    vectors = HashEmbedder().embed(texts)
    between = (vectors @ vectors.T)[~np.eye(len(texts), dtype=bool)]
    assert np.abs(between).max() < 0.3
    assert abs(between.mean()) < 0.05


def test_a_vector_does_not_repeat_itself() -> None:
    """Regression: the tiled hash had a period of 64."""
    (vector,) = HashEmbedder().embed(["Alice moved to Berlin in spring"])
    blocks = vector.reshape(-1, 64)
    assert len(np.unique(blocks, axis=0)) == len(blocks)


def test_word_order_counts_a_little() -> None:
    assert 0.6 < cosine("dog bites man", "man bites dog") < 0.999


def test_repetition_counts_less_than_linearly() -> None:
    assert cosine("tea and cake", "tea " * 50 + "and cake") > 0.6


@given(st.lists(st.text(), max_size=5))
def test_rows_are_unit_or_zero_and_a_batch_equals_its_texts_one_by_one(texts: list[str]) -> None:
    embedder = HashEmbedder()
    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), 512)
    assert vectors.dtype == np.float32
    norms = np.linalg.norm(vectors, axis=1)
    assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-5))
    for vector, text in zip(vectors, texts, strict=True):
        np.testing.assert_allclose(embedder.embed([text])[0], vector, atol=1e-6)


@pytest.mark.parametrize("text", ["", "  \n", "!?…", "\x00\x07", "\ud800", "🎉"], ids=ascii)
def test_text_without_words_is_the_zero_vector(text: str) -> None:
    assert not HashEmbedder().embed([text]).any()


@pytest.mark.parametrize("dimensions", [1, 64, 384, 1024])
def test_dimensions_are_configurable_and_part_of_the_id(dimensions: int) -> None:
    embedder = HashEmbedder(dimensions)
    assert embedder.embedder_id == f"hash-v2-{dimensions}"
    assert embedder.embed(["one text", "another"]).shape == (2, dimensions)


def test_zero_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one dimension"):
        HashEmbedder(0)


def test_another_process_with_another_hash_seed_gives_the_same_vector() -> None:
    program = (
        "from memory_runtime.adapters.embedding.hashing import HashEmbedder;"
        "print(HashEmbedder(64).embed(['Alice moved to Berlin']).tobytes().hex())"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(memory_runtime.__file__).parents[1])}
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {HashEmbedder(64).embed(["Alice moved to Berlin"]).tobytes().hex()}


def test_stored_vectors_stay_valid_because_the_features_keep_their_buckets() -> None:
    """A failure here means a new id: ``hash-v2`` vectors of existing memories would no longer match."""
    (vector,) = HashEmbedder(8).embed(["Alice moved to Berlin"])
    np.testing.assert_allclose(vector, FROZEN, atol=1e-5)
