"""What the Kafka plan decides; that the steps work is shown on a real broker."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memory_contracts.conditions import Reason
from memory_operator.providers.kafka.plan import (
    AlterConfig,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    TopicStep,
    plan,
    plan_deletion,
    shrink_refused,
)
from memory_operator.providers.kafka.topics import (
    DesiredTopic,
    DesiredTopics,
    ObservedTopic,
    ObservedTopics,
    TopicKind,
    desired_topics,
    in_sync_replicas,
)
from memory_operator.providers.shapes import Blocked, Claim, Release

NAMES = {kind: f"mem-team-a-research.{kind}" for kind in TopicKind}
EVENTS, INGEST, DEAD_LETTER = NAMES.values()


def desired(
    partitions: int = 3, replication_factor: int = 1, retention: timedelta = timedelta(days=7)
) -> DesiredTopics:
    return desired_topics(
        "team-a/research",
        "a-uid",
        NAMES,
        partitions=partitions,
        retention=retention,
        replication_factor=replication_factor,
    )


def wanted(name: str, of: DesiredTopics | None = None) -> DesiredTopic:
    (topic,) = (topic for topic in (of or desired()).topics if topic.name == name)
    return topic


def as_wanted(topic: DesiredTopic) -> ObservedTopic:
    config = topic.config_for(topic.replication_factor)
    return ObservedTopic("an-id", topic.partitions, topic.replication_factor, config)


def converged(of: DesiredTopics | None = None) -> ObservedTopics:
    topics = (of or desired()).topics
    return ObservedTopics({topic.name: as_wanted(topic) for topic in topics}, frozenset(NAMES.values()))


def without(*names: str, claimed: bool) -> ObservedTopics:
    observed = converged()
    topics = {name: topic for name, topic in observed.topics.items() if name not in names}
    return ObservedTopics(topics, observed.claimed if claimed else observed.claimed.difference(names))


def changed(name: str, **changes: object) -> ObservedTopics:
    observed = converged()
    return replace(observed, topics={**observed.topics, name: replace(observed.topics[name], **changes)})


def reconfigured(name: str, **values: str) -> ObservedTopics:
    config = {key.replace("_", "."): value for key, value in values.items()}
    return changed(name, config={**converged().topics[name].config, **config})


def summaries(steps: Sequence[TopicStep] | Blocked) -> list[str]:
    assert not isinstance(steps, Blocked), steps
    return [step.summary for step in steps]


def test_a_converged_pair_needs_no_step():
    assert plan(desired(), converged()) == []


def test_an_empty_cluster_gets_the_claims_before_the_topics():
    steps = plan(desired(), ObservedTopics({}, frozenset()))

    assert summaries(steps) == [
        f"claim {EVENTS}, {INGEST}, {DEAD_LETTER}",
        f"create topic {EVENTS} with 3 partitions",
        f"create topic {INGEST} with 3 partitions",
        f"create topic {DEAD_LETTER} with 1 partition",
    ]


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (without(INGEST, claimed=True), [f"create topic {INGEST} with 3 partitions"]),
        (without(INGEST, claimed=False), [f"claim {INGEST}", f"create topic {INGEST} with 3 partitions"]),
        (
            ObservedTopics({}, frozenset([EVENTS, INGEST])),
            [
                f"claim {DEAD_LETTER}",
                f"create topic {EVENTS} with 3 partitions",
                f"create topic {INGEST} with 3 partitions",
                f"create topic {DEAD_LETTER} with 1 partition",
            ],
        ),
        (changed(EVENTS, partitions=1), [f"grow topic {EVENTS} from 1 to 3 partitions"]),
        (reconfigured(EVENTS, retention_ms="1"), [f"set retention.ms=604800000 of topic {EVENTS}"]),
        (reconfigured(DEAD_LETTER, cleanup_policy="compact"), [f"set cleanup.policy=delete of topic {DEAD_LETTER}"]),
        (reconfigured(EVENTS, flush_ms="1000"), []),
        (changed(EVENTS, topic_id="another"), []),
        (replace(converged(), topics={**converged().topics, "orders": as_wanted(wanted(EVENTS))}), []),
    ],
    ids=[
        "deleted behind our back",
        "never made",
        "crashed between the claim and the topics",
        "too few partitions",
        "other retention",
        "other cleanup",
        "a value that is not ours",
        "deleted and made anew by hand",
        "a topic of somebody else's name",
    ],
)
def test_what_differs_is_what_is_done(observed, expected):
    assert summaries(plan(desired(), observed)) == expected


def test_values_that_are_only_the_brokers_defaults_are_set_on_the_topic():
    """Else a change of the default would change the topic."""
    (step,) = plan(desired(), changed(EVENTS, config={}))

    assert step == AlterConfig(EVENTS, wanted(EVENTS).config_for(1))


@pytest.mark.parametrize("names", [[EVENTS], [INGEST, DEAD_LETTER]], ids=["one", "two"])
def test_a_topic_without_a_claim_blocks_everything(names):
    observed = converged()
    foreign = replace(observed, claimed=observed.claimed.difference(names))
    damaged = replace(foreign, topics={**foreign.topics, EVENTS: replace(foreign.topics[EVENTS], partitions=1)})

    blocked = plan(desired(), damaged)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT
    assert all(name in blocked.message for name in names)
    assert "delete what nobody needs" in blocked.message


def test_more_partitions_than_asked_for_stay_and_the_rest_goes_on():
    grown = changed(EVENTS, partitions=6, config={})

    assert [type(step) for step in plan(desired(), grown)] == [AlterConfig]


def test_more_partitions_than_asked_for_are_told():
    refused = shrink_refused(desired(), changed(EVENTS, partitions=6))

    assert refused is not None
    assert refused.reason is Reason.CANNOT_SHRINK
    assert f"topic {EVENTS} has 6 partitions, the spec asks for 3" in refused.message
    assert "ask for as many as there are" in refused.message


def test_the_size_of_a_foreign_topic_is_not_our_business():
    observed = changed(EVENTS, partitions=6)

    assert shrink_refused(desired(), replace(observed, claimed=frozenset())) is None


@given(asked=st.integers(1, 50), there=st.integers(1, 50))
def test_partitions_only_grow(asked, there):
    observed = changed(EVENTS, partitions=there)

    grown = {step for step in plan(desired(partitions=asked), observed) if getattr(step, "topic", "") == EVENTS}

    assert grown == ({CreatePartitions(EVENTS, there, asked)} if there < asked else set())
    assert (shrink_refused(desired(partitions=asked), observed) is None) is (there <= asked and asked >= 3)


@pytest.mark.parametrize(("replicas", "expected"), [(1, "1"), (2, "1"), (3, "2"), (5, "3")])
def test_a_record_is_written_when_a_majority_of_three_or_more_has_it(replicas, expected):
    assert str(in_sync_replicas(replicas)) == expected
    assert wanted(EVENTS).config_for(replicas)["min.insync.replicas"] == expected


def test_a_topic_with_fewer_replicas_than_asked_for_is_not_told_to_wait_for_more():
    """With two in sync but one replica no record could be written."""
    old = converged(desired(replication_factor=1))

    assert plan(desired(replication_factor=3), old) == []


def test_dead_letters_are_in_one_order_and_stay_longer():
    week, quarter = desired(), desired(retention=timedelta(days=90))

    assert wanted(DEAD_LETTER).partitions == 1
    assert wanted(DEAD_LETTER, week).config["retention.ms"] == str(28 * 24 * 3600 * 1000)
    assert wanted(DEAD_LETTER, quarter).config["retention.ms"] == str(360 * 24 * 3600 * 1000)


@given(st.timedeltas(timedelta(milliseconds=1), timedelta(days=3650)))
@example(timedelta(seconds=503, microseconds=999997))
def test_text_outlives_its_retention_by_a_part_of_it_at_most(retention):
    config = wanted(EVENTS, desired(retention=retention)).config

    assert int(config["segment.ms"]) <= max(int(config["retention.ms"]) / 7, 60_000)


def test_deletion_deletes_what_is_claimed_and_gives_the_claims_up():
    assert plan_deletion(desired(), converged()) == [
        DeleteTopic(DEAD_LETTER),
        DeleteTopic(INGEST),
        DeleteTopic(EVENTS),
        Release((DEAD_LETTER, INGEST, EVENTS)),
    ]


def test_deletion_leaves_a_foreign_topic_alone():
    observed = replace(converged(), claimed=frozenset([EVENTS]))

    assert plan_deletion(desired(), observed) == [DeleteTopic(EVENTS), Release((EVENTS,))]


def test_deletion_finds_claimed_topics_that_the_spec_no_longer_names():
    observed = ObservedTopics({"an-old-name": as_wanted(wanted(EVENTS))}, frozenset(["an-old-name"]))

    assert plan_deletion(desired(), observed) == [DeleteTopic("an-old-name"), Release(("an-old-name",))]


def test_deletion_of_what_is_gone_only_gives_the_claims_up():
    assert plan_deletion(desired(), ObservedTopics({}, frozenset([EVENTS]))) == [Release((EVENTS,))]


def test_deletion_of_nothing_needs_no_step():
    assert plan_deletion(desired(), ObservedTopics({}, frozenset())) == []


def carry_out(steps: Sequence[TopicStep], observed: ObservedTopics) -> ObservedTopics:
    """What Kafka and the ledger hold after the steps."""
    topics, claimed = dict(observed.topics), set(observed.claimed)
    for step in steps:
        match step:
            case Claim(objects):
                claimed.update(objects)
            case CreateTopic(topic):
                assert topic.name in claimed
                assert topic.name not in topics
                topics[topic.name] = as_wanted(topic)
            case CreatePartitions(name, before, count):
                assert before == topics[name].partitions < count
                topics[name] = replace(topics[name], partitions=count)
            case AlterConfig(name, values):
                topics[name] = replace(topics[name], config={**topics[name].config, **values})
            case DeleteTopic(name):
                del topics[name]
            case Release(objects):
                assert not topics.keys() & set(objects)
                claimed.difference_update(objects)
    return ObservedTopics(topics, frozenset(claimed))


existing = st.builds(
    ObservedTopic,
    st.just("an-id"),
    st.integers(1, 12),
    st.integers(1, 3),
    st.dictionaries(st.sampled_from(["retention.ms", "cleanup.policy", "flush.ms"]), st.sampled_from(["1", "compact"])),
)
worlds = st.builds(
    ObservedTopics,
    st.dictionaries(st.sampled_from([*NAMES.values(), "orders"]), existing),
    st.frozensets(st.sampled_from(list(NAMES.values()))),
)


@given(worlds)
def test_from_every_world_the_steps_lead_to_one_that_needs_none(observed):
    steps = plan(desired(), observed)

    if isinstance(steps, Blocked):
        assert observed.topics.keys() & set(NAMES.values()) - observed.claimed
    else:
        assert plan(desired(), carry_out(steps, observed)) == []


@given(worlds)
def test_deletion_takes_what_is_claimed_and_nothing_else(observed):
    after = carry_out(plan_deletion(desired(), observed), observed)

    assert after.topics == {name: topic for name, topic in observed.topics.items() if name not in observed.claimed}
    assert after.claimed == frozenset()
    assert plan_deletion(desired(), after) == []


def test_a_claim_is_the_shared_shape():
    steps = plan(desired(), ObservedTopics({}, frozenset()))

    assert isinstance(steps, list)
    assert steps[0] == Claim((EVENTS, INGEST, DEAD_LETTER))
