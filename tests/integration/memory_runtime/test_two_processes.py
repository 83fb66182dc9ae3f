"""Two API processes on one namespace: what one writes, the other serves."""

import asyncio
import random
import time

import pytest


def path_of(coord):
    return f"/memories/{','.join(map(str, coord))}"


async def store(client, coord, text, **more):
    answer = await client.post("/store", json={"coord": coord, "payload": {"text": text}, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def recalled(client, query, **options):
    answer = await client.post("/recall", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()["matches"]


async def test_a_token_is_honoured_by_the_other_process_always(clients, fresh):
    """200 rounds; classic scoring, so that only the vectors in memory can find it, not the keywords in Postgres."""
    coord = fresh()
    for number in range(200):
        writer, reader = clients if number % 2 else reversed(clients)
        token = (await store(writer, coord, f"round {number}"))["token"]
        question = {
            "query": f"round {number}",
            "scoring": "classic",
            "top_k": 1000,
            "filters": {"text": f"round {number}"},
        }
        if number % 4 < 2:
            (hit,) = await recalled(reader, **question, token=token)
        else:
            answer = await reader.post("/recall", json=question, headers={"Consistency-Token": token})
            (hit,) = answer.json()["matches"]
            assert answer.headers["consistency-token"] == answer.json()["token"]
        assert hit["version"] == number + 1


async def test_tokens_are_honoured_under_concurrent_writers(clients, fresh):
    async def round_trip(number):
        mark = f"concurrent {number} {fresh()[0]}"
        writer, reader = clients if number % 2 else reversed(clients)
        token = (await store(writer, fresh(), mark))["token"]
        return await recalled(reader, mark, scoring="classic", filters={"text": mark}, token=token)

    results = await asyncio.gather(*(round_trip(number) for number in range(60)))
    assert [len(matches) for matches in results] == [1] * 60


async def test_what_one_process_showed_the_other_does_not_hide(clients, fresh):
    """Monotonic reads: the token of a recall makes the other process show no less."""
    for number in range(40):
        shown, other = clients if number % 2 else reversed(clients)
        mark = f"seen {number} {fresh()[0]}"
        await store(shown, fresh(), mark)
        question = {"query": mark, "scoring": "classic", "filters": {"text": mark}}
        answer = (await shown.post("/recall", json=question)).json()
        assert len(answer["matches"]) == 1
        assert len(await recalled(other, token=answer["token"], **question)) == 1


async def test_a_slow_transaction_is_not_skipped(pair, clients, fresh):
    """Its number is lower than those of transactions that committed before it and were already followed."""
    first, second = clients
    slow_one = (await store(first, fresh(), "slow before"))["id"]
    async with pair[0].connect() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "update memories set importance = 0.5, version = version + 1, changed_in = pg_current_xact_id(),"
            " payload = '{\"text\": \"slow after\"}', content = 'slow after' where id = $1::uuid",
            slow_one,
        )
        for number in range(5):
            token = (await store(first, fresh(), f"fast {number}"))["token"]
            await recalled(second, "fast", token=token)
        await transaction.commit()
    token = (await store(first, fresh(), "after the slow one"))["token"]
    (hit,) = await recalled(second, "slow", token=token, filters={"text": "slow after"})
    assert (hit["id"], hit["version"]) == (slow_one, 2)


async def test_the_other_process_wakes_without_a_token(clients, fresh, eventually):
    first, second = clients
    waited = []
    for number in range(5):
        mark = f"announced {number} {fresh()[0]}"
        await store(first, fresh(), mark)
        started = time.monotonic()

        async def arrived(mark=mark):
            return await recalled(second, mark, scoring="classic", filters={"text": mark})

        await eventually(arrived, 5)
        waited.append(time.monotonic() - started)
    # An announcement brings it within the turn of a hand; the look of each second would need half a second on average.
    assert sorted(waited)[2] < 1.0


async def test_a_delete_disappears_from_both_at_once(clients, fresh):
    for number in range(20):
        deleter, other = clients if number % 2 else reversed(clients)
        coord, mark = fresh(), f"short-lived {number} {fresh()[0]}"
        token = (await store(other, coord, mark))["token"]
        for client in clients:
            assert len(await recalled(client, mark, filters={"text": mark}, token=token)) == 1
        assert (await deleter.delete(path_of(coord))).status_code == 200
        for client in (other, deleter):
            assert (await client.get(path_of(coord))).status_code == 404
            assert await recalled(client, mark, filters={"text": mark}) == []
            assert all(hit["coord"] != coord for hit in await recalled(client, mark))
            assert all(hit["coord"] != coord for hit in await recalled(client, mark, scoring="classic"))


async def test_an_update_is_visible_on_the_other_process(clients, fresh, eventually):
    first, second = clients
    coord, mark = fresh(), f"opinion {fresh()[0]}"
    await store(first, coord, mark + " tea", type="episodic")
    updated = await store(second, coord, mark + " coffee", type="semantic", importance=2)
    for client in clients:
        assert (await client.get(path_of(coord))).json()["payload"] == {"text": mark + " coffee"}
        (hit, *_) = await recalled(client, mark, token=updated["token"], filters={"text": mark + " coffee"})
        assert (hit["version"], hit["type"]) == (2, "semantic")
        assert await recalled(client, mark, type="episodic", filters={"text": mark + " coffee"}) == []


async def test_a_recall_never_shows_an_old_version(clients, fresh):
    """Rows come from Postgres, so an index that lags can never bring an old text back."""
    coord, mark, written = fresh(), f"never old {fresh()[0]}", 0
    stop = asyncio.Event()

    async def write():
        nonlocal written
        while not stop.is_set():
            version = (await store(clients[0], coord, mark, importance=random.random()))["version"]
            written = version

    writer = asyncio.create_task(write())
    try:
        for _ in range(100):
            acknowledged = written
            (hit,) = await recalled(clients[1], mark, filters={"text": mark}) or [{"version": 0}]
            assert hit["version"] >= acknowledged or acknowledged == 0
    finally:
        stop.set()
        await writer


async def test_counts_agree_after_concurrent_writes_of_both(clients, fresh, eventually):
    async def write(client, number):
        coord = [8.0, number % 10]
        if number % 3:
            await store(client, coord, f"contended {number}", type=("episodic", "semantic")[number % 2])
        else:
            assert (await client.delete(path_of(coord))).status_code in (200, 404)

    await asyncio.gather(*(write(clients[number % 2], number) for number in range(120)))

    async def agree():
        one, other = [(await client.get("/stats")).json() for client in clients]
        return one == other

    await eventually(agree, 10)


async def test_concurrent_if_match_lets_exactly_one_win(clients, fresh):
    coord = fresh()
    await store(clients[0], coord, "start")
    for version in range(1, 8):
        answers = await asyncio.gather(
            *(
                clients[at % 2].post(
                    "/store", json={"coord": coord, "payload": {"at": at}}, headers={"If-Match": f'"{version}"'}
                )
                for at in range(6)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


async def test_concurrent_if_none_match_lets_exactly_one_win(clients, fresh):
    coord = fresh()
    answers = await asyncio.gather(
        *(
            clients[at % 2].post("/store", json={"coord": coord, "payload": {"at": at}}, headers={"If-None-Match": "*"})
            for at in range(8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_concurrent_updates_of_one_memory_are_all_counted(clients, fresh):
    coord = fresh()
    answers = await asyncio.gather(*(store(clients[at % 2], coord, f"write {at}") for at in range(40)))
    assert sorted(answer["version"] for answer in answers) == list(range(1, 41))


@pytest.mark.parametrize("seed", range(3))
async def test_random_writes_to_both_equal_a_dictionary(pair, clients, eventually, seed):
    """Stores, updates, bulks and deletes in any order, each read back through either process, against a model."""
    rng, model = random.Random(seed), {}
    # The latest write of each process. A reader knows its own writes; it is sent the token of the other's latest.
    tokens: list[str | None] = [None, None]
    coords = [(float(900 + seed), float(number)) for number in range(12)]
    versions = dict.fromkeys(coords, 0)

    def change(coord, text):
        versions[coord] += 1
        model[coord] = {"text": text, "seed": seed}
        return {"coord": list(coord), "payload": model[coord], "importance": rng.choice([0, 1, 5])}

    for step in range(150):
        at, coord = rng.randrange(2), rng.choice(coords)
        client = clients[at]
        match rng.choice(["store", "store", "bulk", "delete", "get", "recall", "recall"]):
            case "store":
                answer = await client.post("/store", json=change(coord, f"step {step}"))
                assert answer.json()["version"] == versions[coord]
                tokens[at] = answer.json()["token"]
            case "bulk":
                chosen = rng.choices(coords, k=5)
                answer = await client.post("/store_bulk", json={"items": [change(c, f"bulk {step}") for c in chosen]})
                assert answer.json()["results"][-1]["version"] == versions[chosen[-1]]
                tokens[at] = answer.json()["token"]
            case "delete":
                answer = await client.delete(path_of(coord))
                assert answer.status_code == (200 if coord in model else 404)
                if model.pop(coord, None):
                    versions[coord] += 1
                    assert answer.json()["version"] == versions[coord]
                    tokens[at] = answer.json()["token"]
            case "get":
                answer = await client.get(path_of(coord))
                assert (answer.json()["payload"] if answer.status_code == 200 else None) == model.get(coord)
            case "recall":
                options = {"filters": {"seed": seed}, "scoring": rng.choice(["classic", "hybrid"]), "top_k": 50}
                hits = await recalled(client, f"step {step}", token=tokens[1 - at], **options)
                assert {tuple(hit["coord"]): hit["payload"] for hit in hits} == model
                assert all(hit["version"] == versions[tuple(hit["coord"])] for hit in hits)
