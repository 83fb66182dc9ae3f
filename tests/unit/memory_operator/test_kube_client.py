"""The client of the API server, as far as it needs none."""

import asyncio
from typing import Any

from tenants import workload

from memory_operator.keys import Key
from memory_operator.kube import client as module
from memory_operator.kube.client import KubeClient


async def test_what_is_told_of_an_object_waits_for_the_answer_to_our_write(monkeypatch):
    client, told = KubeClient(None), []  # type: ignore[arg-type]  # the request is replaced below
    manifest = workload().service

    async def answer(*_: Any, **__: Any) -> dict[str, Any]:
        client.in_flight.hear(Key("Service", "team-a", "research-api"), lambda: told.append("the watch"))
        assert told == []
        return {"metadata": {"resourceVersion": "7"}}

    monkeypatch.setattr(module, "call", answer)
    await client.apply(manifest, "a-manager")
    assert told == []
    await asyncio.sleep(0)
    assert told == ["the watch"]
