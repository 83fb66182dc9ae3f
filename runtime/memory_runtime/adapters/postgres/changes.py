"""The change feed's source: the port `ChangeSource` on the named queries of ``sql/changes.sql``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg
import numpy as np

from memory_contracts.errors import Rejected, Unavailable
from memory_runtime.adapters.postgres.database import Database, translated
from memory_runtime.adapters.postgres.queries import queries
from memory_runtime.domain.records import Change, IndexEntry

if TYPE_CHECKING:
    pass

SQL = queries("changes")


class PostgresChanges:
    """Reads committed changes and passes word of them between processes."""

    def __init__(self, database: Database, embedder_id: str) -> None:
        self._database = database
        self._embedder_id = embedder_id
        self._sender = uuid.uuid4().hex

    async def claim_embedder(self) -> None:
        """Make this process's embedder the namespace's, or raise `Rejected` when its vectors come from another."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["claim_embedder"], self._embedder_id)
        await self.check_embedder()

    async def check_embedder(self) -> None:
        """Raise `Rejected` when the namespace's vectors come from another embedder; nothing stored is fine."""
        async with self._database.connection() as connection:
            stored = await connection.fetchval(SQL["read_embedder"])
        if stored not in (self._embedder_id, None):
            raise Rejected(
                f"the stored vectors come from embedder {stored}, this process is set to {self._embedder_id};"
                f" set spec.embedding (SOMA_EMBEDDING_PROVIDER) back to it, or use a new namespace",
                field="SOMA_EMBEDDING_PROVIDER",
            )

    async def changes(self, horizon: int) -> tuple[int, list[Change]]:
        """Return the changes at or above `horizon`, and the next horizon."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(SQL["changes"], horizon)
        changes = [Change(row["seq"], row["version"], row["changed_in"]) for row in rows if row["seq"] is not None]
        return rows[0]["horizon"], changes

    async def horizon(self) -> int:
        """Return the present horizon."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(SQL["horizon"]))

    async def entries(self, seqs: Sequence[int]) -> list[IndexEntry]:
        """Return what the index needs of these rows."""
        async with self._database.connection() as connection:
            return [self._entry(row) for row in await connection.fetch(SQL["entries"], seqs)]

    async def all_entries(self, page: int) -> AsyncIterator[list[IndexEntry]]:
        """Return all live rows in the order of seq, `page` at a time."""
        after = 0
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(SQL["page_of_entries"], after, page)
            if not rows:
                return
            after = rows[-1]["seq"]
            yield [self._entry(row) for row in rows]

    async def announce(self) -> None:
        """Notify the other processes of this namespace."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["announce"], self._database.schema, self._sender)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` on each announcement of another process; returns only by raising `Unavailable`."""
        connection = await self._database.listen()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            with translated():
                await connection.add_listener(self._database.schema, self._on_notification(wake))
            await lost.wait()
            raise Unavailable("the notification connection was lost")
        finally:
            connection.terminate()

    def _on_notification(self, wake: Callable[[], None]) -> Callable[..., None]:
        def notified(_connection: object, _pid: int, _channel: str, sender: object) -> None:
            if sender != self._sender:
                wake()

        return notified

    def _entry(self, row: asyncpg.Record) -> IndexEntry:
        embedding = None
        # A live row whose vector comes from another embedder stays out of the index: the two are not comparable.
        if row["alive"] and row["embedding"] is not None and row["embedder_id"] == self._embedder_id:
            embedding = np.frombuffer(row["embedding"], dtype="<f4")
        return IndexEntry(row["seq"], row["id"], row["version"], row["type"], row["importance"], embedding)
