"""The API server as a load generator uses it: many requests at once, watches, and little processor time of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from controlplane.access import read_kubeconfig

JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
SECONDS = 60.0
LONGEST_EVENT = 1 << 20


class Api:
    """A client as the user of `kubeconfig`, inside ``async with``."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    async def __aenter__(self) -> Self:
        server, context, headers = read_kubeconfig(self._kubeconfig)
        self._session = aiohttp.ClientSession(
            server,
            connector=aiohttp.TCPConnector(ssl=context),
            headers=headers,
            timeout=aiohttp.ClientTimeout(SECONDS),
            raise_for_status=True,
            read_bufsize=LONGEST_EVENT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = JSON
    ) -> dict[str, Any]:
        """Return what it answers with; raises `aiohttp.ClientResponseError` when that is an error."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, headers={"Content-Type": content_type}) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def watch(self, path: str, **query: str) -> AsyncGenerator[dict[str, Any]]:
        """Yield the object of each event of a watch, as long as somebody asks for the next; close it."""
        async with aclosing(self.events(path, **query)) as events:
            async for _, found in events:
                yield found

    async def events(self, path: str, **query: str) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
        """Yield type and object of each event of a watch, as long as somebody asks for the next; close it."""
        forever = aiohttp.ClientTimeout(None)
        async with self._session.get(path, params={"watch": "1", **query}, timeout=forever) as events:
            async for line in events.content:
                event = json.loads(line)
                yield event["type"], event["object"]
