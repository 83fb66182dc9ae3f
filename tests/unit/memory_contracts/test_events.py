"""The memory.event: what was published once must be readable for ever."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from memory_contracts.events import MemoryBody, MemoryEvent, event_id

MEMORY = UUID("2566c4ff-873f-5026-bfd3-c5301ca11011")
# Published by version 0.1.0. Never edit: add a sample for each new version of the schema.
STORED_V1 = (
    '{"schema_version":1,"kind":"memory.stored","namespace":"team-a/research",'
    '"memory_id":"2566c4ff-873f-5026-bfd3-c5301ca11011","version":3,"time":"2026-11-21T12:00:00Z",'
    '"body":{"coord":[1.0,2.5],"type":"semantic","payload":{"text":"Alice keeps bees"},"importance":0.5},'
    '"event_id":"08aef30e-d546-5318-98fb-556c5182519f"}'
)
DELETED_V1 = (
    '{"schema_version":1,"kind":"memory.deleted","namespace":"team-a/research",'
    '"memory_id":"2566c4ff-873f-5026-bfd3-c5301ca11011","version":4,"time":"2026-11-21T12:00:01.000001Z",'
    '"body":null,"event_id":"b74210f5-bdfb-57ec-a34a-5e12fb9d6585"}'
)


def test_the_event_of_a_store_is_read_for_ever():
    assert MemoryEvent.model_validate_json(STORED_V1) == MemoryEvent(
        kind="memory.stored",
        namespace="team-a/research",
        memory_id=MEMORY,
        version=3,
        time=datetime(2026, 11, 21, 12, tzinfo=UTC),
        body=MemoryBody(coord=[1.0, 2.5], type="semantic", payload={"text": "Alice keeps bees"}, importance=0.5),
    )


def test_the_event_of_a_deletion_is_read_for_ever():
    event = MemoryEvent.model_validate_json(DELETED_V1)
    assert (event.kind, event.version, event.body) == ("memory.deleted", 4, None)


def test_what_is_published_is_what_the_sample_says():
    assert MemoryEvent.model_validate_json(STORED_V1).model_dump_json() == STORED_V1


def test_a_reader_skips_fields_of_a_later_publisher():
    later = STORED_V1.replace('"version":3', '"version":3,"origin":"import"').replace(
        '"type":', '"valid_from":1,"type":'
    )
    assert MemoryEvent.model_validate_json(later) == MemoryEvent.model_validate_json(STORED_V1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema_version":1', '"schema_version":2'),
        ('"version":3', '"version":0'),
        ("memory.stored", "memory.moved"),
        ('"semantic"', '"procedural"'),
        (f'"memory_id":"{MEMORY}",', ""),
    ],
)
def test_an_event_that_means_something_else_is_refused(old, new):
    with pytest.raises(ValidationError):
        MemoryEvent.model_validate_json(STORED_V1.replace(old, new))


def test_event_ids_never_move():
    space = UUID("5e2ae3f5-20b1-50e7-a112-941ffafffc5b")
    assert event_id(space, 1) == UUID("727e25a8-ffe4-543f-afe9-22c688d3dd71")
    assert event_id(space, 2) == UUID("473cfb1f-aab5-53f9-800b-779be9ab1f19")


@given(st.uuids(), st.uuids(), st.integers(1, 2**63), st.integers(1, 2**63))
def test_the_event_id_names_memory_and_version(one, other, first, second):
    assert (event_id(one, first) == event_id(other, second)) == ((one, first) == (other, second))
