"""Storing many memories at once: all or nothing, or each by itself."""

from uuid import UUID

import pytest


def item(coord, text="a bulk item", **more):
    return {"coord": coord, "payload": {"text": text}, **more}


@pytest.mark.parametrize("atomic", [{}, {"atomic": True}, {"atomic": False}])
async def test_many_items_are_stored_in_their_order(client, fresh, atomic):
    items = [item(fresh(), f"item {number}", importance=number) for number in range(50)]
    answer = await client.post("/store_bulk", json={"items": items, **atomic})
    assert answer.status_code == 200
    body = answer.json()
    assert body["stored"] == 50
    assert [line["coord"] for line in body["results"]] == [each["coord"] for each in items]
    assert all(line["ok"] and line["version"] == 1 for line in body["results"])
    assert body["token"] == answer.headers["consistency-token"]
    for each, line in zip(items[::10], body["results"][::10], strict=True):
        read = (await client.get(f"/memories/{','.join(map(str, each['coord']))}")).json()
        assert (read["id"], read["payload"]) == (line["id"], each["payload"])


FAULTY = [
    ({"coord": [], "payload": {}}, "coord"),
    ({"payload": {}}, "coord"),
    ({"coord": [1], "payload": []}, "payload"),
    ({"coord": [1], "payload": {}, "type": "procedural"}, "type"),
    ({"coord": [1], "payload": {}, "importance": -1}, "importance"),
    ({"coord": [1], "payload": {}, "body": 1}, "body"),
    ("not an object", ""),
]


@pytest.mark.parametrize(("faulty", "field"), FAULTY, ids=[str(fault)[:40] for fault, _ in FAULTY])
async def test_one_faulty_item_is_named_and_nothing_is_stored(api, client, fresh, assert_problem, faulty, field):
    before = await api.counts()
    items = [item(fresh()), item(fresh()), faulty, item(fresh())]
    name = f"items.2.{field}".rstrip(".")
    problem = assert_problem(await client.post("/store_bulk", json={"items": items}), 422, name)
    assert problem["errors"] == [{"field": name, "detail": problem["errors"][0]["detail"]}]
    assert await api.counts() == before


async def test_every_faulty_item_is_named(client, fresh, assert_problem):
    items = [item([]), item(fresh()), item(["x"]), item([1] * 65)]
    problem = assert_problem(await client.post("/store_bulk", json={"items": items}), 422, "items.0.coord")
    assert [fault["field"] for fault in problem["errors"]] == ["items.0.coord", "items.2.coord", "items.3.coord"]


async def test_without_atomic_the_valid_items_are_stored_and_the_others_reported(api, client, fresh):
    good, other = fresh(), fresh()
    items = [item(["x"]), item(good, "kept"), {"coord": fresh(), "payload": {}, "type": "?"}, item(other, "kept too")]
    answer = await client.post("/store_bulk", json={"items": items, "atomic": False})
    assert answer.status_code == 200
    body = answer.json()
    assert body["stored"] == 2
    assert [line["ok"] for line in body["results"]] == [False, True, False, True]
    assert body["results"][0]["error"]["field"] == "items.0.coord"
    assert body["results"][2]["error"]["field"] == "items.2.type"
    assert body["results"][1]["coord"] == good
    ids = [UUID(line["id"]) for line in body["results"] if line["ok"]]
    assert len(await api.rows("select from memories where id = any ($1)", ids)) == 2


async def test_a_coordinate_named_twice_in_one_bulk_gets_two_versions_and_the_last_content(api, client, fresh):
    coord, other = fresh(), fresh()
    items = [item(coord, "first"), item(other), item(coord, "second"), item(coord, "third")]
    body = (await client.post("/store_bulk", json={"items": items})).json()
    assert [line["version"] for line in body["results"]] == [1, 1, 2, 3]
    read = (await client.get(f"/memories/{','.join(map(str, coord))}")).json()
    assert (read["version"], read["payload"]) == (3, {"text": "third"})
    events = await api.rows("select version from outbox where memory_id = $1 order by position", UUID(read["id"]))
    assert [event["version"] for event in events] == [1, 2, 3]
    answer = await client.post("/recall", json={"query": "third", "token": body["token"], "filters": {"text": "third"}})
    assert [hit["version"] for hit in answer.json()["matches"]] == [3]


async def test_five_thousand_items_are_stored_and_one_more_is_refused(api, client, assert_problem):
    items = [item([5000.0, number], f"note {number} about subject {number % 97}") for number in range(5_001)]
    before = await api.counts()
    problem = assert_problem(await client.post("/store_bulk", json={"items": items}), 422, "items")
    assert "5000" in problem["detail"]
    assert await api.counts() == before

    answer = await client.post("/store_bulk", json={"items": items[:-1]})
    assert answer.status_code == 200
    assert answer.json()["stored"] == 5_000
    (row,) = await api.rows(
        "select count(*) as rows, count(distinct m.changed_in::text) as transactions, count(v.seq) as vectors"
        " from memories m left join vectors v using (seq) where coord[1] = 5000"
    )
    assert tuple(row) == (5_000, 1, 5_000)
    matches = await client.post("/recall", json={"query": "note 4711", "token": answer.json()["token"]})
    assert matches.json()["matches"][0]["payload"] == items[4711]["payload"]


async def test_an_empty_bulk_is_refused(client, assert_problem):
    assert_problem(await client.post("/store_bulk", json={"items": []}), 422, "items")


async def test_writers_of_the_same_memories_in_opposite_order_do_not_block_one_another(client, fresh):
    import asyncio

    coords = [fresh() for _ in range(40)]
    forwards = {"items": [item(coord, "forwards") for coord in coords]}
    backwards = {"items": [item(coord, "backwards") for coord in reversed(coords)]}
    answers = await asyncio.gather(*(client.post("/store_bulk", json=body) for body in [forwards, backwards] * 8))
    assert {answer.status_code for answer in answers} == {200}
    versions = {
        (await client.get(f"/memories/{','.join(map(str, coord))}")).json()["version"]
        for coord in (coords[0], coords[-1])
    }
    assert versions == {16}
