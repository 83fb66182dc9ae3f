"""Which backends are open: those of each MemoryCluster once, as long as somebody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from memory_contracts.v1alpha1 import MemoryCluster
from memory_operator.backends.connected import ConnectedBackends
from memory_operator.backends.connections import Connections, read_connections
from memory_operator.backends.servers import load_drivers
from memory_operator.keys import Key, key_of
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.shapes import Term
from memory_operator.world import SecretStore

# Longer than any pass.
CLOSE_SECONDS = 60.0


class BackendRegistry:
    """Opens the backends of each MemoryCluster once, and anew when the way to them has changed."""

    def __init__(self, secrets: SecretStore, claimant: Claimant, term: Term | None = None) -> None:
        self._secrets = secrets
        self._claimant = claimant
        self._term = term
        self._open: dict[Key, ConnectedBackends] = {}
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, cluster: MemoryCluster) -> ConnectedBackends:
        """Return the backends; nothing is asked of them yet. Raises `Rejected` when a Secret is missing or unusable."""
        key = key_of(cluster)
        connections = await read_connections(cluster, self._secrets)
        if found := self._same(key, connections):
            return found
        await asyncio.to_thread(load_drivers, connections)
        async with self._opening:
            if found := self._same(key, connections):
                return found
            before = self._open.get(key)
            opened = ConnectedBackends(connections, self._claimant, self._term)
            await opened.open()
            self._open[key] = opened
        if before:
            self._close_later(before)
        return opened

    def last(self, cluster: Key) -> ConnectedBackends | None:
        """Return the backends as they were last opened, even when the MemoryCluster is gone."""
        return self._open.get(cluster)

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant that is gone; nobody may know any more which MemoryCluster it used."""
        for opened in self._open.values():
            opened.forget(tenant)

    def release(self, is_needed: Callable[[Key], bool]) -> None:
        """Close the backends of each MemoryCluster that is not needed, unless tenants are left that were not forgotten.

        Such a tenant may be one whose object is gone, but not yet what was made for it.
        """
        for cluster, opened in list(self._open.items()):
            if not opened.tenants and not is_needed(cluster):
                del self._open[cluster]
                self._close_later(opened)

    async def drifted(self, cluster: Key) -> set[str]:
        """Return the tenants of the cluster that need a pass."""
        opened = self._open.get(cluster)
        return await opened.drifted() if opened else set()

    async def close(self) -> None:
        """Close everything."""
        for opened in self._open.values():
            await opened.close()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _same(self, cluster: Key, connections: Connections) -> ConnectedBackends | None:
        found = self._open.get(cluster)
        return found if found and found.connections == connections else None

    def _close_later(self, old: ConnectedBackends) -> None:
        """Let passes that still use the old connections end first."""

        async def close() -> None:
            try:
                await asyncio.sleep(CLOSE_SECONDS)
            finally:
                await old.close()

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
