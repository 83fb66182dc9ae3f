"""A read-only process: it recalls what is stored, and no token makes it store or delete."""

import asyncio
import json
import logging
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from postgres_tenants import address_of, converge, new_tenant, run, run_as_tenant

from memory_contracts.settings import RuntimeSettings
from memory_operator.providers.postgres.client import PostgresBackend
from memory_runtime.composition import compose
from memory_runtime.services import follow

TEXT = "Alice keeps bees"
STORED = {"coord": [1, 2], "payload": {"text": TEXT}}
WRITES = {
    "store": ("POST", "/store", {"coord": [3, 4], "payload": {"text": "a wasp"}}),
    "store again": ("POST", "/v1/store", {"coord": [1, 2], "payload": {"text": "a wasp"}}),
    "store_bulk": ("POST", "/store_bulk", {"items": [{"coord": [3, 4], "payload": {"text": "a wasp"}}]}),
    "remember": ("POST", "/remember", {"text": "a wasp"}),
    "forget": ("DELETE", "/memories/1,2", None),
}


@pytest.fixture(scope="module")
def reader(module_starter, shared_url):
    """A read-only process on a schema in which another has stored one memory before it ended."""
    schema = f"mem_{uuid4().hex[:12]}"
    writer = module_starter.serve(shared_url, schema)
    headers = {"Authorization": f"Bearer {writer.environment['SOMA_API_TOKEN']}"}
    assert httpx.post(f"{writer.url}/store", json=STORED, headers=headers).status_code == 200
    writer.stop()
    return module_starter.serve(shared_url, schema, SOMA_READ_ONLY="true", SOMA_MIGRATE_ON_START="false")


async def test_what_is_stored_is_recalled(reader):
    async with reader.client() as client:
        answer = await client.post("/recall", json={"query": "bees"})
        one = await client.get("/memories/1,2")

    assert [each["payload"]["text"] for each in answer.json()["matches"]] == [TEXT]
    assert one.json()["payload"]["text"] == TEXT


@pytest.mark.parametrize(("method", "path", "body"), WRITES.values(), ids=WRITES)
async def test_a_write_is_refused_in_a_sentence_and_changes_nothing(reader, assert_problem, method, path, body):
    before = await reader.counts()
    async with reader.client() as client:
        answer = await client.request(method, path, json=body)

    assert "read-only" in assert_problem(answer, 403)["detail"]
    # The token is not at fault, and another one would not help.
    assert "WWW-Authenticate" not in answer.headers
    assert await reader.counts() == before


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("a-token-of-nobody", 401), ("a-token-that-may-only-read", 403)]
)
async def test_who_may_not_write_anyway_is_told_so(reader, assert_problem, token, status):
    async with reader.client(token) as client:
        answer = await client.post("/store", json=STORED)

    assert_problem(answer, status, "Authorization")


@pytest.fixture
async def tenant(database, starter):
    """A tenant in which one memory was stored and one deleted; by now its role may only SELECT."""
    full = new_tenant()
    async with PostgresBackend(address_of(database)) as backend:
        await converge(backend, full)
        writer = starter.serve(url_for(database, full), full.schema, SOMA_MIGRATE_ON_START="false")
        async with writer.client() as client:
            await client.post("/store", json=STORED)
            await client.post("/store", json={"coord": [5, 6], "payload": {"text": "a wasp"}})
            await client.delete("/memories/5,6")
        writer.stop()
        await converge(backend, read_only := replace(full, access="read"))
    return read_only


def url_for(database, tenant):
    return (
        urlsplit(database)._replace(netloc=f"{tenant.active.role}:{tenant.active.password}@{host(database)}").geturl()
    )


def host(database):
    return urlsplit(database).netloc.rpartition("@")[2]


async def test_a_role_that_may_only_read_is_enough(starter, database, tenant):
    # Without a word about migrations, which it leaves alone as well.
    api = starter.serve(url_for(database, tenant), tenant.schema, SOMA_READ_ONLY="true")
    async with api.client() as client:
        answer = await client.post("/recall", json={"query": "bees"})
        assert [each["payload"]["text"] for each in answer.json()["matches"]] == [TEXT]
        await asyncio.sleep(2)  # so that it has looked for changes again, and had time to complain
        assert (await client.get("/readyz")).json()["ok"]

    assert {json.loads(line)["level"] for line in api.logged.splitlines()} == {"info"}


async def test_what_another_process_stores_is_recalled(starter, database, tenant):
    reader = starter.serve(url_for(database, tenant), tenant.schema, SOMA_READ_ONLY="true")
    writer = starter.serve(database, tenant.schema)
    async with writer.client() as one, reader.client() as other:
        token = (await one.post("/store", json={"coord": [7], "payload": {"text": "a hornet"}})).json()["token"]
        answer = await other.post("/recall", json={"query": "hornet", "token": token, "top_k": 1})
    assert [each["payload"]["text"] for each in answer.json()["matches"]] == ["a hornet"]


async def test_it_cleans_nothing_up(database, tenant, monkeypatch, caplog):
    """Neither would it be allowed to, nor does it try again and again."""
    monkeypatch.setattr(follow, "EXPIRE_EVERY", 0.01)
    settings = RuntimeSettings(
        postgres_url=url_for(database, tenant),
        postgres_schema=tenant.schema,
        read_only=True,
        retention_hours=1e-9,
    )
    application = compose(settings)
    with caplog.at_level(logging.WARNING):
        following = asyncio.create_task(application.follower.run())
        await asyncio.sleep(1)
        assert not following.done()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await application.database.close()

    assert application.feed.loaded
    assert caplog.records == []
    left = await run_as_tenant(
        address_of(database), tenant, f"select from {tenant.schema}.memories where deleted_at is not null"
    )
    assert len(left) == 1


@pytest.mark.parametrize(("method", "path", "body"), WRITES.values(), ids=WRITES)
async def test_a_process_that_has_not_heard_of_it_yet_refuses_in_the_same_words(
    starter, database, assert_problem, method, path, body
):
    """Regression: until the pods were replaced, the refusal of Postgres was a 503, and the client tried again."""
    tenant = new_tenant()
    async with PostgresBackend(address_of(database)) as backend:
        await converge(backend, tenant)
        api = starter.serve(url_for(database, tenant), tenant.schema, SOMA_MIGRATE_ON_START="false")
        async with api.client() as client:
            await client.post("/store", json=STORED)
            await converge(backend, replace(tenant, access="read"))

            answer = await client.request(method, path, json=body)

            assert "read-only" in assert_problem(answer, 403)["detail"]
            (hit,) = (await client.post("/recall", json={"query": "bees"})).json()["matches"]
            assert hit["payload"]["text"] == TEXT
            assert (await client.get("/readyz")).is_success

            await converge(backend, tenant)
            assert (await client.request(method, path, json=body)).is_success


async def test_a_process_that_starts_before_it_has_heard_of_it_waits(starter, eventually, database, tenant):
    api = starter.start(url_for(database, tenant), tenant.schema, SOMA_MIGRATE_ON_START="false")

    await eventually(lambda: "this namespace is read-only" in api.logged)

    assert api.process.poll() is None
    async with PostgresBackend(address_of(database)) as backend:
        await converge(backend, replace(tenant, access="full"))
    api.wait_until_ready()


async def test_a_namespace_that_never_stored_anything_is_served(starter, database):
    empty = new_tenant(access="read")
    async with PostgresBackend(address_of(database)) as backend:
        await converge(backend, empty)
    api = starter.serve(url_for(database, empty), empty.schema, SOMA_READ_ONLY="true")
    async with api.client() as client:
        assert (await client.post("/recall", json={"query": "bees"})).json()["matches"] == []
    assert await run(address_of(database), f"select * from {empty.schema}.metadata") == []


async def test_vectors_of_another_embedder_are_refused_as_ever(starter, database, tenant):
    api = starter.start(url_for(database, tenant), tenant.schema, SOMA_READ_ONLY="true", SOMA_EMBEDDING_PROVIDER="hash")
    assert api.process.wait(20) == 1
    assert "SOMA_EMBEDDING_PROVIDER" in api.logged
