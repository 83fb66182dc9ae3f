"""Leader election by a Lease: of all replicas at most one acts.

As in client-go no two machines' clocks are compared: a candidate notes by its own clock when it saw the record change,
and takes over when that is `lease_duration` ago. The leader counts from before its last successful write, so it knows
that it has lost before anybody else can have won, also when it was frozen meanwhile. What remains is a pause between
its look at the clock and its act; against that the epoch (``leaseTransitions``) serves as a fencing token.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeVar

from memory_contracts.errors import Conflict, PlatformError, Unavailable
from memory_operator.controller.lease import LeaseApi, LeaseRecord, LeaseTimes, Sighting, StoredLease, sight

RELEASE_ATTEMPTS = 3
NEVER = float("-inf")
T = TypeVar("T")

logger = logging.getLogger(__name__)


def steady_time() -> float:
    """Return seconds of a clock that nobody sets and that, where there is such a one, runs while the machine sleeps."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


class _LostError(Exception):
    """The lease is no longer ours; the text says why."""


class Elector:
    """Stands for election inside ``async with``, and leads until the block ends.

    ``elected()`` waits for the office. Renewal goes on while the block winds up its work; at its end the lease is
    released, so that another replica follows at once. When the lease is lost, `on_lost` is called once: nothing that
    the lease guards may be done any more, and the process should end. An elector never stands twice.

    `identity` must be new for each process, e.g. the pod's name and a random part.
    """

    def __init__(
        self,
        api: LeaseApi,
        identity: str,
        *,
        on_lost: Callable[[], None],
        times: LeaseTimes | None = None,
        now: Callable[[], float] = steady_time,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not identity:
            raise ValueError("an elector needs an identity; an empty one in a Lease means that nobody holds it")
        self._api = api
        self._identity = identity
        self._on_lost = on_lost
        self._times = times or LeaseTimes()
        self._now = now
        self._utc_now = utc_now
        self._chance = chance
        self._epoch = 0
        self._greatest_epoch_seen = 0
        self._valid_until = NEVER
        self._acquire_time = ""
        self._held: StoredLease | None = None  # what the next renewal replaces; None after a failure: read it anew
        self._sighting: Sighting | None = None
        self._problem = ""
        self._one_at_a_time = asyncio.Lock()
        self._won = asyncio.Event()
        self._campaign: asyncio.Task[None] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this process may act now. The clock decides, so it is right in the first moment after a freeze."""
        return self._now() < self._valid_until

    @property
    def epoch(self) -> int:
        """The fencing token of this term: at least 1, and greater than that of every earlier term. 0 before."""
        return self._epoch

    @property
    def leader(self) -> str:
        """Who held the lease when it was last read or written; empty when nobody did."""
        return self._sighting.record.holder if self._sighting else ""

    async def __aenter__(self) -> Elector:
        self._campaign = asyncio.create_task(self._stand(), name="elector")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._campaign
        self._campaign.cancel()
        await asyncio.wait((self._campaign,))
        await self._release()
        if error is None and not self._campaign.cancelled():
            self._campaign.result()

    async def elected(self) -> int:
        """Wait until this process is the leader, and return its epoch."""
        assert self._campaign, "elected() belongs inside `async with`"
        winning = asyncio.create_task(self._won.wait())
        try:
            await asyncio.wait((winning, self._campaign), return_when=asyncio.FIRST_COMPLETED)
        finally:
            winning.cancel()
        if not self._won.is_set():
            await self._campaign  # it ended by a fault, which is raised here
        return self._epoch

    async def raise_epoch(self, above: int) -> int:
        """Go on with an epoch greater than `above`; return it when the Lease holds it.

        For a fenced store that remembers a greater epoch than a Lease which somebody has deleted and which began anew.
        Raises `Conflict` when this process does not lead, `Unavailable` and `Rejected` as the API does.
        """
        try:
            await self._in_time(lambda: self._renew(above + 1))
        except _LostError as lost:
            raise Conflict(str(lost)) from lost
        return self._epoch

    async def _stand(self) -> None:
        await self._win()
        logger.info("this replica leads", extra={"event": "leader.elected", "epoch": self._epoch})
        self._won.set()
        try:
            logger.error(await self._lead(), extra={"event": "leader.lost", "epoch": self._epoch})
        except Exception:
            logger.exception("the elector failed", extra={"event": "leader.lost", "epoch": self._epoch})
        self._valid_until = NEVER
        self._on_lost()

    async def _win(self) -> None:
        while True:
            # The answer may have come when the lease was no longer valid.
            if await self._attempt(self._acquire) and self.is_leader:
                return
            await asyncio.sleep(self._candidate_pause())

    async def _lead(self) -> str:
        """Renew until that fails; return why it did."""
        while True:
            try:
                async with asyncio.timeout(self._valid_until - self._now()):
                    await self._next_renewal()
            except TimeoutError:
                return f"the lease could not be renewed for {self._times.valid_for:g} s"
            except _LostError as lost:
                return str(lost)

    async def _next_renewal(self) -> None:
        pause = self._times.retry_period
        while True:
            await asyncio.sleep(self._jittered(pause))
            if await self._attempt(self._renew):
                return
            pause = self._times.retry_period / 2

    async def _attempt(self, action: Callable[[], Awaitable[bool]]) -> bool:
        """Try once. What the API refuses or does not answer counts as no, and is logged once until it changes."""
        try:
            succeeded = await self._in_time(action)
        except PlatformError as error:
            if error.detail != self._problem:
                logger.warning(error.detail, extra={"event": "leader.lease_failed"})
            self._problem = error.detail
            return False
        self._problem = ""
        return succeeded

    async def _in_time(self, action: Callable[[], Awaitable[T]]) -> T:
        limit = self._times.attempt_limit
        try:
            async with self._one_at_a_time, asyncio.timeout(limit):
                return await action()
        except TimeoutError as error:
            raise Unavailable(f"the API server did not answer about the lease within {limit:.1f} s") from error

    async def _acquire(self) -> bool:
        """Take the lease when nobody has it, or nobody keeps it up. Return whether that was so."""
        stored = await self._api.get()
        if stored:
            self._see(stored.record)
            if stored.record.holder != self._identity and self._free_in() > 0:
                return False
        self._acquire_time = self._time_text()
        await self._write(stored, self._greatest_epoch_seen + 1)
        return True

    async def _renew(self, at_least: int = 0) -> bool:
        """Write a new sign of life; raises `_LostError` when the lease is not ours, by the clock or by the record."""
        if not self.is_leader:
            raise _LostError(
                f"the lease was not renewed for {self._times.valid_for:g} s; did this process stand still?"
            )
        stored, self._held = self._held or await self._api.get(), None
        if stored and stored.record.holder != self._identity:
            raise _LostError(f"the lease says that {stored.record.holder or 'nobody'} holds it, not this process")
        await self._write(stored, max(self._epoch, at_least, stored.record.transitions if stored else 0))
        return True

    async def _write(self, stored: StoredLease | None, epoch: int) -> None:
        """Make the record ours; from before this write on it is valid for a while."""
        began, record = self._now(), self._record(epoch)
        written = await (self._api.replace(stored, record) if stored else self._api.create(record))
        self._held, self._epoch = written, epoch
        self._valid_until = began + self._times.valid_for
        self._see(written.record)

    async def _release(self) -> None:
        """Tell the others that they need not wait; when that fails, they wait until the lease expires."""
        if not self.is_leader:
            return
        self._valid_until = NEVER
        for _ in range(RELEASE_ATTEMPTS):
            try:
                await self._in_time(self._give_back)
            except Conflict:
                continue
            except PlatformError as error:
                logger.warning(error.detail, extra={"event": "leader.release_failed"})
            return

    async def _give_back(self) -> None:
        stored, self._held = self._held or await self._api.get(), None
        if stored and stored.record.holder == self._identity:
            free = replace(stored.record, holder="", duration_seconds=1, renew_time=self._time_text())
            self._see((await self._api.replace(stored, free)).record)
            logger.info("the lease is released", extra={"event": "leader.released", "epoch": self._epoch})

    def _record(self, epoch: int) -> LeaseRecord:
        return LeaseRecord(
            self._identity, self._times.lease_duration, self._acquire_time, self._time_text(), transitions=epoch
        )

    def _see(self, record: LeaseRecord) -> None:
        self._sighting = sight(self._sighting, record, self._now())
        self._greatest_epoch_seen = max(self._greatest_epoch_seen, record.transitions)

    def _free_in(self) -> float:
        return self._sighting.free_in(self._now()) if self._sighting else 0.0

    def _candidate_pause(self) -> float:
        """Look again after the retry period, or just after the lease expires when that is earlier."""
        pause, free_in = self._jittered(self._times.retry_period), self._free_in()
        return min(pause, free_in + 0.01) if free_in > 0 else pause

    def _jittered(self, seconds: float) -> float:
        """Shorten by up to a fifth, so that replicas that began together do not go on so."""
        return seconds * (1.0 - 0.2 * self._chance())

    def _time_text(self) -> str:
        return self._utc_now().isoformat(timespec="microseconds").replace("+00:00", "Z")
