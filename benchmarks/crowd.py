"""Many MemoryNamespaces at once, as their users would handle them: made, edited, deleted, waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from benchmarks.cluster import SYSTEM, TEAM

PATH = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{TEAM}/memorynamespaces"
CLIENTS = 20


async def create(client: httpx.AsyncClient, prefix: str, count: int) -> None:
    async def one(number: int) -> None:
        answer = await client.post(PATH, json=namespace(f"{prefix}{number}"))
        answer.raise_for_status()

    await at_once([lambda n=n: one(n) for n in range(count)])


async def at_once(work: list[Callable[[], Awaitable[None]]]) -> None:
    gate = asyncio.Semaphore(CLIENTS)

    async def passed(each: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await each()

    await asyncio.gather(*[passed(each) for each in work])


def namespace(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryNamespace",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {
            "clusterRef": {"namespace": SYSTEM},
            "deletion": {"policy": "Delete", "acknowledgeDataLoss": True},
        },
    }


async def until_settled(client: httpx.AsyncClient, prefix: str, count: int, seconds: float = 600) -> None:
    """Wait until schema and children of all exist; pods are not part of it. A watch costs little beside listings."""
    listing = (await client.get(PATH)).raise_for_status().json()
    settled = {each["metadata"]["name"] for each in listing["items"] if is_settled(each, prefix)}
    query = {"watch": "1", "resourceVersion": listing["metadata"]["resourceVersion"]}
    async with asyncio.timeout(seconds), client.stream("GET", PATH, params=query, timeout=None) as events:
        lines = events.aiter_lines()
        while len(settled) < count:
            each = json.loads(await anext(lines))["object"]
            if is_settled(each, prefix):
                settled.add(each["metadata"]["name"])


def is_settled(item: dict[str, Any], prefix: str) -> bool:
    return item["metadata"]["name"].startswith(prefix) and "api" in item.get("status", {}) and schema_ready(item)


def schema_ready(item: dict[str, Any]) -> bool:
    return any(each["type"] == "SchemaReady" and each["status"] == "True" for each in item["status"]["conditions"])


async def acknowledged(client: httpx.AsyncClient, name: str, level: str) -> None:
    """Edit, and wait until the operator has dealt with it."""
    patch = {"spec": {"api": {"logLevel": level}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await client.patch(f"{PATH}/{name}", content=json.dumps(patch), headers=headers)
    wanted = answer.raise_for_status().json()["metadata"]["generation"]
    while True:
        status = (await client.get(f"{PATH}/{name}")).json().get("status", {})
        if status.get("observedGeneration") == wanted:
            return
        await asyncio.sleep(0.05)


async def edit_now_and_then(client: httpx.AsyncClient, name: str, latencies: list[float], stop: asyncio.Event) -> None:
    levels = ("debug", "info")
    while not stop.is_set() or not latencies:
        began = time.monotonic()
        await acknowledged(client, name, levels[len(latencies) % 2])
        latencies.append(time.monotonic() - began)
        await asyncio.sleep(0.5)


async def cycle(client: httpx.AsyncClient, name: str) -> None:
    (await client.post(PATH, json=namespace(name))).raise_for_status()
    (await client.delete(f"{PATH}/{name}")).raise_for_status()
    while (await client.get(f"{PATH}/{name}")).status_code != 404:  # noqa: ASYNC110 - the server cannot be awaited
        await asyncio.sleep(0.1)


async def touch_cluster(client: httpx.AsyncClient) -> None:
    """Change the MemoryCluster, so that everything that depends on it is looked at."""
    path = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{SYSTEM}/memoryclusters/default"
    patch = json.dumps({"spec": {"resync": {"interval": "9m"}}})
    headers = {"Content-Type": "application/merge-patch+json"}
    (await client.patch(path, content=patch, headers=headers)).raise_for_status()


async def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.1)
