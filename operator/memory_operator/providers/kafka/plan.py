"""Decides what has to change in Kafka for one tenant: (desired, observed) → steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from memory_contracts.conditions import Reason
from memory_operator.providers.kafka.topics import DesiredTopic, DesiredTopics, ObservedTopic, ObservedTopics
from memory_operator.providers.shapes import Blocked, Claim, Release


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Make a topic that is claimed and absent."""

    wanted: DesiredTopic

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"create topic {self.wanted.name} with {_partitions(self.wanted.partitions)}"

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.wanted.name

    def shows_in(self, topic: ObservedTopic | None) -> bool:
        """Whether the broker that was asked knows of the step already."""
        return topic is not None


@dataclass(frozen=True, slots=True)
class CreatePartitions:
    """Give a topic more partitions. From then on new records of a key may go to another partition than its old ones."""

    topic: str
    before: int
    count: int

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"grow topic {self.topic} from {self.before} to {_partitions(self.count)}"

    def shows_in(self, topic: ObservedTopic | None) -> bool:
        """Whether the broker that was asked knows of the step already."""
        return topic is not None and topic.partitions >= self.count


@dataclass(frozen=True, slots=True)
class AlterConfig:
    """Set single values of a topic's configuration; the others stay."""

    topic: str
    values: Mapping[str, str]

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        settings = ", ".join(f"{key}={value}" for key, value in self.values.items())
        return f"set {settings} of topic {self.topic}"

    def shows_in(self, topic: ObservedTopic | None) -> bool:
        """Whether the broker that was asked knows of the step already."""
        return topic is not None and self.values.items() <= topic.config.items()


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    """Delete a topic that the tenant has claimed, with its records."""

    topic: str

    @property
    def summary(self) -> str:
        """One line for log and dry run."""
        return f"delete topic {self.topic}"

    def shows_in(self, topic: ObservedTopic | None) -> bool:
        """Whether the broker that was asked knows of the step already."""
        return topic is None


TopicChange: TypeAlias = CreateTopic | CreatePartitions | AlterConfig | DeleteTopic
TopicStep: TypeAlias = Claim | TopicChange | Release


def plan(desired: DesiredTopics, observed: ObservedTopics) -> list[TopicStep] | Blocked:
    """Return the steps from `observed` to `desired`, in order; none for a converged pair.

    One foreign topic blocks all three: what is half set up serves nobody. More partitions than asked for block nothing,
    see `shrink_refused`.
    """
    if foreign := [topic.name for topic in desired.topics if _is_foreign(topic.name, observed)]:
        return _blocked_by(foreign)
    absent = [topic for topic in desired.topics if topic.name not in observed.topics]
    present = [(topic, observed.topics[topic.name]) for topic in desired.topics if topic.name in observed.topics]
    return [
        *_claims(absent, observed),
        *map(CreateTopic, absent),
        *(step for wanted, found in present for step in _growth(wanted, found)),
        *(step for wanted, found in present for step in _repairs(wanted, found)),
    ]


def shrink_refused(desired: DesiredTopics, observed: ObservedTopics) -> Blocked | None:
    """Return what to tell a person when a topic of ours has more partitions than asked for, else None.

    Kafka cannot take partitions away, and too many break nothing: whoever grew the topic by hand, or brought an old one
    back with a smaller spec, shall read of it, but need not lose the service over it. So this stands beside `plan`: it
    is to be reported, not waited for, and it is not drift, which would have it planned anew for ever.
    """
    found = observed.topics
    larger = [
        f"topic {topic.name} has {_partitions(found[topic.name].partitions)}, the spec asks for {topic.partitions}"
        for topic in desired.topics
        if topic.name in found and not _is_foreign(topic.name, observed)
        if found[topic.name].partitions > topic.partitions
    ]
    if not larger:
        return None
    remedy = "Kafka cannot take partitions away; ask for as many as there are, or delete the topic to have it made anew"
    return Blocked(Reason.CANNOT_SHRINK, f"{'; '.join(larger)}. {remedy}")


def plan_deletion(desired: DesiredTopics, observed: ObservedTopics) -> list[TopicStep]:
    """Return the steps that leave nothing of the tenant; none when nothing is left.

    The claims decide, not the spec: a claimed topic that the spec no longer names goes too, and first; a foreign one of
    a name that the spec gives stays. Those of the spec go in the reverse of the order in which they are made.
    """
    latest_first = [topic.name for topic in reversed(desired.topics) if topic.name in observed.claimed]
    claimed = (*sorted(observed.claimed.difference(latest_first)), *latest_first)
    deletions = [DeleteTopic(name) for name in claimed if name in observed.topics]
    return [*deletions, Release(claimed)] if claimed else []


def _is_foreign(name: str, observed: ObservedTopics) -> bool:
    return name in observed.topics and name not in observed.claimed


def _blocked_by(names: list[str]) -> Blocked:
    which = f"topic {names[0]} exists, but was" if len(names) == 1 else f"topics {', '.join(names)} exist, but were"
    return Blocked(
        Reason.FOREIGN_OBJECT,
        f"{which} not made for this MemoryNamespace; delete what nobody needs (kafka-topics.sh --delete), or give the "
        "MemoryNamespace another name",
    )


def _claims(absent: list[DesiredTopic], observed: ObservedTopics) -> Iterator[Claim]:
    if unclaimed := tuple(topic.name for topic in absent if topic.name not in observed.claimed):
        yield Claim(unclaimed)


def _growth(wanted: DesiredTopic, found: ObservedTopic) -> Iterator[CreatePartitions]:
    if found.partitions < wanted.partitions:
        yield CreatePartitions(wanted.name, found.partitions, wanted.partitions)


def _repairs(wanted: DesiredTopic, found: ObservedTopic) -> Iterator[AlterConfig]:
    config = wanted.config_for(found.replication_factor)
    if wrong := {key: value for key, value in config.items() if found.config.get(key) != value}:
        yield AlterConfig(wanted.name, wrong)


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"
