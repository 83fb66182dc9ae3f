"""What a broker holds, seen and changed past the provider under test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.broker import KafkaBroker

SECONDS = 30.0


class KafkaWorld:
    """The administrator's view of one broker. Its methods block for a moment.

    What changes something returns when the broker shows it: the controller's answer comes a little earlier.
    """

    def __init__(self, broker: KafkaBroker) -> None:
        self.broker = broker
        self._admin = AdminClient(broker.client_settings())

    def partitions(self, prefix: str = "") -> dict[str, int]:
        """Return topic → number of partitions."""
        topics = self._admin.list_topics(timeout=SECONDS).topics
        return {name: len(topic.partitions) for name, topic in topics.items() if name.startswith(prefix)}

    def config(self, topic: str) -> dict[str, str | None]:
        """Return the whole configuration of a topic."""
        (future,) = self._admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return {key: entry.value for key, entry in future.result(SECONDS).items()}

    def create(self, topic: str, partitions: int = 1) -> None:
        self._wait(self._admin.create_topics([NewTopic(topic, partitions, 1)]))
        wait_until(lambda: topic in self.partitions())

    def delete(self, topic: str) -> None:
        self._wait(self._admin.delete_topics([topic]))
        wait_until(lambda: topic not in self.partitions())

    def grow(self, topic: str, partitions: int) -> None:
        self._wait(self._admin.create_partitions([NewPartitions(topic, partitions)]))
        wait_until(lambda: self.partitions()[topic] == partitions)

    def configure(self, topic: str, **values: str) -> None:
        """Set values; ``retention_ms`` stands for ``retention.ms``."""
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._wait(self._admin.incremental_alter_configs([resource]))
        wait_until(lambda: {(entry.name, entry.value) for entry in entries} <= self.config(topic).items())

    def set_password(self, user: str, password: str) -> None:
        """Create the user, or change its password; a new one may do nothing."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, credential, password.encode())
        self._wait(self._admin.alter_user_scram_credentials([change]))

    def produce(self, topic: str, value: bytes, **more: int) -> None:
        """Write one record and wait until it is written."""
        failures: list[object] = []
        producer = Producer(self.broker.client_settings(message_max_bytes=20_000_000))
        producer.produce(topic, value, on_delivery=lambda error, _: error and failures.append(error), **more)
        assert producer.flush(SECONDS) == 0
        assert not failures, failures

    def first_offset(self, topic: str) -> int:
        """Return the offset of the oldest record of partition 0 that is still there."""
        return self._offsets(topic, 0)[0]

    def records(self, topic: str, partition: int) -> int:
        """Return how many records a partition holds."""
        first, end = self._offsets(topic, partition)
        return end - first

    def _offsets(self, topic: str, partition: int) -> tuple[int, int]:
        where = TopicPartition(topic, partition)
        first, end = (
            self._admin.list_offsets({where: spec})[where].result(SECONDS).offset
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        return int(first), int(end)

    def _wait(self, futures: Mapping[Any, Future[Any]]) -> None:
        for future in futures.values():
            future.result(SECONDS)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not so within {SECONDS} s"
        time.sleep(0.02)
