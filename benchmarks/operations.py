"""What is measured: each operation with its clients and its amount of work, and the shape of what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from benchmarks.load import Figures
from benchmarks.service import Memory

CLIENTS = 16


class Kind(StrEnum):
    """What a call does."""

    RECALL = "/recall"
    STORE = "/store"
    BULK = "/store_bulk"
    HEALTH = "GET /healthz"
    BARE = "bare insert"


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table: `calls` a round, each about `each` memories, by `clients` clients."""

    kind: Kind
    clients: int
    calls: int
    each: int = 1
    rounds: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} of {self.each:,}" if self.kind is Kind.BULK else str(self.kind)


OPERATIONS = (
    Operation(Kind.HEALTH, 1, 300),
    Operation(Kind.HEALTH, CLIENTS, 1_000),
    Operation(Kind.BARE, 1, 100),
    Operation(Kind.BARE, CLIENTS, 600),
    Operation(Kind.RECALL, 1, 60),
    Operation(Kind.RECALL, CLIENTS, 240),
    Operation(Kind.STORE, 1, 80),
    Operation(Kind.STORE, CLIENTS, 400),
    Operation(Kind.BULK, 1, 8, each=50),
    Operation(Kind.BULK, 1, 1, each=5_000, rounds=5),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to measure: rounds of each operation, and the seconds after which a round ends early."""

    rounds: int = 7
    longest: float = 2.0


@dataclass(frozen=True, slots=True)
class Measured:
    """An operation at one size; a side that cannot do it has no figures.

    `cpu` is the API process's processor time a call in milliseconds, which other work on the machine hardly disturbs.
    """

    size: int
    operation: Operation
    ours: Figures | None
    floor: Figures | None
    cpu: float | None


@dataclass(slots=True)
class Result:
    """A whole stage: the process and the API's schema were weighed at the exact size, after the recalls."""

    size: int
    rows: list[Measured] = field(default_factory=list)
    memory: Memory | None = None
    schema_mib: float = 0.0
