"""Starting: what a process asks for, waits for, refuses, and still knows after a restart."""

import asyncio
import json
from pathlib import Path

import pytest

STORE = {"coord": [1, 2], "payload": {"text": "Alice keeps bees"}}


def told(api):
    """The messages that the process logged, by level."""
    return [(line["level"], line["message"]) for line in map(json.loads, api.logged.splitlines())]


def ended(api, seconds=20):
    return api.process.wait(seconds)


def test_without_a_token_it_does_not_start(starter, shared_url):
    api = starter.make(shared_url)
    del api.environment["SOMA_API_TOKEN"], api.environment["SOMA_API_READ_TOKEN"]
    api.start()
    assert ended(api) == 2
    ((level, message),) = told(api)
    assert level == "critical"
    assert "SOMA_API_TOKEN" in message


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SOMA_API_TOKEN", "short", "at least 16 characters"),
        ("SOMA_API_TOKEN", "tökën-ünknöwn-hërë", "ASCII"),
        ("SOMA_API_PORT", "web", "SOMA_API_PORT"),
        ("SOMA_API_PORT", "70000", "SOMA_API_PORT"),
        ("POSTGRES_TIMEOUT_SECONDS", "0", "POSTGRES_TIMEOUT_SECONDS"),
        ("SOMA_EMBEDDING_PROVIDER", "gpt", "SOMA_EMBEDDING_PROVIDER"),
        ("SOMA_ENV_FILE", "/nowhere/at/all", "SOMA_ENV_FILE"),
        ("POSTGRES_URL", "http://example.org", "POSTGRES_URL"),
        ("POSTGRES_URL", "postgresql://localhost:port/soma", "POSTGRES_URL"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_it_with_2(starter, shared_url, variable, value, says):
    api = starter.start(shared_url, **{variable: value})
    assert ended(api) == 2
    level, message = told(api)[-1]
    assert level == "critical"
    assert says in message
    assert "Traceback" not in api.logged


def test_a_misspelt_variable_is_pointed_out(starter, shared_url):
    api = starter.serve(shared_url, SOMA_API_PRT="1234")
    assert ("warning", "SOMA_API_PRT is not a setting; did you mean SOMA_API_PORT?") in told(api)


async def test_a_token_from_a_file_and_settings_from_another_are_honoured(starter, shared_url, tmp_path: Path):
    (tmp_path / "token").write_text("a-token-out-of-a-file\n")
    api = starter.make(shared_url)
    del api.environment["SOMA_API_TOKEN"]
    (tmp_path / "settings").write_text(f"# comment\nSOMA_API_TOKEN_FILE={tmp_path / 'token'}\nSOMA_LOG_LEVEL=debug\n")
    api.environment["SOMA_ENV_FILE"] = str(tmp_path / "settings")
    api.start()
    api.wait_until_ready()
    async with api.client("a-token-out-of-a-file") as client:
        assert (await client.post("/store", json=STORE)).status_code == 200


async def test_two_processes_that_start_at_once_on_an_empty_database_both_come_up(starter, database):
    apis = [starter.start(database, "mem_both") for _ in range(3)]
    for api in apis:
        api.wait_until_ready()
    rows = await apis[0].rows("select version from schema_migrations")
    assert [row["version"] for row in rows] == sorted({row["version"] for row in rows})
    async with apis[0].client() as first, apis[2].client() as third:
        token = (await first.post("/store", json=STORE)).json()["token"]
        matches = (await third.post("/recall", json={"query": "bees", "token": token})).json()["matches"]
        assert len(matches) == 1
    assert not [message for level, message in told(apis[1]) if level in ("error", "critical")]


async def test_after_a_restart_everything_is_still_known(starter, shared_url):
    """Regression: what was remembered beside Postgres was lost at restart, and every memory became 56 years old."""
    api = starter.serve(shared_url)
    async with api.client() as client:
        items = [{"coord": [n], "payload": {"text": f"bee number {n}"}, "importance": n % 7} for n in range(600)]
        await client.post("/store_bulk", json={"items": items})
        await client.delete("/memories/5")
        await client.post("/store", json={"coord": [6], "payload": {"text": "a changed mind"}})
        questions = [{"query": "bee 17"}, {"query": "changed", "scoring": "classic"}, {"query": "number", "top_k": 700}]
        before = [(await client.post("/recall", json=question)).json()["matches"] for question in questions]
        stats = (await client.get("/stats")).json()
        memory = (await client.get("/memories/6")).json()
    assert api.stop() in (0, -15)
    api.start()
    api.wait_until_ready()
    async with api.client() as client:
        assert [(await client.post("/recall", json=question)).json()["matches"] for question in questions] == before
        assert (await client.get("/stats")).json() == stats
        assert (await client.get("/memories/6")).json() == memory
        assert (await client.get("/memories/5")).status_code == 404
    assert stats["memories"] == 599


async def test_a_killed_process_keeps_what_it_acknowledged(starter, shared_url):
    api = starter.serve(shared_url)
    async with api.client() as client:
        for number in range(20):
            assert (await client.post("/store", json=STORE | {"coord": [number]})).status_code == 200
    api.kill()
    api.start()
    api.wait_until_ready()
    async with api.client() as client:
        assert (await client.get("/stats")).json()["memories"] == 20


async def test_another_embedder_than_the_stored_one_is_an_error_that_says_what_to_do(starter, shared_url):
    first = starter.serve(shared_url)
    async with first.client() as client:
        await client.post("/store", json=STORE)
    second = starter.start(shared_url, first.schema, SOMA_EMBEDDING_PROVIDER="hash")
    assert ended(second) == 1
    (message,) = [message for level, message in told(second) if level == "critical"]
    assert "potion" in message
    assert "hash-v2" in message
    assert "SOMA_EMBEDDING_PROVIDER" in message
    async with first.client() as client:
        assert (await client.get("/memories/1,2")).status_code == 200


async def test_other_dimensions_of_the_hash_embedder_are_another_embedder(starter, shared_url):
    first = starter.serve(shared_url, SOMA_EMBEDDING_PROVIDER="hash", SOMA_EMBEDDING_DIMENSIONS="64")
    second = starter.start(shared_url, first.schema, SOMA_EMBEDDING_PROVIDER="hash", SOMA_EMBEDDING_DIMENSIONS="128")
    assert ended(second) == 1
    assert "64" in second.logged
    assert "128" in second.logged


LATER = "insert into schema_migrations (version, title, stage, checksum) values (9999, 'later', '{stage}', '')"


async def test_a_schema_that_a_newer_build_has_cleared_up_is_refused(starter, shared_url):
    api = starter.serve(shared_url)
    async with api.connect() as connection:
        await connection.execute(LATER.format(stage="post"))
    second = starter.start(shared_url, api.schema)
    assert ended(second) == 1
    assert "newer than this build" in second.logged


@pytest.mark.parametrize("migrates", ["true", "false"])
async def test_a_schema_that_is_prepared_for_a_newer_build_is_served(starter, shared_url, migrates):
    """A process of before that starts again in the middle of a roll-out must come up."""
    api = starter.serve(shared_url)
    async with api.connect() as connection:
        await connection.execute(LATER.format(stage="pre"))
    second = starter.serve(shared_url, api.schema, SOMA_MIGRATE_ON_START=migrates)
    async with second.client() as client:
        stored = await client.post("/store", json={"coord": "1,2", "payload": {"text": "in between"}})
    assert stored.status_code == 200


async def test_without_migrations_it_waits_for_the_operator(starter, shared_url, eventually):
    api = starter.start(shared_url, SOMA_MIGRATE_ON_START="false")

    async def waits():
        try:
            async with api.client() as client:
                answer = await client.get("/readyz")
        except OSError:
            return False
        except Exception as error:  # the port is not open yet
            assert "connect" in str(error).lower()
            return False
        return answer.status_code == 503 and "exist" in answer.json()["parts"]["database"].get("detail", "")

    await eventually(waits)
    assert (await api.rows("select count(*) from pg_namespace where nspname = $1", api.schema))[0][0] == 0
    migrating = starter.serve(shared_url, api.schema)
    assert migrating.process.poll() is None
    api.wait_until_ready()


async def test_starts_that_fail_again_and_again_leave_no_connections_behind(starter, shared_url, eventually):
    api = starter.serve(shared_url)
    async with api.connect() as connection:
        await connection.execute("alter table metadata rename to metadata_elsewhere")
        second = starter.start(shared_url, api.schema, SOMA_MEMORY_NAMESPACE="team-a/leaking")
        query, seen = "select pid from pg_stat_activity where application_name like 'memory % team-a/leaking'", set()

        async def has_tried_several_times():
            open_now = {row["pid"] for row in await connection.fetch(query)}
            assert len(open_now) <= 3
            seen.update(open_now)
            return len(seen) >= 8

        await eventually(has_tried_several_times)
        await connection.execute("alter table metadata_elsewhere rename to metadata")
    second.wait_until_ready()


async def test_a_schema_with_an_odd_name_works(starter, shared_url):
    api = starter.serve(shared_url, 'we"ird Schema; --')
    async with api.client() as client:
        stored = await client.post("/store", json=STORE)
        assert stored.status_code == 200
        assert (await client.post("/recall", json={"query": "bees"})).json()["matches"]
    rows = await api.rows("select 1 from pg_namespace where nspname = $1", api.schema)
    assert len(rows) == 1


async def test_a_stop_lets_running_requests_finish(starter, shared_url):
    api = starter.serve(shared_url)
    async with api.client() as client:
        items = [{"coord": [n], "payload": {"text": f"memory {n}"}} for n in range(3_000)]
        request = asyncio.create_task(client.post("/store_bulk", json={"items": items}))
        await asyncio.sleep(0.15)
        api.process.terminate()
        answer = await request
    assert answer.status_code == 200
    assert answer.json()["stored"] == 3_000
    assert api.process.wait(15) in (0, -15)
