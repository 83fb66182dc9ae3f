"""The Kafka provider of the reconcile: observes and applies, for many tenants through one client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Self, TypeVar, assert_never

from memory_contracts.errors import Conflict, PlatformError
from memory_operator.providers.kafka.admin import Failures, KafkaAdmin
from memory_operator.providers.kafka.connection import KafkaConnection
from memory_operator.providers.kafka.plan import (
    AlterConfig,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    TopicChange,
    TopicStep,
    plan,
    shrink_refused,
)
from memory_operator.providers.kafka.topics import DesiredTopics, ObservedTopics, topic_names
from memory_operator.providers.shapes import BackendFacts, Claim, Ledger, Permit, Release, everything

# The controller decides, the brokers follow: at once on a quiet cluster, after seconds when hundreds of topics are new.
SETTLE_SECONDS = 5.0
SETTLE_POLL_SECONDS = 0.05

logger = logging.getLogger(__name__)

SomeStep = TypeVar("SomeStep", bound=TopicStep)


class KafkaClient:
    """One cluster, for all tenants; ``async with`` opens it, and its methods may run at the same time.

    A cluster that is away raises `Unavailable` within the connection's seconds and is found again when it is back.
    """

    def __init__(self, connection: KafkaConnection, permit: Permit = everything) -> None:
        self._admin = KafkaAdmin(connection)
        self._permit = permit

    async def __aenter__(self) -> Self:
        await self._admin.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.__aexit__()

    async def facts(self) -> BackendFacts:
        """Return what the cluster says of itself. It tells its id, but no client its version."""
        return BackendFacts(version="", identity=await self._admin.cluster_id())

    async def observe(self, desired: DesiredTopics, claimed: frozenset[str]) -> ObservedTopics:
        """Return what Kafka holds of what the tenant wants or has claimed; changes nothing."""
        return ObservedTopics(await self._admin.describe(topic_names([desired], [claimed])), claimed)

    async def drifted(
        self,
        all_desired: Sequence[DesiredTopics],
        claimed: Mapping[str, frozenset[str]],
        told: Mapping[str, str] | None = None,
    ) -> set[str]:
        """Return the tenants that a pass would change, or find blocked; `claimed` is tenant → names.

        With `told`, tenant → what was last said of partitions that cannot be taken away, also those of whom another
        sentence is true by now. The number of requests grows with the topics in hundreds, not with the tenants.
        """
        topics = await self._admin.describe(topic_names(all_desired, []))
        found = set()
        for desired in all_desired:
            observed = ObservedTopics(topics, claimed.get(desired.tenant, frozenset()))
            surplus = shrink_refused(desired, observed)
            untold = told is not None and told.get(desired.tenant, "") != (surplus.message if surplus else "")
            if untold or plan(desired, observed) != []:
                found.add(desired.tenant)
        return found

    async def apply(self, desired: DesiredTopics, steps: Sequence[TopicStep], ledger: Ledger, backend: str) -> None:
        """Carry out the steps, in order; those of one kind are one request, as each costs the cluster a disk write.

        Raises `Conflict` when the world has changed since it was observed: look again.
        """
        fresh = {name for step in steps if isinstance(step, Claim) for name in step.objects}
        for _, group in groupby(steps, type):
            batch = list(group)
            failures = await self._carry_out(batch, ledger, backend)
            for step in batch:
                if _name(step) not in failures:
                    logger.info(step.summary, extra={"event": "kafka.step", "tenant": desired.tenant})
            await self._disown(failures, fresh, ledger, backend)
            await self._settle([step for step in batch if isinstance(step, TopicChange)], failures)
            if failures:
                raise next(iter(failures.values()))

    async def _carry_out(self, batch: Sequence[TopicStep], ledger: Ledger, backend: str) -> Failures:
        self._permit()
        match batch[0]:
            case Claim():
                await ledger.claim(backend, [name for step in _only(Claim, batch) for name in step.objects])
                return {}
            case Release():
                await ledger.release(backend, [name for step in _only(Release, batch) for name in step.objects])
                return {}
            case CreateTopic():
                return await self._admin.create(_only(CreateTopic, batch))
            case CreatePartitions():
                return await self._admin.grow(_only(CreatePartitions, batch))
            case AlterConfig():
                return await self._admin.alter(_only(AlterConfig, batch))
            case DeleteTopic():
                return await self._admin.delete(_only(DeleteTopic, batch))
            case never:
                assert_never(never)

    async def _disown(self, failures: Failures, fresh: set[str], ledger: Ledger, backend: str) -> None:
        """Give up the claim to a topic that was absent a moment ago, that we had not claimed, and that exists now.

        Another operator, with a ledger of its own, was faster. With our claim it would count as ours from here on.
        """
        if taken := [name for name, error in failures.items() if name in fresh and isinstance(error, Conflict)]:
            await ledger.release(backend, taken)

    async def _settle(self, steps: Sequence[TopicChange], failures: Failures) -> None:
        """Wait until the brokers show what the controller has decided, so that the next look finds it.

        Without it a second pass would ask for a topic that is there already. Not for ever: it would only be told so.
        """
        visible = [step for step in steps if _will_show(step, failures.get(step.topic))]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while not await self._shown(visible):  # noqa: ASYNC110 - nobody tells when
                    await asyncio.sleep(SETTLE_POLL_SECONDS)

    async def _shown(self, steps: Sequence[TopicChange]) -> bool:
        topics = await self._admin.describe([step.topic for step in steps])
        return all(step.shows_in(topics.get(step.topic)) for step in steps)


def _will_show(step: TopicChange, failure: PlatformError | None) -> bool:
    """Whether the topic will be as the step wants it; a creation that found the topic there says so too."""
    return failure is None or (isinstance(step, CreateTopic) and isinstance(failure, Conflict))


def _name(step: TopicStep) -> str | None:
    return step.topic if isinstance(step, TopicChange) else None


def _only(kind: type[SomeStep], steps: Sequence[TopicStep]) -> list[SomeStep]:
    return [step for step in steps if isinstance(step, kind)]
