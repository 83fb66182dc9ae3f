"""Who may call, and what probes, scrapers and readers of the documentation get."""

import re

import pytest

from memory_runtime.api.metrics import UNMATCHED

PROTECTED = [
    ("POST", "/store"),
    ("POST", "/store_bulk"),
    ("POST", "/remember"),
    ("POST", "/recall"),
    ("GET", "/recall?query=x"),
    ("GET", "/memories/1"),
    ("DELETE", "/memories/1"),
    ("GET", "/stats"),
]
BOTH = [*PROTECTED, *((method, f"/v1{path}") for method, path in PROTECTED)]
BODIES = {
    "/store": {"coord": [1], "payload": {}},
    "/store_bulk": {"items": [{"coord": [1], "payload": {}}]},
    "/remember": {"text": "x"},
    "/recall": {"query": "x"},
}


@pytest.mark.parametrize(("method", "path"), BOTH)
async def test_nobody_is_served_without_a_token(api, assert_problem, method, path):
    before = await api.counts()
    async with api.client(token=None) as stranger:
        answer = await stranger.request(method, path, json=BODIES.get(path.removeprefix("/v1")))
    assert_problem(answer, 401, "Authorization")
    assert answer.headers["www-authenticate"] == 'Bearer realm="memory"'
    assert await api.counts() == before


FAULTY_CREDENTIALS = {
    "unknown": b"Bearer another-token-of-length",
    "a prefix": b"Bearer a-token-that-may-writ",
    "longer": b"Bearer a-token-that-may-write-x",
    "another case": b"Bearer A-TOKEN-THAT-MAY-WRITE",
    "both tokens": b"Bearer a-token-that-may-write,a-token-that-may-only-read",
    "empty": b"Bearer",
    "no scheme": b"a-token-that-may-write",
    "basic": b"Basic YTp0b2tlbg==",
    "not ASCII": "Bearer tökën-ünknöwn-hërë 🐝".encode(),
    "not UTF-8": b"Bearer \xff\xfe\xfd",
    "huge": b"Bearer " + b"x" * 30_000,
}


@pytest.mark.parametrize("credentials", FAULTY_CREDENTIALS.values(), ids=FAULTY_CREDENTIALS)
async def test_an_unknown_token_is_refused(api, assert_problem, credentials):
    async with api.client(token=None) as stranger:
        answer = await stranger.get("/stats", headers={"Authorization": credentials})
        assert_problem(answer, 401, "Authorization")
        assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_the_scheme_is_case_insensitive(api):
    async with api.client(token=None) as caller:
        for scheme in ("bearer", "BEARER", "Bearer "):
            answer = await caller.get("/stats", headers={"Authorization": f"{scheme} a-token-that-may-write"})
            assert answer.status_code == 200


async def test_the_token_is_checked_before_the_body_is_looked_at(api, assert_problem):
    async with api.client(token=None) as stranger:
        answer = await stranger.post("/store", content=b"no json", headers={"Content-Type": "text/plain"})
        assert_problem(answer, 401, "Authorization")


@pytest.mark.parametrize(("method", "path"), BOTH)
async def test_a_read_token_reads_and_never_writes(api, client, assert_problem, method, path):
    await client.post("/store", json={"coord": [1], "payload": {"text": "kept"}})
    before = await api.counts()
    async with api.client("a-token-that-may-only-read") as reader:
        answer = await reader.request(method, path, json=BODIES.get(path.removeprefix("/v1")))
    writes = method == "DELETE" or path.removeprefix("/v1") in ("/store", "/store_bulk", "/remember")
    if writes:
        assert_problem(answer, 403, "Authorization")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    else:
        assert answer.status_code == 200
    assert await api.counts() == before


async def test_two_callers_may_use_the_same_idempotency_key(starter, shared_url, fresh):
    api = starter.serve(shared_url, SOMA_API_TOKEN="first-token-of-the-team, second-token-of-the-team")
    headers = {"Idempotency-Key": "daily-import"}
    async with api.client("first-token-of-the-team") as first, api.client("second-token-of-the-team") as second:
        one = await first.post("/store", json={"coord": fresh(), "payload": {}}, headers=headers)
        other = await second.post("/store", json={"coord": fresh(), "payload": {}}, headers=headers)
    assert (one.status_code, other.status_code) == (200, 200)
    assert one.json()["id"] != other.json()["id"]


async def test_probes_and_documentation_need_no_token(api):
    async with api.client(token=None) as stranger:
        assert (await stranger.get("/healthz")).json() == {"ok": True}
        ready = await stranger.get("/readyz")
        assert ready.status_code == 200
        assert ready.json() == {"ok": True, "parts": {"database": {"ok": True}, "memories": {"ok": True}}}
        assert "swagger" in (await stranger.get("/docs")).text.lower()
        assert (await stranger.get("/openapi.json")).status_code == 200


async def test_openapi_describes_every_route_and_problem(client):
    document = (await client.get("/openapi.json")).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described >= {
        ("POST", "/store"),
        ("POST", "/store_bulk"),
        ("POST", "/remember"),
        ("POST", "/recall"),
        ("GET", "/recall"),
        ("GET", "/memories/{coord}"),
        ("DELETE", "/memories/{coord}"),
        ("GET", "/stats"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }
    assert {"field", "detail", "status"} <= document["components"]["schemas"]["Problem"]["properties"].keys()
    store = document["components"]["schemas"]["StoreItem"]
    assert set(store["properties"]) == {"coord", "payload", "type", "importance"}
    assert document["info"]["title"] == "Memory API"


async def samples(client):
    text = (await client.get("/metrics")).text
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


async def endpoints(client):
    return {match[1] for name in await samples(client) if (match := re.search(r'endpoint="([^"]*)"', name))}


async def test_metrics_are_labelled_by_route_template(client, fresh):
    """Regression: raw URL paths as labels made a time series of each coordinate."""
    coordinates = [",".join(map(str, fresh())) for _ in range(20)]
    for coord in coordinates:
        await client.get(f"/memories/{coord}")
        await client.delete(f"/v1/memories/{coord}")
        await client.get(f"/nothing/{coord}")
        await client.post(f"/memories/{coord}")
    await client.get("/memories/abc")
    await client.get("/recall?query=x&top_k=5")
    await client.request("PROPFIND", "/store")
    known = {"/memories/{coord}", "/recall", UNMATCHED}
    seen = await endpoints(client)
    assert known <= seen
    assert not [each for each in seen if any(coord in each for coord in coordinates)]
    assert len(seen) < 30
    methods = {match[1] for name in await samples(client) if (match := re.search(r'method="([^"]*)"', name))}
    assert methods <= {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"}


async def test_metrics_count_requests_by_status_and_memories_by_type(client, fresh):
    await client.post("/store", json={"coord": fresh(), "payload": {}, "type": "semantic"})
    before = await samples(client)
    answered = 'api_request_latency_seconds_count{endpoint="/store",method="POST",status="%s"}'
    await client.post("/store", json={"coord": fresh(), "payload": {}, "type": "semantic"})
    await client.post("/store", json={"coord": []})
    after = await samples(client)
    assert after[answered % 200] == before[answered % 200] + 1
    assert after[answered % 422] == before.get(answered % 422, 0) + 1
    assert after['memories{type="semantic"}'] == before['memories{type="semantic"}'] + 1
    assert after["change_feed_silence_seconds"] < 10


async def test_metrics_hold_no_memory_text_and_no_token(client, fresh):
    await client.post("/store", json={"coord": fresh(), "payload": {"text": "unmistakable-secret"}})
    await client.get("/recall", params={"query": "unmistakable-secret"})
    text = (await client.get("/metrics")).text
    assert "unmistakable" not in text
    assert "a-token-that" not in text


async def test_logs_hold_no_memory_text_and_no_token(api, client, fresh):
    await client.post("/store", json={"coord": fresh(), "payload": {"text": "another-secret\u0000"}})
    await client.post("/remember", json={"text": "another-secret"})
    await client.get("/recall", params={"query": "another-secret"})
    await client.get("/memories/another-secret")
    assert "another-secret" not in api.logged
    assert "a-token-that" not in api.logged
    assert api.postgres_url.split(":")[2].split("@")[0] not in api.logged
