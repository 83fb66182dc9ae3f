"""SIGKILL in the middle of sixteen writers: what was acknowledged is there, once, and recall agrees with Postgres."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest
from soma_command import Soma, eventually

from memory_contracts.naming import TenantNames

WRITERS = 16
COORDINATES_EACH = 4
KILLS = 5
SCHEMA = TenantNames("team-a", "research").schema


class Writer(threading.Thread):
    """Stores ever new contents at its own coordinates; `acknowledged` holds what a 2xx promised."""

    def __init__(self, soma: Soma, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = soma.client()
        self._number = number
        self._stop_writing = stop
        self.acknowledged: dict[str, tuple[int, int]] = {}  # coord → (version, content number)
        self.attempts: dict[str, set[int]] = {}
        self.stored = 0
        self.unexpected: list[str] = []

    def run(self) -> None:
        with self._client:
            for count in itertools.takewhile(lambda _: not self._stop_writing.is_set(), itertools.count()):
                self._store(f"{self._number},{count % COORDINATES_EACH}", count)

    def _store(self, coord: str, count: int) -> None:
        self.attempts.setdefault(coord, set()).add(count)
        body = {"coord": coord, "payload": {"text": f"note {count} of writer {self._number}", "count": count}}
        try:
            answer = self._client.post("/store", json=body)
        except httpx.TransportError:
            self._stop_writing.wait(0.02)
            return
        if answer.status_code == 200:
            self.acknowledged[coord] = (answer.json()["version"], count)
            self.stored += 1
        elif answer.status_code != 503:
            self.unexpected.append(f"{answer.status_code} {answer.text}")


@pytest.mark.parametrize("victims", [("api",), ("postgres",), ("api", "postgres")], ids="-and-".join)
def test_nothing_acknowledged_is_lost_when_killed_in_the_middle_of_writers(soma: Soma, victims: Sequence[str]) -> None:
    soma.up()
    with sixteen_writers(soma) as writers:
        for _ in range(KILLS):
            all_have_stored_again(writers)
            for pid in [soma.pid(victim) for victim in victims]:
                os.kill(pid, signal.SIGKILL)
        all_have_stored_again(writers)
    soma.wait_ready()

    assert [problem for writer in writers for problem in writer.unexpected] == []
    check_promises(soma, writers)
    asyncio.run(check_against_postgres(soma))


@contextmanager
def sixteen_writers(soma: Soma) -> Iterator[list[Writer]]:
    stop = threading.Event()
    writers = [Writer(soma, number, stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        stop.set()
        for writer in writers:
            writer.join(timeout=30)


def all_have_stored_again(writers: Sequence[Writer]) -> None:
    before = {writer: writer.stored for writer in writers}
    eventually(
        lambda: all(writer.stored >= before[writer] + 3 for writer in writers), what="three stores of each writer"
    )


def check_promises(soma: Soma, writers: Sequence[Writer]) -> None:
    """Each memory is at the version last acknowledged, or at one whose answer was lost on the way."""
    with soma.client() as client:
        for writer in writers:
            for coord, (version, count) in writer.acknowledged.items():
                memory = client.get(f"/memories/{coord}").json()
                later = {attempt for attempt in writer.attempts[coord] if attempt > count}
                assert version <= memory["version"] <= version + len(later)
                expected = {count} if memory["version"] == version else later
                assert memory["payload"]["count"] in expected


async def check_against_postgres(soma: Soma) -> None:
    connection = await asyncpg.connect(soma.database_url(), server_settings={"search_path": SCHEMA})
    try:
        rows = await connection.fetch("select id, coord, version, embedding from memories join vectors using (seq)")
        changes = await connection.fetch("select memory_id, version from outbox")
    finally:
        await connection.close()
    assert len({tuple(row["coord"]) for row in rows}) == len(rows), "a memory is there twice"
    every_change = [(row["id"], version) for row in rows for version in range(1, row["version"] + 1)]
    assert sorted(map(tuple, changes)) == sorted(every_change), "one outbox row for each version, no more, no less"
    check_recall(soma, {str(row["id"]): np.frombuffer(row["embedding"], "<f4") for row in rows})


def check_recall(soma: Soma, vectors: dict[str, Any]) -> None:
    """Recall by vector finds what a brute-force pass over the rows of Postgres finds, with the same scores."""
    with soma.client() as client:
        for query in list(vectors.values())[:10]:
            body = {"vector": query.tolist(), "top_k": 20, "scoring": "classic"}
            matches = client.post("/recall", json=body).json()["matches"]
            scores = {key: max(0.0, float(vector @ query)) for key, vector in vectors.items()}
            assert len({match["id"] for match in matches}) == min(20, len(vectors))
            for match, best in zip(matches, sorted(scores.values(), reverse=True), strict=False):
                assert match["score"] == pytest.approx(best, abs=1e-5)
                assert match["score"] == pytest.approx(scores[match["id"]], abs=1e-5)
