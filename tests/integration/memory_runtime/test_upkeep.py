"""What happens beside the requests: expiry, and work that must not stand in anybody's way."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from memory_contracts.settings import RuntimeSettings
from memory_runtime.adapters.postgres.database import Database
from memory_runtime.adapters.postgres.memories import SQL as MEMORIES
from memory_runtime.adapters.postgres.memories import PostgresMemories
from memory_runtime.adapters.postgres.queries import queries

CHANGES = queries("changes")


@pytest.fixture
async def database(api):
    settings = RuntimeSettings(postgres_url=api.postgres_url, postgres_schema=api.schema, migrate_on_start=False)
    opened = Database(settings)
    await opened.open()
    yield opened
    await opened.close()


async def test_only_what_is_beyond_its_retention_expires(api, client, fresh, database):
    old, young = fresh(), fresh()
    for coord in (old, young):
        headers = {"Idempotency-Key": f"key of {coord}"}
        await client.post("/store", json={"coord": coord, "payload": {"text": "x"}}, headers=headers)
        await client.delete(f"/memories/{','.join(map(str, coord))}")
    async with api.connect() as connection:
        for statement in (
            "update memories set deleted_at = now() - interval '25 hours' where coord = $1::float8[]",
            "update outbox o set created_at = now() - interval '25 hours' from memories m"
            " where m.id = o.memory_id and m.coord = $1::float8[]",
        ):
            await connection.execute(statement, old)
        await connection.execute(
            "update idempotency_keys set created_at = now() - interval '25 hours' where key like $1", f"%key of {old}"
        )
    dropped = await PostgresMemories(database).expire(timedelta(hours=24))
    assert {name: dropped[name] for name in ("keys", "outbox", "tombstones")} == {
        "keys": 1,
        "outbox": 2,
        "tombstones": 1,
    }
    left = await api.rows("select coord from memories where coord in ($1::float8[], $2::float8[])", old, young)
    assert [list(row["coord"]) for row in left] == [young]
    keys = await api.rows("select key from idempotency_keys where key like any ($1)", [f"%{old}", f"%{young}"])
    assert [row["key"].partition(":")[2] for row in keys] == [f"key of {young}"]


async def test_a_live_memory_never_expires(api, client, fresh, database):
    stored = (await client.post("/store", json={"coord": fresh(), "payload": {"text": "old but alive"}})).json()
    async with api.connect() as connection:
        await connection.execute(
            "update memories set created_at = 'epoch', updated_at = 'epoch' where id = $1", UUID(stored["id"])
        )
    await PostgresMemories(database).expire(timedelta(hours=24))
    assert len(await api.rows("select from memories where id = $1", UUID(stored["id"]))) == 1


async def test_the_outbox_holds_one_event_of_each_change_in_order(api, client, fresh):
    coord = fresh()
    await client.post("/store", json={"coord": coord, "payload": {"text": "one"}, "importance": 2})
    await client.post("/store", json={"coord": coord, "payload": {"text": "two"}, "type": "semantic"})
    id_ = (await client.delete(f"/memories/{','.join(map(str, coord))}")).json()["id"]
    rows = await api.rows(
        "select kind, version, coord, type, payload, importance from outbox where memory_id = $1 order by position",
        UUID(id_),
    )
    assert [tuple(row) for row in rows] == [
        ("memory.stored", 1, coord, "episodic", '{"text": "one"}', 2.0),
        ("memory.stored", 2, coord, "semantic", '{"text": "two"}', 1.0),
        ("memory.deleted", 3, None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get", [UUID(int=1)]),
        ("by_seq", [[1, 2], None, None]),
        ("version_of", [UUID(int=1)]),
        ("forget", [UUID(int=1), None]),
        ("store", [[UUID(int=1)], ["{1}"], ["episodic"], ["{}"], [""], [1.0], [b""], "x", None, False]),
        ("store", [[UUID(int=1)], ["{1}"], ["episodic"], ["{}"], [""], [1.0], [b""], "x", 3, False]),
        ("changes", [1]),
        ("entries", [[1, 2]]),
        ("page_of_entries", [0, 10]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_no_statement_of_a_request_reads_the_whole_table(database, name, arguments):
    """Regression: every store scanned all memories."""
    async with database.connection() as connection:
        statement = (MEMORIES | CHANGES)[name]
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain {statement}", *arguments))
    assert "Seq Scan on memories" not in plan
    assert "Seq Scan on vectors" not in plan


async def test_a_large_write_does_not_hold_up_the_others(client):
    """Regression: blocking calls in `async def` stopped the whole process."""
    items = [
        {"coord": [70, n], "payload": {"text": f"a sentence of some length, number {n} " * 5}} for n in range(5_000)
    ]
    bulk = asyncio.create_task(client.post("/store_bulk", json={"items": items}))
    answered = 0
    while not bulk.done():
        assert (await client.get("/healthz")).status_code == 200
        answered += 1
        await asyncio.sleep(0.005)
    assert (await bulk).status_code == 200
    assert answered >= 20
