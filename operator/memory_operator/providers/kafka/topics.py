"""What the topics of one tenant should be, and what they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from memory_contracts.naming import TopicKind

# A request to the API has at most 5 MiB; the event adds a frame to it, the dead-letter topic a reason. Kafka's own
# default is 1 MiB, and 8 MiB is what hosted clusters still allow.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
# Whoever looks after dead letters may be on holiday.
DEAD_LETTER_RETENTION = timedelta(days=28)
SEGMENTS_IN_RETENTION = 7
SHORTEST_SEGMENT = timedelta(minutes=1)
# Fewer than three copies cannot lose one and still have two.
ENOUGH_FOR_QUORUM = 3


@dataclass(frozen=True, slots=True)
class DesiredTopic:
    """A topic as it should be.

    The replication factor counts at creation only: Kafka changes it by moving replicas between brokers, which is for
    whoever runs the brokers to plan.
    """

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]

    def config_for(self, replicas: int) -> Mapping[str, str]:
        """Return the configuration of the topic when it has this many replicas, as it may have other than asked for."""
        return {**self.config, "min.insync.replicas": str(in_sync_replicas(replicas))}


@dataclass(frozen=True, slots=True)
class DesiredTopics:
    """The topics of one MemoryNamespace; `tenant` is ``namespace/name``."""

    tenant: str
    uid: str
    topics: tuple[DesiredTopic, ...]


@dataclass(frozen=True, slots=True)
class ObservedTopic:
    """A topic as it is. `config` holds what is set on the topic itself, without the broker's defaults."""

    topic_id: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ObservedTopics:
    """The topics that exist, of those the tenant wants or has claimed, and the names it has claimed."""

    topics: Mapping[str, ObservedTopic]
    claimed: frozenset[str]


def desired_topics(
    tenant: str,
    uid: str,
    names: Mapping[str, str],
    *,
    partitions: int,
    retention: timedelta,
    replication_factor: int,
) -> DesiredTopics:
    """Return what Kafka should hold for a tenant; `names` maps each `TopicKind` to the name of its topic.

    Dead letters are few, and whoever reads them wants them in one order: one partition. They stay longer, so that there
    is time to notice, mend and replay them.
    """
    longer = max(retention * 4, DEAD_LETTER_RETENTION)
    shapes = {
        TopicKind.EVENTS: (partitions, retention),
        TopicKind.INGEST: (partitions, retention),
        TopicKind.DEAD_LETTER: (1, longer),
    }
    topics = (
        DesiredTopic(names[kind], count, replication_factor, topic_config(kept))
        for kind, (count, kept) in shapes.items()
    )
    return DesiredTopics(tenant, uid, tuple(topics))


def topic_config(retention: timedelta) -> dict[str, str]:
    """Return the configuration that we own; whatever else is set on a topic is left to whoever set it.

    cleanup.policy: The key is a memory's id, and yet `delete`: compaction would keep the last text of every memory for
        ever, the forgotten ones too, a second store beside Postgres. A consumer that lost its place reads that.
    message.timestamp.type: Retention counts from a record's timestamp. By the producer's, an import of last year's
        memories would be removed before anyone has read it.
    segment.ms: Kafka removes whole segments, and not the one being written. With the default of a week, text would
        outlive a retention of a week by another.
    retention.bytes is not ours: it protects the brokers' disks, and that is for whoever runs them.
    """
    segment = max(retention // SEGMENTS_IN_RETENTION, SHORTEST_SEGMENT)
    return {
        "cleanup.policy": "delete",
        "retention.ms": _milliseconds(retention),
        "segment.ms": _milliseconds(segment),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }


def in_sync_replicas(replicas: int) -> int:
    """Return how many replicas must have a record before it counts as written: a majority of three or more, else one.

    Always set, for a broker's default of two would refuse every record of a topic with one replica.
    """
    return replicas // 2 + 1 if replicas >= ENOUGH_FOR_QUORUM else 1


def topic_names(desired: Iterable[DesiredTopics], claimed: Iterable[Iterable[str]]) -> list[str]:
    """Return each name that is wanted or claimed, once."""
    wanted = {topic.name for tenant in desired for topic in tenant.topics}
    return sorted(wanted.union(*claimed))


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))
