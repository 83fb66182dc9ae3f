"""The shape that every provider has, and what all four share.

``observe → plan → apply``, and ``plan_deletion`` for the way back. `plan` is pure; of a converged pair it is ``[]``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from memory_contracts.conditions import Reason
from memory_contracts.errors import Unavailable


class Step(Protocol):
    """One change. The summary is the log line, the Event, the dry run's output and what tests assert."""

    @property
    def summary(self) -> str:
        """One line that names the object and what happens to it."""
        ...


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing is changed until a person has acted; `message` says what to do."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Write into the ledger that these objects are this tenant's, before they are created."""

    objects: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"claim {', '.join(self.objects)}"


@dataclass(frozen=True, slots=True)
class Release:
    """Give the claims up, when nothing is left that they protect."""

    objects: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"release {', '.join(self.objects)}"


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """What a backend says about itself. `identity` is the same for every address that leads to it, where it can be."""

    version: str
    identity: str
    features: tuple[str, ...] = ()


class Term(Protocol):
    """The office of the leader among several replicas: who does not hold it may not change anything."""

    @property
    def is_leader(self) -> bool:
        """Whether this process may act now."""
        ...

    @property
    def epoch(self) -> int:
        """The number of this term; each term has a greater one than those before."""
        ...

    async def raise_epoch(self, above: int) -> int:
        """Go on with a greater number; raises `Conflict` when somebody else leads."""
        ...


# Asked before each change; raises `Unavailable` when this process may not make it.
Permit: TypeAlias = Callable[[], None]


def everything() -> None:
    """Permit every change: there is no other process that might make it."""


def permit_of(term: Term | None) -> Permit:
    """Return the permit that ends with the term; without one everything is permitted."""
    if term is None:
        return everything

    def ask() -> None:
        if not term.is_leader:
            raise Unavailable("this replica does not lead any more, so it changes nothing")

    return ask


class Ledger(Protocol):
    """Which objects of a backend one tenant has claimed; for backends whose objects can carry no mark of their own.

    An object that exists without a claim is somebody else's. A claim is written after the object was seen to be absent
    and before it is created, so a crash between the two leaves an object that is known to be ours.
    """

    async def claimed(self, backend: str) -> frozenset[str]:
        """Return the names that this tenant has claimed in `backend`, e.g. ``kafka/<cluster id>``."""
        ...

    async def claim(self, backend: str, objects: Collection[str]) -> None:
        """Claim the names; raises `Conflict` when another tenant has one of them."""
        ...

    async def release(self, backend: str, objects: Collection[str]) -> None:
        """Give the names up, after the objects are gone."""
        ...
