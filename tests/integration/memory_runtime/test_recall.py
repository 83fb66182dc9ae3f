"""Recalling: what is found, how it is scored, and that filters act before the cut."""

import json
import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from memory_contracts.settings import RuntimeSettings
from memory_runtime.adapters.embedding.potion import PotionEmbedder
from memory_runtime.adapters.postgres.database import Database
from memory_runtime.adapters.postgres.memories import CANDIDATE_ROWS, SQL
from memory_runtime.domain import importance, scoring

SUBJECTS = ["Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi"]
VERBS = ["bought", "repaired", "painted", "lost", "cooked", "planted", "sold", "borrowed"]
THINGS = ["bicycle", "piano", "garden", "kitchen", "telescope", "violin", "canoe", "orchard"]
PLACES = ["Paris", "Lima", "Oslo", "Kyoto", "Cairo", "Quito", "Dublin", "Hanoi"]


@dataclass(frozen=True)
class Library:
    """A process of its own with 700 memories, and its rows as Postgres holds them."""

    api: Any
    ids: list[UUID]
    seqs: np.ndarray
    types: np.ndarray
    vectors: np.ndarray
    importances: np.ndarray
    payloads: list[dict[str, Any]]

    def importance_norm(self) -> np.ndarray:
        """The map of C5, on the 512 rows whose ids are lowest."""
        ranks = np.array([each.int >> 64 for each in self.ids], dtype=np.uint64)
        sample = np.argsort(ranks)[: importance.SAMPLE_SIZE]
        return importance.fit(self.importances[sample])(self.importances)


@pytest.fixture(scope="module")
def library(module_starter, shared_url):
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    rng = random.Random(7)
    api = module_starter.serve(shared_url)
    items = [
        {
            "coord": [1.0, number],
            "type": rng.choice(["episodic", "semantic"]),
            "importance": rng.lognormvariate(0, 1.5),
            "payload": {
                "text": " ".join(map(rng.choice, (SUBJECTS, VERBS, THINGS, PLACES))) + f" case {number}",
                "shelf": number % 7,
                "tags": {"year": 2000 + number % 5, "labels": [f"l{number % 3}", "all"]},
            },
        }
        for number in range(700)
    ]

    async def fill():
        async with api.client() as client:
            answer = await client.post("/store_bulk", json={"items": items})
            assert answer.json()["stored"] == len(items)
        return await api.rows(
            "select id, seq, type, importance, payload, embedding from memories join vectors using (seq) order by seq"
        )

    with ThreadPoolExecutor(1) as executor:
        rows = executor.submit(asyncio.run, fill()).result()
    return Library(
        api=api,
        ids=[UUID(bytes=row["id"].bytes) for row in rows],
        seqs=np.array([row["seq"] for row in rows]),
        types=np.array([row["type"] for row in rows]),
        vectors=np.stack([np.frombuffer(row["embedding"], dtype="<f4") for row in rows]),
        importances=np.array([row["importance"] for row in rows]),
        payloads=[json.loads(row["payload"]) for row in rows],
    )


@pytest.fixture
async def readers(library):
    async with library.api.client() as opened:
        yield opened


async def remembered(client, coord, text):
    answer = await client.post("/store", json={"coord": coord, "payload": {"text": text}})
    assert answer.status_code == 200
    return answer.json()


async def recall(client, **question):
    answer = await client.post("/recall", json=question)
    assert answer.status_code == 200, answer.text
    matches = answer.json()["matches"]
    scores = [hit["score"] for hit in matches]
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert len({hit["id"] for hit in matches}) == len(matches) <= question.get("top_k", 10)
    return matches


RESTRICTIONS = [
    {},
    {"type": "semantic"},
    {"filters": {"shelf": 3}},
    {"filters": {"tags": {"year": 2001, "labels": ["l1"]}}, "type": "episodic"},
    {"filters": {"shelf": 99}},
]


def contains(payload, wanted):
    if isinstance(wanted, dict):
        return isinstance(payload, dict) and all(
            name in payload and contains(payload[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(payload, list) and all(any(contains(each, one) for each in payload) for one in wanted)
    return payload == wanted


@pytest.mark.parametrize("restriction", RESTRICTIONS, ids=str)
@pytest.mark.parametrize("by", ["query", "vector"])
async def test_classic_equals_a_brute_force_recomputation_from_postgres(library, readers, by, restriction):
    text = "Grace repaired a telescope in Oslo"
    query = PotionEmbedder().embed([text])[0]
    question = {"query": text} if by == "query" else {"vector": [float(number) * 3.7 for number in query]}
    matches = await recall(readers, **question, **restriction, scoring="classic", top_k=25, explain=True)

    cosine = library.vectors.astype(np.float64) @ query.astype(np.float64)
    expected = np.maximum(0.0, cosine) * library.importance_norm()
    eligible = np.array(
        [
            contains(payload, restriction.get("filters", {})) and restriction.get("type") in (None, type_)
            for payload, type_ in zip(library.payloads, library.types, strict=True)
        ]
    )
    order = np.lexsort((library.seqs, -np.where(eligible, expected, -1.0)))[: min(25, int(eligible.sum()))]
    np.testing.assert_allclose([hit["score"] for hit in matches], expected[order], atol=1e-6)
    assert {hit["id"] for hit in matches} == {str(library.ids[at]) for at in order}
    for hit in matches:
        parts = hit["explain"]
        assert hit["score"] == pytest.approx(max(0.0, parts["cosine"]) * parts["importance_norm"], abs=1e-6)


@pytest.mark.parametrize("text", ["Alice bought a piano", "case 321", "telescope", "unrelated words entirely", "!?"])
async def test_hybrid_is_the_weighted_sum_of_its_legs(library, readers, text):
    matches = await recall(readers, query=text, top_k=1000, explain=True)
    assert len(matches) == 700
    parts = {name: np.array([hit["explain"][name] for hit in matches]) for name in matches[0]["explain"]}
    expected = scoring.hybrid(
        parts["cosine"], parts["keyword"], parts["importance_norm"], PotionEmbedder().dense_weight
    )
    np.testing.assert_allclose([hit["score"] for hit in matches], expected, atol=1e-9)


@pytest.mark.parametrize("scoring_", ["hybrid", "classic"])
@pytest.mark.parametrize("restriction", [{"filters": {"rare": True}}, {"type": "semantic"}], ids=["filters", "type"])
async def test_filters_act_before_the_cut(client, fresh, scoring_, restriction):
    """Regression: filters were applied to the top-k, so a rare match among many better ones was never found."""
    word = f"zebra{int(fresh()[0])}"
    crowd = [{"coord": fresh(), "payload": {"text": f"{word} crossing the road", "n": n}} for n in range(150)]
    rare = {"coord": fresh(), "payload": {"text": "a plain afternoon", "rare": True, "of": word}, "type": "semantic"}
    await client.post("/store_bulk", json={"items": [*crowd, rare]})
    if "filters" in restriction:
        restriction = {"filters": {"rare": True, "of": word}}
    for question in (
        {"query": f"{word} crossing"},
        {"vector": PotionEmbedder().embed([f"{word} crossing"])[0].tolist()},
    ):
        matches = await recall(client, **question, **restriction, top_k=1, scoring=scoring_)
        assert [hit["type"] for hit in matches] == ["semantic"]
        if "filters" in restriction:
            assert matches[0]["payload"] == rare["payload"]


async def test_a_filter_that_matches_nothing_finds_nothing(readers):
    assert await recall(readers, query="piano", filters={"shelf": "none"}) == []
    assert await recall(readers, query="piano", filters={"tags": {"year": 1}}, scoring="classic") == []


async def test_a_filter_is_compared_as_json_and_never_as_a_pattern(client, fresh):
    """Regression: LIKE with an unescaped _ read the neighbour namespace."""
    mark = f"a_{int(fresh()[0])}"
    for value in (mark, mark.replace("_", "x"), mark + "%"):
        await client.post("/store", json={"coord": fresh(), "payload": {"text": "pattern", "owner": value}})
    for value in (mark, mark + "%"):
        matches = await recall(client, query="pattern", filters={"owner": value})
        assert [hit["payload"]["owner"] for hit in matches] == [value]
    assert await recall(client, query="pattern", filters={"owner": "%"}) == []


async def test_the_neighbour_namespace_in_the_same_database_is_never_read(api, client, starter, shared_url, fresh):
    word = f"secret{int(fresh()[0])}"
    neighbour = starter.serve(shared_url, SOMA_MEMORY_NAMESPACE="team-b/research")
    async with neighbour.client() as other:
        stored = (await other.post("/store", json={"coord": [1], "payload": {"text": word}})).json()
        assert (await recall(other, query=word))[0]["id"] == stored["id"]
        assert (await client.get("/memories/1")).status_code == 404
    assert all(hit["payload"].get("text") != word for hit in await recall(client, query=word, top_k=1000))


async def test_a_misspelt_word_is_found_by_its_trigrams(client, fresh, eventually):
    """Near spellings come from the vocabulary, which takes new words in within a few seconds."""
    stored = await remembered(client, fresh(), "the Czechoslovakian wolfdog")
    (hit, *_) = await recall(client, query="CZECHOSLOVAKIAN wolfdogs", explain=True)
    assert hit["id"] == stored["id"]
    assert hit["explain"]["keyword"] > 0.4

    async def found(query):
        hits = await recall(client, query=query, explain=True)
        return hits[0]["id"] == stored["id"] and hits[0]["explain"]["keyword"] > 0.4

    for query in ("Chechoslovakian", "czechoslovakan wolfdogg"):
        await eventually(lambda query=query: found(query), 10)


async def test_a_word_form_is_found_by_its_stem(client, fresh):
    stored = (
        await client.post("/store", json={"coord": fresh(), "payload": {"text": "she plays three marimbas"}})
    ).json()
    (hit, *_) = await recall(client, query="who was playing a marimba")
    assert hit["id"] == stored["id"]


async def test_the_text_fields_are_searched_and_not_the_json(client, fresh):
    coord = fresh()
    payload = {"text": "visible", "source": "hiddenfield", "nested": {"hiddenkey": 1}}
    await client.post("/store", json={"coord": coord, "payload": payload})
    for query in ("hiddenfield", "hiddenkey"):
        assert all(hit["explain"]["keyword"] < 0.5 for hit in await recall(client, query=query, explain=True))


@pytest.mark.parametrize(
    "query",
    [
        "'; drop table memories; --",
        "a & b | !c <-> d:*",
        "\\ \\' \" %_",
        "🐝",
        "\u200b",
        "x" * 60_000,
        "word " * 13_000,
        "https://example.org/path?a=1&b=2",
        "日本語の文章",
        "\x01\x02",
    ],
    ids=[
        "sql",
        "tsquery",
        "quotes",
        "emoji",
        "zero width",
        "one long word",
        "many words",
        "url",
        "japanese",
        "control",
    ],
)
async def test_any_text_is_a_question(readers, query):
    await recall(readers, query=query)
    await recall(readers, query=query, filters={"shelf": 1}, type="semantic")


async def test_a_distinct_word_among_thousands_is_answered(readers):
    await recall(readers, query=" ".join(f"w{number}" for number in range(8_000)))


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300], ids=str)
async def test_a_vector_of_any_length_points_the_same_way(library, readers, scale):
    vector = [float(number) * scale for number in library.vectors[42]]
    (hit,) = await recall(readers, vector=vector, top_k=1)
    assert hit["id"] == str(library.ids[42])


async def test_get_recall_answers_as_post_does(readers):
    question = {"query": "Bob lost a canoe", "top_k": 5, "type": "semantic", "scoring": "classic"}
    filters = {"shelf": 2}
    posted = await readers.post("/recall", json=question | {"filters": filters, "explain": True})
    asked = await readers.get("/recall", params=question | {"filters": json.dumps(filters), "explain": "true"})
    assert asked.status_code == 200
    assert asked.json() == posted.json()
    assert len(asked.json()["matches"]) == 5


async def test_top_k_takes_1_to_1000(readers):
    assert len(await recall(readers, query="piano", top_k=1)) == 1
    assert len(await recall(readers, query="piano", top_k=1000)) == 700
    assert len(await recall(readers, query="piano")) == 10


async def test_an_empty_namespace_recalls_nothing(starter, shared_url):
    api = starter.serve(shared_url)
    async with api.client() as client:
        assert await recall(client, query="anything") == []
        assert await recall(client, vector=[1.0] * 256, scoring="classic") == []
        assert await recall(client, query="anything", type="semantic", filters={"a": 1}) == []
        assert (await client.get("/stats")).json()["memories"] == 0


async def test_equal_importances_do_not_take_the_score_away(starter, shared_url):
    """Regression: with all importances equal, importance_norm was 0, and so was every classic score."""
    api = starter.serve(shared_url)
    async with api.client() as client:
        items = [
            {"coord": [n], "payload": {"text": text}, "importance": 0} for n, text in enumerate(("a bee", "a hive"))
        ]
        await client.post("/store_bulk", json={"items": items})
        (hit, _) = await recall(client, query="a bee", scoring="classic", explain=True)
        assert hit["score"] == pytest.approx(1.0, abs=1e-5)
        assert hit["explain"]["importance_norm"] == 1.0


async def test_memories_without_words_are_kept_and_never_break_recall(client, fresh):
    coord = fresh()
    stored = (await client.post("/store", json={"coord": coord, "payload": {"number": 5}})).json()
    assert (await client.get(f"/memories/{','.join(map(str, coord))}")).json()["id"] == stored["id"]
    (hit,) = await recall(client, query="five", scoring="classic", filters={"number": 5})
    assert hit["score"] == 0.0


async def test_an_ampersand_inside_an_address_is_not_taken_for_an_operator(client, fresh):
    stored = await remembered(client, fresh(), "see example.org/q?a=1&bb=2")
    (hit, *_) = await recall(client, query="other.net/q?a=1&bb=2", explain=True)
    assert hit["id"] == stored["id"]
    assert hit["explain"]["keyword"] > 0


async def test_a_rare_word_is_found_at_once_though_the_vocabulary_has_only_its_neighbour(starter, shared_url):
    """Regression: until new words were settled, memories that held a near spelling twice crowded out the exact one."""
    api = starter.serve(shared_url)
    async with api.client() as client, api.connect() as connection:
        await connection.execute("insert into vocabulary (word) values ('47')")
        await connection.execute(
            "create or replace function settle(with_statistics boolean) returns void language sql as 'select 1'"
        )
        texts = ["note 47 about subject 47"] * 60 + ["note 4711 about subject 55"]
        items = [{"coord": [number], "payload": {"text": text}} for number, text in enumerate(texts)]
        await client.post("/store_bulk", json={"items": items})
        (hit, *_) = await recall(client, query="note 4711", explain=True)

    assert hit["payload"]["text"] == texts[-1]
    assert hit["explain"]["keyword"] == 1.0


class TestPlans:
    """The keyword leg must use its indexes; a sequential scan is what made every store scan all memories."""

    @pytest.fixture
    async def database(self, library):
        settings = RuntimeSettings(
            postgres_url=library.api.postgres_url, postgres_schema=library.api.schema, migrate_on_start=False
        )
        opened = Database(settings)
        await opened.open()
        yield opened
        await opened.close()

    async def plan(self, connection, name, *arguments):
        return "\n".join(row[0] for row in await connection.fetch(f"explain {SQL[name]}", *arguments))

    async def keyword_plan(self, database, query):
        async with database.search_connection() as connection:
            return await self.plan(connection, "keyword_matches", query, query, 20, None, None, CANDIDATE_ROWS)

    async def test_the_keyword_leg_uses_its_indexes(self, database):
        plan = await self.keyword_plan(database, "pianno in Oslo")
        assert "memories_words" in plan
        assert "vocabulary_trigrams" in plan
        assert "Seq Scan on memories" not in plan

    async def test_filters_use_their_index(self, database):
        async with database.connection() as connection:
            plan = await self.plan(connection, "matching", '{"shelf": 3}')
        assert "memories_payload" in plan

    async def test_the_indexes_are_used_soon_after_a_load_though_nobody_analyses(self, starter, shared_url, eventually):
        api = starter.serve(shared_url, SOMA_EMBEDDING_PROVIDER="hash", SOMA_EMBEDDING_DIMENSIONS="64")
        async with api.connect() as connection:
            await connection.execute("alter table memories set (autovacuum_enabled = off)")
        async with api.client() as client:
            for start in range(0, 10_000, 5_000):
                items = [
                    {"coord": [n], "payload": {"text": f"note {n} of {n % 89}"}} for n in range(start, start + 5_000)
                ]
                assert (await client.post("/store_bulk", json={"items": items})).status_code == 200
        settings = RuntimeSettings(postgres_url=api.postgres_url, postgres_schema=api.schema, migrate_on_start=False)
        database = Database(settings)
        await database.open()

        async def indexed():
            plan = await self.keyword_plan(database, "nott 7")
            return "memories_words" in plan and "vocabulary_trigrams" in plan

        try:
            await eventually(indexed, 10)
        finally:
            await database.close()
