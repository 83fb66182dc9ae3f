"""What an elector works with: the record in a Lease (coordination.k8s.io/v1), the port to it, the times, a sighting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The spec of a Lease. `holder` is empty when nobody has it. The times are texts, since nobody compares them."""

    holder: str
    duration_seconds: int
    acquire_time: str
    renew_time: str
    transitions: int


@dataclass(frozen=True, slots=True)
class StoredLease:
    """A record as it was read, with the metadata that makes a later `replace` conditional (resourceVersion)."""

    record: LeaseRecord
    metadata: Mapping[str, Any] = field(repr=False)


class LeaseApi(Protocol):
    """One Lease. Each method raises `Unavailable` or `Rejected`; the caller sets the time limit."""

    async def get(self) -> StoredLease | None:
        """Return the Lease, None when there is none."""
        ...

    async def create(self, record: LeaseRecord) -> StoredLease:
        """Create it; raises `Conflict` when it exists."""
        ...

    async def replace(self, stored: StoredLease, record: LeaseRecord) -> StoredLease:
        """Write `record` over `stored`; raises `Conflict` when it has changed since, `NotFound` when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The three times of client-go's leader election, in seconds.

    Others wait for `lease_duration` after the last sign of life. The leader renews each `retry_period`, and gives up
    when for `renew_deadline` from then on it had no success.
    """

    lease_duration: int = 15
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        if self.lease_duration <= self.valid_for:
            raise ValueError(
                f"a lease of {self.lease_duration} s must outlast renew deadline and retry period together "
                f"({self.renew_deadline:g} + {self.retry_period:g} s), else there can be two leaders"
            )
        if not 0 < 2 * self.retry_period < self.renew_deadline:
            raise ValueError(
                f"a renew deadline of {self.renew_deadline:g} s must leave room for two retries, "
                f"one each {self.retry_period:g} s"
            )

    @property
    def valid_for(self) -> float:
        """How long the leader may act after it began its last successful renewal."""
        return self.renew_deadline + self.retry_period

    @property
    def attempt_limit(self) -> float:
        """How long one attempt, at most two calls to the API, may take; a hanging one leaves time for others."""
        return self.renew_deadline / 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record and when, by the clock of the one who saw it, it was seen first."""

    record: LeaseRecord
    at: float

    def free_in(self, now: float) -> float:
        """Return in how many seconds others may take the lease, unless it changes; nothing or less: now."""
        return self.at + self.record.duration_seconds - now if self.record.holder else 0.0


def sight(before: Sighting | None, record: LeaseRecord, now: float) -> Sighting:
    """Return what is known after reading `record`: each change is a sign of life."""
    return before if before and before.record == record else Sighting(record, now)
