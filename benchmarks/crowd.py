"""Many MemoryNamespaces at once, as their users would handle them: made, edited, deleted, waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Self

from benchmarks.api import MERGE_PATCH, Api
from benchmarks.cluster import SYSTEM, TEAM

PATH = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{TEAM}/memorynamespaces"
CLIENTS = 20
# To show its metrics takes the operator some milliseconds.
LOOK_SECONDS = 0.25


async def create(api: Api, prefix: str, count: int) -> None:
    async def one(number: int) -> None:
        await api.send("POST", PATH, namespace(f"{prefix}{number}"))

    await at_once([lambda n=n: one(n) for n in range(count)])


async def at_once(work: list[Callable[[], Awaitable[None]]], clients: int = CLIENTS) -> None:
    gate = asyncio.Semaphore(clients)

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


async def until_settled(api: Api, prefix: str, count: int, seconds: float = 600) -> None:
    """Wait until schema and children of all exist; pods are not part of it. A watch costs little beside listings."""
    listing = await api.send("GET", PATH)
    settled = {each["metadata"]["name"] for each in listing["items"] if is_settled(each, prefix)}
    watch = api.watch(PATH, resourceVersion=listing["metadata"]["resourceVersion"])
    async with asyncio.timeout(seconds), aclosing(watch) as changes:
        while len(settled) < count:
            each = await anext(changes)
            if is_settled(each, prefix):
                settled.add(each["metadata"]["name"])


def is_settled(item: dict[str, Any], prefix: str) -> bool:
    return item["metadata"]["name"].startswith(prefix) and "api" in item.get("status", {}) and schema_ready(item)


def schema_ready(item: dict[str, Any]) -> bool:
    return any(each["type"] == "SchemaReady" and each["status"] == "True" for each in item["status"]["conditions"])


class Editor:
    """Edits one namespace, and sees by a watch when the operator has dealt with it."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._path = f"{PATH}/{name}"
        self._changes: AsyncGenerator[dict[str, Any]] = api.watch(PATH, fieldSelector=f"metadata.name={name}")

    async def edit(self, level: str) -> None:
        """Edit, and wait until that is acknowledged."""
        edited = await self._api.send("PATCH", self._path, {"spec": {"api": {"logLevel": level}}}, MERGE_PATCH)
        async for found in self._changes:
            if found.get("status", {}).get("observedGeneration") == edited["metadata"]["generation"]:
                return

    async def aclose(self) -> None:
        """End the watch."""
        await self._changes.aclose()


async def edit_now_and_then(api: Api, name: str, latencies: list[float], stop: asyncio.Event) -> None:
    levels = ("debug", "info")
    async with aclosing(Editor(api, name)) as editor:
        while not stop.is_set() or not latencies:
            began = time.monotonic()
            await editor.edit(levels[len(latencies) % 2])
            latencies.append(time.monotonic() - began)
            await asyncio.sleep(0.5)


class Lives:
    """Sees by one watch when namespaces have been provisioned, and when they are gone; inside ``async with``."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._settled: dict[str, asyncio.Future[None]] = {}
        self._gone: dict[str, asyncio.Future[None]] = {}

    async def __aenter__(self) -> Self:
        listing = await self._api.send("GET", PATH + "?limit=1")
        self._following = asyncio.create_task(self._follow(listing["metadata"]["resourceVersion"]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        await asyncio.wait([self._following])

    async def cycle(self, name: str, *, provisioned: bool) -> None:
        """Make one, if `provisioned` wait until schema and children are there, delete it, wait until it is gone."""
        loop = asyncio.get_running_loop()
        self._settled[name], self._gone[name] = loop.create_future(), loop.create_future()
        await self._api.send("POST", PATH, namespace(name))
        if provisioned:
            await self._settled[name]
        await self._api.send("DELETE", f"{PATH}/{name}")
        await self._gone[name]

    async def _follow(self, version: str) -> None:
        async with aclosing(self._api.events(PATH, resourceVersion=version)) as events:
            async for kind, found in events:
                name = found["metadata"]["name"]
                waiting = self._gone if kind == "DELETED" else self._settled
                if name in waiting and not waiting[name].done() and (kind == "DELETED" or is_settled(found, name)):
                    waiting[name].set_result(None)


async def touch_cluster(api: Api) -> None:
    """Change the MemoryCluster, so that everything that depends on it is looked at."""
    path = f"/apis/memory.somafractal.io/v1alpha1/namespaces/{SYSTEM}/memoryclusters/default"
    await api.send("PATCH", path, {"spec": {"resync": {"interval": "9m"}}}, MERGE_PATCH)


async def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(LOOK_SECONDS)
