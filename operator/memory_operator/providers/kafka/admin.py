"""The administration requests to Kafka as coroutines; with `driver` the only module that knows librdkafka.

librdkafka answers from threads of its own and keeps its connections up by itself, so nothing here blocks the event
loop, and a broker that was away is found again without a new client. Safe for many tasks of one loop at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it lists nothing in __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError, Rejected, Unavailable
from memory_operator.providers.kafka.connection import KafkaConnection
from memory_operator.providers.kafka.driver import Driver
from memory_operator.providers.kafka.failures import meaning
from memory_operator.providers.kafka.line import Line
from memory_operator.providers.kafka.plan import AlterConfig, CreatePartitions, CreateTopic, DeleteTopic, TopicChange
from memory_operator.providers.kafka.topics import DesiredTopic, ObservedTopic

# How often the driver is asked for errors of its connections; unasked it keeps them, more and more.
LISTEN_SECONDS = 0.1
# The driver ends requests itself; this is for the case that it does not.
GRACE_SECONDS = 2.0
# A topic's configuration has about 35 values, each of which becomes an object while the interpreter's lock is held:
# 100 topics take 30 ms, in which other tasks run.
CONFIGS_A_REQUEST = 100
DESCRIPTIONS_A_REQUEST = 1000

Failures: TypeAlias = dict[str, PlatformError]
Key = TypeVar("Key")


class KafkaAdmin:
    """An open client. Each method raises `Unavailable` or `Rejected` when the cluster cannot be talked to.

    Methods that change something return what the cluster refused: topic → error, with a sentence that names the step.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._line = Line(connection)
        self._seconds = connection.request_seconds
        self._driver: Driver | None = None
        self._unusable: KafkaError | None = None

    async def __aenter__(self) -> Self:
        try:
            self._driver = await asyncio.to_thread(Driver, self._line.connection, self._hear)
        except KafkaException as error:
            self._unusable = error.args[0]  # for whoever asks something, like every other fault of the connection
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.cancel()
        await asyncio.wait([self._listener])
        closing, self._driver = self._driver, None
        if closing is not None:
            await closing.close()

    @property
    def _open(self) -> Driver:
        where = f"Kafka at {self._line.connection.bootstrap_servers}"
        if self._unusable:
            reason = Reason.TLS_FAILED if self._line.connection.tls else None
            raise Rejected(f"the settings for {where} cannot be used: {self._unusable.str()}", reason=reason)
        if self._driver is None:
            raise Unavailable(f"the connections to {where} are closed")
        return self._driver

    @property
    def _client(self) -> AdminClient:
        return self._open.client

    async def cluster_id(self) -> str:
        """Return the id that the cluster got when its storage was formatted."""
        loop = asyncio.get_running_loop()
        answering = loop.run_in_executor(None, self._open.cluster_id, self._seconds)
        answer = await self._answers({"": answering})
        if not (identity := _granted(answer[""], "describe the cluster")):
            raise self._line.failure("it does not know its cluster yet")
        return str(identity)

    async def describe(self, names: Sequence[str]) -> dict[str, ObservedTopic]:
        """Return the topics that exist, of those named."""
        described: dict[str, TopicDescription] = {}
        for batch in _batches(names, DESCRIPTIONS_A_REQUEST):
            futures = self._client.describe_topics(TopicCollection(batch), request_timeout=self._seconds)
            described |= _existing(await self._answers(futures))
        configs: dict[str, dict[str, str]] = {}
        for batch in _batches(list(described), CONFIGS_A_REQUEST):
            resources = [ConfigResource(ResourceType.TOPIC, name) for name in batch]
            answers = _by_name(self._client.describe_configs(resources, request_timeout=self._seconds))
            configs |= {name: _set_here(each) for name, each in _existing(await self._answers(answers)).items()}
        return {name: _observed(described[name], config) for name, config in configs.items()}

    async def create(self, steps: Sequence[CreateTopic]) -> Failures:
        """Create topics, in one request."""
        topics = [_new_topic(step.wanted) for step in steps]
        return await self._failures(steps, self._client.create_topics(topics, request_timeout=self._seconds))

    async def grow(self, steps: Sequence[CreatePartitions]) -> Failures:
        """Add partitions, in one request."""
        counts = [NewPartitions(step.topic, step.count) for step in steps]
        return await self._failures(steps, self._client.create_partitions(counts, request_timeout=self._seconds))

    async def alter(self, steps: Sequence[AlterConfig]) -> Failures:
        """Set values of configurations, in one request."""
        changes = [
            ConfigResource(ResourceType.TOPIC, step.topic, incremental_configs=_settings(step.values)) for step in steps
        ]
        futures = self._client.incremental_alter_configs(changes, request_timeout=self._seconds)
        return await self._failures(steps, _by_name(futures))

    async def delete(self, steps: Sequence[DeleteTopic]) -> Failures:
        """Delete topics, in one request; one that is gone already is no failure."""
        futures = self._client.delete_topics([step.topic for step in steps], request_timeout=self._seconds)
        answers = await self._answers(futures)
        return _refused(steps, {name: answer for name, answer in answers.items() if not _is_unknown_topic(answer)})

    def _hear(self, error: KafkaError) -> None:
        self._line.heard(error.name(), error.str(), time.monotonic())

    async def _listen(self) -> None:
        while True:
            self._hear_all()
            await asyncio.sleep(LISTEN_SECONDS)

    def _hear_all(self) -> None:
        if self._driver is not None:
            self._driver.listen()

    async def _failures(self, steps: Sequence[TopicChange], futures: Mapping[str, Future[None]]) -> Failures:
        return _refused(steps, await self._answers(futures))

    async def _answers(self, futures: Mapping[Key, Future[Any] | asyncio.Future[Any]]) -> dict[Key, Any]:
        """Wait for all answers; one that is an error of the cluster's is returned as `KafkaError`."""
        since = time.monotonic()
        waiting = {key: asyncio.wrap_future(future) for key, future in futures.items()}
        try:
            pending = set(waiting.values())
            while pending:
                _, pending = await asyncio.wait(pending, timeout=LISTEN_SECONDS)
                if pending:
                    self._give_up_in_time(since)
            return {key: self._answer(future) for key, future in waiting.items()}
        finally:
            for future in waiting.values():
                # Else asyncio complains of exceptions that nobody has looked at.
                _ = future.cancel() or future.cancelled() or future.exception()

    def _give_up_in_time(self, since: float) -> None:
        if error := self._line.hopeless(since):
            raise error
        if time.monotonic() - since > self._seconds + GRACE_SECONDS:
            raise self._line.failure()

    def _answer(self, future: asyncio.Future[Any]) -> Any:
        try:
            result = future.result()
        except KafkaException as error:
            result = error.args[0]
            if result.code() < KafkaError.UNKNOWN:  # the driver's own codes lie below those of the protocol
                self._hear_all()
                raise self._line.failure(_spoken(result)) from error
        self._line.answered()
        return result


def _new_topic(wanted: DesiredTopic) -> NewTopic:
    config = dict(wanted.config_for(wanted.replication_factor))
    return NewTopic(wanted.name, wanted.partitions, wanted.replication_factor, config=config)


def _settings(values: Mapping[str, str]) -> list[ConfigEntry]:
    return [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]


def _set_here(config: Mapping[str, ConfigEntry]) -> dict[str, str]:
    """Return the values that were set on the topic itself, not those of the broker or of Kafka."""
    here = ConfigSource.DYNAMIC_TOPIC_CONFIG
    return {key: entry.value or "" for key, entry in config.items() if ConfigSource(entry.source) is here}


def _observed(topic: TopicDescription, config: Mapping[str, str]) -> ObservedTopic:
    replicas = min(len(partition.replicas) for partition in topic.partitions)
    return ObservedTopic(str(topic.topic_id), len(topic.partitions), replicas, config)


def _by_name(futures: Mapping[ConfigResource, Future[Any]]) -> dict[str, Future[Any]]:
    return {resource.name: future for resource, future in futures.items()}


def _batches(names: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(names[start : start + size]) for start in range(0, len(names), size))


def _is_unknown_topic(answer: object) -> bool:
    return isinstance(answer, KafkaError) and answer.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def _existing(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers about topics that exist; raises when the cluster refused one."""
    return {
        name: _granted(answer, f"describe topic {name}")
        for name, answer in answers.items()
        if not _is_unknown_topic(answer)
    }


def _granted(answer: Any, what: str) -> Any:
    if isinstance(answer, KafkaError):
        raise _meaning(answer, what)
    return answer


def _refused(steps: Sequence[TopicChange], answers: Mapping[str, Any]) -> Failures:
    summaries = {step.topic: step.summary for step in steps}
    return {name: _meaning(error, summaries[name]) for name, error in answers.items() if isinstance(error, KafkaError)}


def _meaning(error: KafkaError, what: str) -> PlatformError:
    return meaning(error.name(), error.str(), what)


def _spoken(error: KafkaError) -> str | None:
    """Return what the end of a request without an answer says; nothing when it only says that there was none."""
    return None if error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT) else error.str()
