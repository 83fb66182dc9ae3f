"""Storing, reading, updating and deleting one memory through the HTTP API of a real process."""

import math
from uuid import UUID

import pytest

from memory_contracts.identifiers import derive_coordinate, memory_id

NAMESPACE = "team-a/research"


async def store(client, coord, text="some text", **more):
    headers = more.pop("headers", {})
    return await client.post("/store", json={"coord": coord, "payload": {"text": text}, **more}, headers=headers)


async def found(client, query, **options):
    answer = await client.post("/recall", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()["matches"]


async def test_a_stored_memory_is_read_recalled_and_deleted(client, fresh):
    coord = fresh()
    payload = {"text": "Alice keeps bees in Zürich 🐝", "tags": ["hobby", None, {"deep": [1, 2.5, True]}]}
    answer = await client.post("/store", json={"coord": coord, "payload": payload, "type": "semantic", "importance": 3})
    assert answer.status_code == 200
    stored = answer.json()
    assert stored["ok"] is True
    assert stored["coord"] == coord
    assert stored["version"] == 1
    assert UUID(stored["id"]) == memory_id(NAMESPACE, coord)
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["consistency-token"] == stored["token"]

    path = f"/memories/{','.join(map(str, coord))}"
    read = (await client.get(path)).json()
    assert (read["payload"], read["type"], read["importance"], read["version"]) == (payload, "semantic", 3.0, 1)
    assert read["created"] == read["updated"]

    (hit, *_) = await found(client, "who keeps bees?", token=stored["token"])
    assert hit["id"] == stored["id"]
    assert {"id", "coord", "payload", "type", "score", "version", "created", "updated"} <= hit.keys()

    gone = await client.delete(path)
    assert gone.status_code == 200
    assert gone.json()["version"] == 2
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert all(hit["id"] != stored["id"] for hit in await found(client, "who keeps bees?"))


async def test_nothing_of_a_deleted_memory_stays_in_its_row(api, client, fresh):
    """Regression: deleted text was still recalled, because its vector had an id of its own."""
    coord = fresh()
    stored = (await store(client, coord, "the combination of the safe is 17-42-9")).json()
    await client.delete(f"/memories/{','.join(map(str, coord))}")
    (row,) = await api.rows(
        "select m.payload, m.content, v.seq as vector from memories m left join vectors v using (seq) where m.id = $1",
        UUID(stored["id"]),
    )
    assert tuple(row) == ("{}", "", None)
    for scoring in ("hybrid", "classic"):
        assert all(hit["id"] != stored["id"] for hit in await found(client, "combination safe", scoring=scoring))


async def test_storing_again_is_an_update_that_leaves_one_row(api, client, fresh):
    coord = fresh()
    first = await store(client, coord, "Bob lives in Paris", importance=1)
    second = await store(client, coord, "Bob lives in Lima", importance=2, type="semantic")
    assert (second.json()["version"], second.headers["etag"]) == (2, '"2"')
    assert second.json()["id"] == first.json()["id"]
    rows = await api.rows("select version, type, importance from memories where id = $1", UUID(first.json()["id"]))
    assert [tuple(row) for row in rows] == [(2, "semantic", 2.0)]
    read = (await client.get(f"/memories/{','.join(map(str, coord))}")).json()
    assert read["payload"] == {"text": "Bob lives in Lima"}
    assert read["created"] < read["updated"]
    events = await api.rows("select kind, version from outbox where memory_id = $1 order by position", UUID(read["id"]))
    assert [tuple(event) for event in events] == [("memory.stored", 1), ("memory.stored", 2)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1,2.5,{}", "1.0,2.50,{}"),
        ([1, 2.5], "1,2.5"),
        ("-0.0,{}", "0,{}"),
        (" 1e3 , {} ", "1000,{}"),
    ],
    ids=["decimals", "a list", "negative zero", "spaces and exponents"],
)
async def test_a_coordinate_is_the_same_however_it_is_written(client, fresh, written, read):
    own = fresh()[0]
    written = [*written, own] if isinstance(written, list) else written.format(own)
    read = f"{read},{own}" if "{}" not in read else read.format(own)
    stored = (await store(client, written)).json()
    got = await client.get(f"/memories/{read}")
    assert got.status_code == 200
    assert got.json()["id"] == stored["id"]
    assert (await store(client, read)).json()["version"] == 2


@pytest.mark.parametrize("coord", [[1.7976931348623157e308, 5e-324, -2.2e-308], [0.1] * 64, [9007199254740993]])
async def test_extreme_coordinates_keep_every_bit(client, coord):
    stored = (await store(client, coord)).json()
    assert stored["coord"] == [float(number) for number in coord]
    read = await client.get("/memories/" + ",".join(repr(float(number)) for number in coord))
    assert read.json()["coord"] == stored["coord"]


async def test_a_payload_comes_back_as_it_was_sent(client, fresh):
    coord = fresh()
    payload = {
        "text": "🐝 \x01 \u2028 \\u0000 'quotes' \"double\" ; drop table memories; --",
        "": {"empty key": []},
        "numbers": [0, -1, 2**63, 10**40, 0.1, 5e-324, True, False, None],
        "nested": {"a": {"b": {"c": [[[[1]]]]}}},
    }
    assert (await client.post("/store", json={"coord": coord, "payload": payload})).status_code == 200
    read = await client.get(f"/memories/{','.join(map(str, coord))}")
    assert read.json()["payload"] == payload


async def test_a_number_keeps_its_value_though_not_its_spelling(client, fresh):
    """Postgres keeps JSON numbers as decimals: 1e300 comes back as 1 with 300 zeros, the same float."""
    coord = fresh()
    numbers = [1e300, -1.7976931348623157e308, 1e16, 2.2250738585072014e-308]
    await client.post("/store", json={"coord": coord, "payload": {"numbers": numbers}})
    read = (await client.get(f"/memories/{','.join(map(str, coord))}")).json()
    assert [float(number) for number in read["payload"]["numbers"]] == numbers


async def test_an_escaped_surrogate_pair_is_one_character(client, fresh):
    coord = fresh()
    body = f'{{"coord": {coord}, "payload": {{"text": "\\ud83d\\udc1d"}}}}'
    assert (await client.post("/store", content=body, headers={"Content-Type": "application/json"})).status_code == 200
    read = (await client.get(f"/memories/{','.join(map(str, coord))}")).json()
    assert read["payload"] == {"text": "🐝"}


async def test_a_text_of_64_kib_is_kept_and_found_by_its_last_words(client, fresh):
    coord = fresh()
    text = ("lorem ipsum dolor sit amet " * 3000)[: 64 * 1024 - 20] + " quetzalcoatl"
    stored = await store(client, coord, text)
    assert stored.status_code == 200
    (hit, *_) = await found(client, "quetzalcoatl")
    assert hit["id"] == stored.json()["id"]


class TestPreconditions:
    async def test_if_match_writes_only_the_next_version(self, client, fresh, assert_problem):
        coord = fresh()
        await store(client, coord)
        second = await store(client, coord, "two", headers={"If-Match": '"1"'})
        assert second.json()["version"] == 2
        problem = assert_problem(await store(client, coord, "late", headers={"If-Match": '"1"'}), 412)
        assert "version 2 is stored" in problem["detail"]
        read = (await client.get(f"/memories/{','.join(map(str, coord))}")).json()
        assert (read["version"], read["payload"]) == (2, {"text": "two"})

    async def test_if_match_on_nothing_is_refused(self, client, fresh, assert_problem):
        problem = assert_problem(await store(client, fresh(), headers={"If-Match": '"1"'}), 412)
        assert "no memory is stored there" in problem["detail"]

    async def test_if_none_match_stores_only_where_nothing_is(self, client, fresh, assert_problem):
        coord = fresh()
        only_new = {"If-None-Match": "*"}
        assert (await store(client, coord, headers=only_new)).json()["version"] == 1
        assert_problem(await store(client, coord, headers=only_new), 412)
        await client.delete(f"/memories/{','.join(map(str, coord))}")
        assert (await store(client, coord, headers=only_new)).json()["version"] == 3

    async def test_a_delete_with_if_match_takes_only_that_version(self, client, fresh, assert_problem):
        coord = fresh()
        path = f"/memories/{','.join(map(str, coord))}"
        await store(client, coord)
        await store(client, coord)
        assert_problem(await client.delete(path, headers={"If-Match": '"1"'}), 412)
        assert (await client.get(path)).status_code == 200
        assert (await client.delete(path, headers={"If-Match": '"2"'})).json()["version"] == 3
        assert_problem(await client.delete(path, headers={"If-Match": '"3"'}), 404)

    async def test_a_delete_with_if_none_match_never_deletes(self, client, fresh, assert_problem):
        """A precondition that nobody looks at would be worse than none."""
        coord = fresh()
        path = f"/memories/{','.join(map(str, coord))}"
        await store(client, coord)
        answer = await client.delete(path, headers={"If-None-Match": "*"})
        assert_problem(answer, 422, "If-None-Match")
        assert (await client.get(path)).status_code == 200

    async def test_a_bulk_write_takes_no_precondition_in_silence(self, client, fresh, assert_problem):
        body = {"items": [{"coord": fresh(), "payload": {}}]}
        for header in ("If-Match", "If-None-Match"):
            answer = await client.post(
                "/store_bulk", json=body, headers={header: '"1"' if header == "If-Match" else "*"}
            )
            assert_problem(answer, 422, header)

    async def test_an_unchanged_memory_is_not_sent_again(self, client, fresh):
        coord = fresh()
        path = f"/memories/{','.join(map(str, coord))}"
        etag = (await store(client, coord)).headers["etag"]
        for known in (etag, f'"77", {etag}', f"W/{etag}", "*"):
            same = await client.get(path, headers={"If-None-Match": known})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag), known
        await store(client, coord)
        changed = await client.get(path, headers={"If-None-Match": etag})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')


async def test_a_revived_memory_continues_its_version(client, fresh):
    """An ETag, and an event id, must never name two contents."""
    coord = fresh()
    path = f"/memories/{','.join(map(str, coord))}"
    assert (await store(client, coord, "first life")).json()["version"] == 1
    assert (await client.delete(path)).json()["version"] == 2
    revived = await store(client, coord, "second life")
    assert revived.json()["version"] == 3
    read = (await client.get(path)).json()
    assert read["payload"] == {"text": "second life"}
    assert read["created"] == read["updated"]


class TestRemember:
    async def test_text_is_kept_under_a_coordinate_derived_from_it(self, client):
        text = "Carol prefers tea over coffee"
        first = await client.post("/remember", json={"text": text, "metadata": {"source": "chat"}, "importance": 0.5})
        assert first.status_code == 200
        assert first.json()["coord"] == list(derive_coordinate("text", text))
        again = await client.post("/remember", json={"text": text, "metadata": {"source": "mail"}})
        assert (again.json()["id"], again.json()["version"]) == (first.json()["id"], 2)
        read = (await client.get("/memories/" + ",".join(map(str, first.json()["coord"])))).json()
        assert read["payload"] == {"text": text, "source": "mail"}
        (hit, *_) = await found(client, "what does Carol drink?")
        assert hit["id"] == first.json()["id"]

    async def test_metadata_may_not_replace_the_text(self, client, assert_problem):
        answer = await client.post("/remember", json={"text": "one", "metadata": {"text": "two"}})
        assert "metadata.text" in assert_problem(answer, 422)["detail"]


async def test_every_route_is_served_under_v1_too(client, fresh):
    coord = fresh()
    stored = await client.post("/v1/store", json={"coord": coord, "payload": {"text": "an old client's memory"}})
    assert stored.json()["version"] == 1
    path = f"/v1/memories/{','.join(map(str, coord))}"
    assert (await client.get(path)).status_code == 200
    assert (await client.post("/v1/recall", json={"query": "old client"})).json()["matches"]
    assert (await client.get("/v1/recall", params={"query": "old client"})).json()["matches"]
    assert (await client.post("/v1/remember", json={"text": "v1"})).status_code == 200
    bulk = await client.post("/v1/store_bulk", json={"items": [{"coord": coord, "payload": {}}]})
    assert bulk.json()["results"][0]["version"] == 2
    assert (await client.get("/v1/stats")).status_code == 200
    assert (await client.delete(path)).json()["version"] == 3


async def test_stats_count_the_live_memories_of_this_namespace(client, fresh):
    before = (await client.get("/stats")).json()
    coord = fresh()
    await store(client, coord, type="semantic")
    await store(client, coord, type="episodic")
    await store(client, fresh(), type="semantic")
    after = (await client.get("/stats")).json()
    assert after["memories"] == before["memories"] + 2
    assert after["types"]["semantic"] == before["types"].get("semantic", 0) + 1
    assert after["namespace"] == NAMESPACE
    assert after["dimensions"] == 256
    await client.delete(f"/memories/{','.join(map(str, coord))}")
    assert (await client.get("/stats")).json()["memories"] == before["memories"] + 1


async def test_the_stored_vector_is_a_unit_float32_in_little_endian(api, client, fresh):
    import numpy as np

    stored = (await store(client, fresh(), "a sentence with meaning")).json()
    (row,) = await api.rows(
        "select embedder_id, embedding from vectors join memories using (seq) where id = $1", UUID(stored["id"])
    )
    vector = np.frombuffer(row["embedding"], dtype="<f4")
    assert vector.shape == (256,)
    assert math.isclose(float(np.linalg.norm(vector)), 1.0, rel_tol=1e-5)
    assert row["embedder_id"] == (await client.get("/stats")).json()["embedder"]
