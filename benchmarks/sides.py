"""The two sides of a comparison, given the same work: the API over HTTP, and its SQL alone over asyncpg.

The floor side runs the queries of the runtime itself, on connections with the runtime's session settings, in a sibling
schema with the same memories. What it leaves out is the rest of a request: HTTP, validation, embedding, vector search.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from benchmarks.load import Call, Connection, request
from benchmarks.operations import Kind
from benchmarks.service import Service
from benchmarks.text import Corpus
from memory_contracts.identifiers import memory_id, parse_coordinate
from memory_contracts.settings import LIVENESS_PATH, RuntimeSettings
from memory_runtime.adapters.postgres.database import Database
from memory_runtime.adapters.postgres.memories import CANDIDATE_ROWS
from memory_runtime.adapters.postgres.queries import queries
from memory_runtime.domain.text import searchable_text
from memory_runtime.domain.words import distinct_words, query_words
from memory_runtime.ports import Embedder
from memory_runtime.services.recall import KEYWORD_CANDIDATES
from memory_runtime.services.store import PIECE

if TYPE_CHECKING:
    from memory_runtime.adapters.postgres.database import Connection as PostgresConnection

SQL = queries("memories")
TOP_K = 10


class Side(Protocol):
    """Prepares work outside the timing, and lends clients that do it."""

    def prepare(self, kind: Kind, batch: Sequence[int]) -> Any:
        """Return the input of one call about the memories (or the query) of these numbers."""
        ...

    async def clients(self, kind: Kind, count: int) -> list[Call]:
        """Return at most `count` clients, connected."""
        ...


class Api:
    """The service over HTTP."""

    def __init__(self, service: Service, corpus: Corpus, stored: int) -> None:
        self._service = service
        self._corpus = corpus
        self._stored = stored
        self._connections: list[Connection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def prepare(self, kind: Kind, batch: Sequence[int]) -> bytes:
        if kind is Kind.HEALTH:
            return request("GET", LIVENESS_PATH, self._service.token)
        return request("POST", kind, self._service.token, self._body(kind, batch))

    async def clients(self, kind: Kind, count: int) -> list[Call]:
        # Fresh ones: the service ends a connection that is silent for some seconds, as each is between two rounds.
        self.close()
        self._connections = [await Connection.open(self._service.settings.port) for _ in range(count)]
        return [connection.send for connection in self._connections]

    def _body(self, kind: Kind, batch: Sequence[int]) -> dict[str, Any]:
        if kind is Kind.RECALL:
            return {"query": self._corpus.query(batch[0], self._stored), "top_k": TOP_K}
        items = [self._corpus.item(number) for number in batch]
        return items[0] if kind is Kind.STORE else {"items": items}


class Floor:
    """The SQL of the service alone, each client with a connection for writes and reads and one for text search."""

    def __init__(self, settings: RuntimeSettings, corpus: Corpus, embedder: Embedder, stored: int) -> None:
        self._settings = settings
        self._corpus = corpus
        self._embedder = embedder
        self._stored = stored
        self._database = Database(settings)
        self._plain: list[PostgresConnection] = []
        self._searching: list[PostgresConnection] = []

    async def open(self, count: int) -> Self:
        await self._database.open()  # makes the schema
        for _ in range(count):
            # `listen` opens a connection like those of the pool, outside of it.
            self._plain.append(await self._database.listen())
            self._searching.append(await self._database.listen())
            await self._searching[-1].execute("set enable_indexscan = off")  # as the pool for searches has it
        await self._plain[0].execute("create table bare (number bigint primary key, day int not null)")
        return self

    async def close(self) -> None:
        for connection in (*self._plain, *self._searching):
            connection.terminate()
        await self._database.close()

    async def settle(self, *, statistics: bool) -> None:
        """Do by hand what the service's background work does after writes."""
        await self._plain[0].execute(SQL["settle"], statistics)

    def prepare(self, kind: Kind, batch: Sequence[int]) -> Any:
        match kind:
            case Kind.RECALL:
                query = self._corpus.query(batch[0], self._stored)
                return distinct_words(query), query_words(query)
            case Kind.BARE:
                return batch[0]
            case _:
                return self._store_arguments(batch)

    async def clients(self, kind: Kind, count: int) -> list[Call]:
        pairs = list(zip(self._plain, self._searching, strict=True))[:count]
        match kind:
            case Kind.RECALL:
                return [_recall(plain, searching) for plain, searching in pairs]
            case Kind.BARE:
                return [_bare_insert(plain) for plain, _ in pairs]
            case _:
                return [_store(plain) for plain, _ in pairs]

    def _store_arguments(self, batch: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the arguments of each statement, in the order and the pieces in which the service sends them."""
        items = [self._corpus.item(number) for number in batch]
        named = [(memory_id(self._settings.namespace, parse_coordinate(item["coord"])), item) for item in items]
        named.sort(key=lambda pair: pair[0])
        return [self._piece(named[start : start + PIECE]) for start in range(0, len(named), PIECE)]

    def _piece(self, named: Sequence[tuple[Any, dict[str, Any]]]) -> tuple[Any, ...]:
        items = [item for _, item in named]
        contents = [searchable_text(item["payload"]) for item in items]
        return (
            [id_ for id_, _ in named],
            ["{" + ",".join(map(repr, item["coord"])) + "}" for item in items],
            [item["type"] for item in items],
            [json.dumps(item["payload"]) for item in items],
            contents,
            [item["importance"] for item in items],
            [vector.tobytes() for vector in self._embedder.embed(contents)],
            self._embedder.embedder_id,
            None,
            False,
        )


def _store(connection: PostgresConnection) -> Call:
    async def call(pieces: list[tuple[Any, ...]]) -> None:
        if len(pieces) == 1:
            await connection.fetch(SQL["store"], *pieces[0])
            return
        async with connection.transaction():
            for piece in pieces:
                await connection.fetch(SQL["store"], *piece)

    return call


def _recall(plain: PostgresConnection, searching: PostgresConnection) -> Call:
    limit = max(KEYWORD_CANDIDATES, TOP_K)

    async def call(item: tuple[str, str]) -> None:
        query, words = item
        found = await searching.fetch(SQL["keyword_matches"], query, words, limit, None, None, CANDIDATE_ROWS)
        await plain.fetch(SQL["by_seq"], [row["seq"] for row in found[:TOP_K]], None, None)

    return call


def _bare_insert(connection: PostgresConnection) -> Call:
    async def call(number: int) -> None:
        await connection.execute("insert into bare (number, day) values ($1, 1)", number)

    return call
