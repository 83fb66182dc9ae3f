"""One stage: both sides filled with the same number of memories, then each operation in interleaved rounds.

A stage has schemas and an API process of its own. It is measured settled: pending index entries merged, statistics
taken, vacuumed, checkpointed. Recalls come first, at the exact size; the writes that follow add their own memories,
so at the two small sizes the later operations meet some thousands more than the stage's name says.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence

import asyncpg

from benchmarks.load import Segment, drive, summarise
from benchmarks.operations import CLIENTS, OPERATIONS, Kind, Measured, Operation, Pace, Result
from benchmarks.service import Service
from benchmarks.sides import Api, Floor, Side
from benchmarks.text import Corpus
from memory_contracts.settings import RuntimeSettings
from memory_runtime.ports import Embedder

LOAD_BATCH = 5_000
# Recalls are bound by the processor: more connections than this only queue.
FLOOR_SEARCHERS = 8
# The service takes statistics when this share of the memories is new, and at least so many.
STATISTICS_SHARE, STATISTICS_MINIMUM = 0.2, 500


class Stage:
    """Measures one size."""

    def __init__(
        self, size: int, service: Service, floor: RuntimeSettings, *, corpus: Corpus, embedder: Embedder, pace: Pace
    ) -> None:
        self._size = size
        self._pace = pace
        self._service = service
        self._floor_settings = floor
        self._api = Api(service, corpus, size)
        self._floor = Floor(floor, corpus, embedder, size)
        self._unsettled = 0
        self._cpu_seconds = 0.0
        # Both sides get the same memories and the same queries, each used once.
        self._numbers = itertools.count(size)
        self._queries = itertools.count()

    async def run(self) -> Result:
        """Load, settle, measure."""
        result = Result(self._size)
        try:
            await self._floor.open(CLIENTS)
            await self._load()
            for operation in OPERATIONS:
                if result.memory is None and operation.kind is Kind.STORE:
                    result.memory, result.schema_mib = self._service.memory(), await self._schema_mib()
                result.rows.append(await self._measure(operation))
        finally:
            self._api.close()
            await self._floor.close()
        return result

    async def _load(self) -> None:
        sides: tuple[Side, ...] = (self._api, self._floor)
        for start in range(0, self._size, LOAD_BATCH):
            batch = range(start, min(start + LOAD_BATCH, self._size))
            for side in sides:
                items = [side.prepare(Kind.BULK, batch)]
                await drive(await side.clients(Kind.BULK, 1), items)
        _say(f"{self._size:,} memories loaded")
        if self._size:
            await self._settle_both()
            await self._floor.settle(statistics=True)

    async def _settle_both(self) -> None:
        connection = await asyncpg.connect(self._floor_settings.postgres_url.get_secret_value())
        try:
            for settings in (self._service.settings, self._floor_settings):
                for table in ("memories", "vectors", "outbox"):
                    await connection.execute(f'vacuum (analyze) "{settings.postgres_schema}".{table}')
            await connection.execute("checkpoint")
        finally:
            await connection.close()

    async def _schema_mib(self) -> float:
        connection = await asyncpg.connect(self._floor_settings.postgres_url.get_secret_value())
        try:
            size: int = await connection.fetchval(
                "select sum(pg_total_relation_size(oid))::bigint from pg_class"
                " where relkind = 'r' and relnamespace = $1::regnamespace",
                self._service.settings.postgres_schema,
            )
            return size / 2**20
        finally:
            await connection.close()

    async def _measure(self, operation: Operation) -> Measured:
        _say(f"{self._size:,} memories, {operation.clients} clients: {operation}")
        api: list[Segment] = []
        floor: list[Segment] = []
        sides: list[tuple[Side, list[Segment]]] = [(self._api, api), (self._floor, floor)]
        if operation.kind is Kind.HEALTH:
            sides.pop()
        if operation.kind is Kind.BARE:
            sides.pop(0)
        await self._round(operation, sides, warm_up=True)
        self._cpu_seconds = 0.0
        for _ in range(min(operation.rounds or self._pace.rounds, self._pace.rounds)):
            await self._round(operation, sides)
            sides.reverse()  # neither side is always the one that follows the other
        return Measured(
            self._size,
            operation,
            ours=summarise(api, operation.each) if api else None,
            floor=summarise(floor, operation.each) if floor else None,
            cpu=self._cpu_seconds * 1000 / sum(len(segment.latencies) for segment in api) if api else None,
        )

    async def _round(
        self, operation: Operation, sides: Sequence[tuple[Side, list[Segment]]], *, warm_up: bool = False
    ) -> None:
        # A client's first calls connect and prepare statements, and Postgres plans the first five of each anew.
        calls = min(operation.calls, 8 * operation.clients) if warm_up else operation.calls
        batches = list(self._batches(operation, calls))
        for side, segments in sides:
            at_floor = side is self._floor and operation.kind is Kind.RECALL
            items = [side.prepare(operation.kind, batch) for batch in batches]
            count = min(operation.clients, FLOOR_SEARCHERS) if at_floor else operation.clients
            clients = await side.clients(operation.kind, count)
            before = self._service.cpu_seconds()
            segment = await drive(clients, items, self._pace.longest)
            if side is self._api:
                self._cpu_seconds += self._service.cpu_seconds() - before
            if not warm_up:
                segments.append(segment)
        if operation.kind in (Kind.STORE, Kind.BULK):
            await self._settle_floor(calls * operation.each)

    def _batches(self, operation: Operation, calls: int) -> Iterator[list[int]]:
        numbers = self._queries if operation.kind is Kind.RECALL else self._numbers
        return (list(itertools.islice(numbers, operation.each)) for _ in range(calls))

    async def _settle_floor(self, written: int) -> None:
        self._unsettled += written
        statistics = self._unsettled >= max(STATISTICS_MINIMUM, STATISTICS_SHARE * self._size)
        if statistics:
            self._unsettled = 0
        await self._floor.settle(statistics=statistics)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
