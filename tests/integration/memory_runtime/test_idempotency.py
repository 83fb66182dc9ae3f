"""`Idempotency-Key`: a write that is sent again happens once and is answered alike."""

import asyncio
from uuid import UUID, uuid4

import pytest


def key():
    return {"Idempotency-Key": uuid4().hex}


def requests(fresh):
    """One request of each kind that writes."""
    coord = fresh()
    return {
        "store": ("POST", "/store", {"coord": coord, "payload": {"text": "once"}}),
        "remember": ("POST", "/remember", {"text": f"once {coord}"}),
        "bulk": ("POST", "/store_bulk", {"items": [{"coord": fresh(), "payload": {"n": n}} for n in range(3)]}),
        "partial bulk": (
            "POST",
            "/store_bulk",
            {"items": [{"coord": coord, "payload": {}}, {"coord": []}], "atomic": False},
        ),
        "delete": ("DELETE", f"/memories/{','.join(map(str, coord))}", None),
    }


KINDS = ["store", "remember", "bulk", "partial bulk", "delete"]


async def prepare(client, kind, path):
    if kind == "delete":
        coord = [float(part) for part in path.removeprefix("/memories/").split(",")]
        await client.post("/store", json={"coord": coord, "payload": {}})


def said(answer):
    return answer.status_code, answer.content, answer.headers.get("etag"), answer.headers["consistency-token"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_replay_answers_the_same_and_writes_nothing(api, client, fresh, kind):
    method, path, body = requests(fresh)[kind]
    await prepare(client, kind, path)
    headers = key()
    first = await client.request(method, path, json=body, headers=headers)
    assert first.status_code == 200, first.text
    after_first = await api.counts()
    again = await client.request(method, path, json=body, headers=headers)
    assert said(again) == said(first)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await api.counts() == after_first


@pytest.mark.parametrize("kind", KINDS)
async def test_concurrent_requests_under_one_key_write_once(clients, pair, fresh, kind):
    """Also when they reach different processes."""
    method, path, body = requests(fresh)[kind]
    await prepare(clients[0], kind, path)
    headers, before = key(), await pair[0].counts()
    answers = await asyncio.gather(
        *(clients[at % 2].request(method, path, json=body, headers=headers) for at in range(6))
    )
    assert {said(answer) for answer in answers} == {said(answers[0])}
    assert answers[0].status_code == 200
    assert sorted("idempotency-replayed" in answer.headers for answer in answers) == [False] + [True] * 5
    written = 3 if kind == "bulk" else 1
    assert (await pair[0].counts())[3] == before[3] + written


async def test_a_replay_by_the_other_process_answers_the_same(clients, fresh):
    body, headers = {"coord": fresh(), "payload": {"text": "once"}}, key()
    first = await clients[0].post("/store", json=body, headers=headers)
    again = await clients[1].post("/store", json=body, headers=headers)
    assert said(again) == said(first)


async def test_a_replay_after_later_changes_still_gives_the_first_answer(client, fresh):
    coord, headers = fresh(), key()
    body = {"coord": coord, "payload": {"text": "once"}}
    first = await client.post("/store", json=body, headers=headers)
    await client.post("/store", json={"coord": coord, "payload": {"text": "later"}})
    again = await client.post("/store", json=body, headers=headers)
    assert said(again) == said(first)
    read = (await client.get(f"/memories/{','.join(map(str, coord))}")).json()
    assert (read["version"], read["payload"]) == (2, {"text": "later"})


@pytest.mark.parametrize("kind", ["store", "remember", "bulk"])
async def test_another_body_under_the_same_key_is_refused(api, client, fresh, assert_problem, kind):
    headers = key()
    method, path, body = requests(fresh)[kind]
    assert (await client.request(method, path, json=body, headers=headers)).status_code == 200
    after_first = await api.counts()
    method, path, body = requests(fresh)[kind]
    assert_problem(await client.request(method, path, json=body, headers=headers), 422, "Idempotency-Key")
    assert await api.counts() == after_first


async def test_a_key_stands_for_one_route_and_one_precondition(client, fresh, assert_problem):
    coord, headers = fresh(), key()
    body = {"coord": coord, "payload": {}}
    await client.post("/store", json=body, headers=headers)
    delete = await client.delete(f"/memories/{','.join(map(str, coord))}", headers=headers)
    assert_problem(delete, 422, "Idempotency-Key")
    conditional = await client.post("/store", json=body, headers=headers | {"If-Match": '"1"'})
    assert_problem(conditional, 422, "Idempotency-Key")
    assert (await client.post("/v1/store", json=body, headers=headers)).headers["idempotency-replayed"] == "true"


async def test_a_refused_write_does_not_use_up_its_key(client, fresh, assert_problem):
    coord, headers = fresh(), key()
    body = {"coord": coord, "payload": {}}
    assert_problem(await client.post("/store", json=body, headers=headers | {"If-Match": '"1"'}), 412)
    answer = await client.post("/store", json=body, headers=headers)
    assert answer.status_code == 200
    assert "idempotency-replayed" not in answer.headers
    path = f"/memories/{','.join(map(str, fresh()))}"
    assert_problem(await client.delete(path, headers=(other := key())), 404)
    assert_problem(await client.delete(path, headers=other), 404)


@pytest.mark.parametrize("bad", ["", "x" * 256, "x" * 7000, "tab\tinside"], ids=len)
async def test_an_unusable_key_is_refused(api, client, fresh, assert_problem, bad):
    before = await api.counts()
    body = {"coord": fresh(), "payload": {}}
    answer = await client.post("/store", json=body, headers={"Idempotency-Key": bad})
    assert_problem(answer, 422, "Idempotency-Key")
    assert await api.counts() == before


async def test_a_key_of_255_characters_outside_ascii_works(client, fresh):
    body, headers = {"coord": fresh(), "payload": {}}, {"Idempotency-Key": ("é" * 255).encode("latin-1")}
    first = await client.post("/store", json=body, headers=headers)
    assert said(await client.post("/store", json=body, headers=headers)) == said(first)


async def test_a_key_is_kept_with_the_row_it_stands_for(api, client, fresh):
    """Key and write commit together: there is no moment in which only one of them exists."""
    stored = await client.post("/store", json={"coord": fresh(), "payload": {}}, headers=(name := key()))
    (row,) = await api.rows(
        "select k.response, m.changed_in, m.xmin::text = k.xmin::text as together from idempotency_keys k, memories m"
        " where k.key like '%' || $1 and m.id = $2",
        name["Idempotency-Key"],
        UUID(stored.json()["id"]),
    )
    assert row["together"] is True
