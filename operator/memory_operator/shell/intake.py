"""From what the watches see to keys on the queue."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from memory_operator.controller.metrics import watch_restarted
from memory_operator.controller.schedule import Priority
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.in_flight import InFlight
from memory_operator.kube.kinds import MEMORY_NAMESPACE, Kind
from memory_operator.shell.echo import WatchEcho
from memory_operator.shell.vanished import Vanished
from memory_operator.shell.workers import priority_of

# So many objects of a kind tell a new listing from the one before; that all of them are gone by then is unlikely.
WITNESSES = 16


class Intake:
    """Takes events from another thread into the loop that owns cache and queue."""

    def __init__(
        self,
        cache: Cache,
        add: Callable[[Key, Priority], None],
        echo: WatchEcho,
        vanished: Vanished,
        *,
        in_flight: InFlight,
        on_relisted: Callable[[], None],
    ) -> None:
        self._cache = cache
        self._vanished = vanished
        self._add = add
        self._echo = echo
        self._in_flight = in_flight
        self._on_relisted = on_relisted
        self._loop = asyncio.get_running_loop()
        self._witnesses: dict[Kind, set[str]] = defaultdict(set)

    def deliver(self, kind: Kind, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in an event, from any thread; `event` is None for an object of a listing."""
        self._loop.call_soon_threadsafe(self._take, kind, event, body)

    def _take(self, kind: Kind, event: str | None, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        self._echo.seen(kind, int(metadata["resourceVersion"]))
        self._note_listing(kind, event, metadata["uid"])
        key = Key(kind.kind, metadata.get("namespace", ""), metadata["name"])
        self._in_flight.hear(key, partial(self._absorb, kind, event, body))

    def _absorb(self, kind: Kind, event: str | None, body: Mapping[str, Any]) -> None:
        if event == "DELETED" and kind is MEMORY_NAMESPACE:
            self._vanished.note(body)
        affected = self._cache.lose(kind, body) if event == "DELETED" else self._cache.see(kind, body)
        for key in affected:
            self._add(key, priority_of(kind.kind, event))

    def _note_listing(self, kind: Kind, event: str | None, uid: str) -> None:
        """Notice a watch that began anew: it lists what it has told before. What ended meanwhile is in no listing."""
        witnesses = self._witnesses[kind]
        if event is None and uid in witnesses:
            witnesses.clear()
            watch_restarted(kind.kind)
            self._on_relisted()
        if event == "DELETED":
            witnesses.discard(uid)
        elif len(witnesses) < WITNESSES:
            witnesses.add(uid)
