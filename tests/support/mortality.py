"""The operator, with a number of writes after which it ends: ``python -m mortality DIRECTORY``.

Imports everything once, then runs ``memory-operator run`` in a fork of itself for each line on standard input, and
answers with its process id. While the file ``DIRECTORY/after`` exists, each completed write is a line in
``DIRECTORY/journal``. The file holds the number of the order and that of the write, counted from that order on, which
is the last: SIGKILL follows at once; then, if any, what to look for in writes that do not count. A write is a request
that changes something at the API server (the Lease aside), a transaction that has changed something in Postgres just
before and just after its commit, and a step in Kafka, Qdrant or Redis.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from asyncpg.pool import PoolConnectionProxy

from memory_operator import cli
from memory_operator.controller.rest import RestClient
from memory_operator.providers.kafka.admin import KafkaAdmin
from memory_operator.providers.qdrant import client as qdrant
from memory_operator.providers.redis import client as redis
from memory_operator.shell import serve

PR_SET_PDEATHSIG = 1
STEPS = {qdrant.__name__: "qdrant.step", redis.__name__: "redis.step"}
# What begins or ends a transaction, or only asks.
LOOKS = ("begin", "commit", "rollback", "select")
ARGUMENTS = ["run", "--namespace", "memory-system", "--health-port", "0"]

Note = Callable[[str], None]


class Mortality:
    """Counts, and ends the process when the number is reached."""

    def __init__(self, directory: Path) -> None:
        self._after, self._journal = directory / "after", directory / "journal"
        self._count, self._order = 0, ""

    def note(self, what: str) -> None:
        """Take down a write that has been completed."""
        try:
            order, after, *uncounted = self._after.read_text().split()
        except FileNotFoundError:
            return
        counts = not any(each in what for each in uncounted)
        self._count, self._order = (self._count if order == self._order else 0) + counts, order
        with self._journal.open("a") as journal:
            journal.write(f"{what}\n")
        if counts and self._count == int(after):
            os.kill(os.getpid(), signal.SIGKILL)


def watch_kubernetes(note: Note) -> None:
    exchange = RestClient.exchange

    async def counted(self: RestClient, method: str, path: str, *more: Any) -> tuple[int, bytes]:
        answer = await exchange(self, method, path, *more)
        if method != "GET" and "/leases" not in path:
            note(f"{method} {path.partition('?')[0]} {answer[0]}")
        return answer

    RestClient.exchange = counted


def watch_postgres(note: Note) -> None:
    execute, fetchrow, changed = PoolConnectionProxy.execute, PoolConnectionProxy.fetchrow, set[int]()

    async def claimed(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        if not query.startswith(LOOKS):
            changed.add(self.get_server_pid())
        return await fetchrow(self, query, *arguments, **options)

    async def counted(self: Any, query: str, *arguments: Any, **options: Any) -> str:
        commits = query == "commit" and self.get_server_pid() in changed
        if commits:
            note("postgres: about to commit")
        answer = await execute(self, query, *arguments, **options)
        if commits:
            note("postgres: commit")
        elif query.startswith("select memory_operator.fence") and not self.is_in_transaction():
            note("postgres: announce the leader")
        if query.startswith(LOOKS):
            changed.discard(self.get_server_pid())
        else:
            changed.add(self.get_server_pid())
        return answer

    PoolConnectionProxy.execute, PoolConnectionProxy.fetchrow = counted, claimed


def watch_kafka(note: Note) -> None:
    for name in ("create", "grow", "alter", "delete"):
        setattr(KafkaAdmin, name, _counted(getattr(KafkaAdmin, name), f"kafka: {name}", note))


def _counted(method: Callable[..., Awaitable[Any]], what: str, note: Note) -> Callable[..., Awaitable[Any]]:
    async def counted(self: Any, steps: Any) -> Any:
        answer = await method(self, steps)
        note(f"{what} {len(steps)}")
        return answer

    return counted


class StepHandler(logging.Handler):
    """Counts the steps that are one command each; a claim in the ledger is counted as its transaction."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if getattr(record, "event", "") == STEPS[record.name] and not text.startswith(("claim ", "release ")):
            self._note(f"{record.name.split('.')[-2]}: {text}")


def live(directory: Path) -> None:
    """Be the operator, until told or killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    note = Mortality(directory).note
    watch_kubernetes(note)
    watch_postgres(note)
    watch_kafka(note)
    for name in STEPS:
        logging.getLogger(name).addHandler(StepHandler(note))
    cli.main(ARGUMENTS)


def main(directory: Path) -> None:
    assert serve  # imported here, so that no fork has to
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a fork has ended
    for _ in sys.stdin:
        if (pid := os.fork()) == 0:
            live(directory)
        print(pid, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
