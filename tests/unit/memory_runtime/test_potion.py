"""The static embedder against its float32 original, and what callers rely on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_runtime.adapters.embedding import build_potion
from memory_runtime.adapters.embedding.potion import DATA, MAX_CHARACTERS, SCALES, TABLE, PotionEmbedder

SENTENCES = [
    "Alice moved to Berlin last spring.",
    "She now lives in the German capital.",
    "The cat sleeps on the red sofa.",
    "A kitten naps on a couch",
    "PostgreSQL runs on Kubernetes v1.31",
    "José doesn't like café crème",
    "Quarterly revenue rose by 4.5%",
]
# Cosines of SENTENCES by model2vec 0.10.0 with the float32 model.
ORIGINAL_COSINES = [
    [1.0, 0.3, 0.0361, -0.0129, 0.0892, 0.0141, 0.0164],
    [0.3, 1.0, -0.0122, -0.0503, 0.0247, 0.0108, 0.0558],
    [0.0361, -0.0122, 1.0, 0.6173, 0.0684, 0.0445, 0.1161],
    [-0.0129, -0.0503, 0.6173, 1.0, 0.052, -0.0325, 0.007],
    [0.0892, 0.0247, 0.0684, 0.052, 1.0, 0.1716, 0.1964],
    [0.0141, 0.0108, 0.0445, -0.0325, 0.1716, 1.0, 0.1743],
    [0.0164, 0.0558, 0.1161, 0.007, 0.1964, 0.1743, 1.0],
]
ORIGINAL_START = [0.15379, -0.043688, 0.145201, 0.047846, -0.054471, 0.1209]  # of the first sentence


@pytest.fixture(scope="module")
def potion() -> PotionEmbedder:
    return PotionEmbedder()


def test_cosines_are_those_of_the_float32_original(potion: PotionEmbedder) -> None:
    vectors = potion.embed(SENTENCES)
    np.testing.assert_allclose(vectors @ vectors.T, ORIGINAL_COSINES, atol=0.003)
    np.testing.assert_allclose(vectors[0, :6], ORIGINAL_START, atol=0.003)


@pytest.mark.parametrize(
    ("query", "close", "far"),
    [
        ("where does Alice live", "Alice moved to Berlin last spring.", "The cat sleeps on the red sofa."),
        ("pets", "A kitten naps on a couch", "Quarterly revenue rose by 4.5%"),
        ("which database do we use", "PostgreSQL runs on Kubernetes v1.31", "A kitten naps on a couch"),
    ],
)
def test_meaning_is_closer_than_chance(potion: PotionEmbedder, query: str, close: str, far: str) -> None:
    asked, near, distant = potion.embed([query, close, far])
    assert asked @ near > asked @ distant + 0.1


@given(texts=st.lists(st.text(), max_size=6))
def test_rows_are_unit_or_zero_and_a_batch_equals_its_texts_one_by_one(
    potion: PotionEmbedder, texts: list[str]
) -> None:
    vectors = potion.embed(texts)
    assert vectors.shape == (len(texts), 256)
    assert vectors.dtype == np.float32
    norms = np.linalg.norm(vectors, axis=1)
    assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-5))
    for vector, text in zip(vectors, texts, strict=True):
        np.testing.assert_allclose(potion.embed([text])[0], vector, atol=1e-6)


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", "\ud800", "🎉🎉", "x" * 5_000], ids=lambda text: ascii(text[:9]))
def test_text_without_a_known_token_is_the_zero_vector(potion: PotionEmbedder, text: str) -> None:
    assert not potion.embed([text]).any()


def test_only_the_first_512_tokens_count(potion: PotionEmbedder) -> None:
    start = "tea cup " * 256
    shorter, longer = potion.embed([start, start + "volcano " * 9_000])
    np.testing.assert_allclose(shorter, longer, atol=1e-6)


def test_a_giant_text_is_cut_before_it_is_tokenised(potion: PotionEmbedder) -> None:
    padded, blank = potion.embed([" " * (MAX_CHARACTERS - 3) + "tea", " " * MAX_CHARACTERS + "tea"])
    assert padded.any()
    assert not blank.any()


def test_threads_share_one_embedder(potion: PotionEmbedder) -> None:
    texts = [f"{sentence} {number}" for number in range(50) for sentence in SENTENCES]
    expected = potion.embed(texts)
    fresh = PotionEmbedder()
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(fresh.embed, [texts] * 8):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_the_table_is_mapped_and_not_copied_into_memory(potion: PotionEmbedder) -> None:
    assert isinstance(potion._table.base, np.memmap)


def test_files_on_disk_are_the_pinned_ones() -> None:
    build_potion.refuse_differences({name: (DATA / name).read_bytes() for name in build_potion.DIGESTS}, "on disk")


def test_a_changed_file_is_named() -> None:
    with pytest.raises(SystemExit, match=f"{SCALES} on disk"):
        build_potion.refuse_differences({TABLE: (DATA / TABLE).read_bytes(), SCALES: b"changed"}, "on disk")


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_quantised_rows_stay_within_half_a_step(rows: int, seed: int) -> None:
    embeddings = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    embeddings[0] = 0
    table, scales = build_potion.quantise(embeddings)
    assert table.dtype == np.int8
    assert np.abs(table * scales[:, None] - embeddings).max() <= scales.max() * 0.501


def test_safetensors_are_read_without_their_library() -> None:
    header = b'{"embeddings":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    values = np.arange(6, dtype="<f4")
    tensor = build_potion.read_embeddings(len(header).to_bytes(8, "little") + header + values.tobytes())
    np.testing.assert_array_equal(tensor, values.reshape(2, 3))
