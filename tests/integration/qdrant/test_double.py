"""The double of Qdrant serves the stock client, keeps what it was given, and says what it does not imitate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID, uuid4

import pytest
from qdrant.process import QdrantDouble
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

ONE, TWO, THREE = (str(UUID(int=number)) for number in (1, 2, 3))
POINTS = [
    models.PointStruct(id=ONE, vector=[1, 0, 0, 0], payload={"type": "episodic", "version": 1, "pinned": True}),
    models.PointStruct(id=TWO, vector=[0, 1, 0, 0], payload={"type": "semantic", "version": 2, "pinned": False}),
    models.PointStruct(id=THREE, vector=[1, 1, 0, 0], payload={"type": "episodic", "version": 3, "tags": ["a", "b"]}),
]
FOUR_DIMENSIONS = models.VectorParams(size=4, distance=models.Distance.COSINE)


def where(key: str, **condition: object) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=key, **condition)])


def version_below(number: int) -> models.Filter:
    return where("version", range=models.Range(lt=number))


@pytest.fixture
async def filled(qdrant_client: AsyncQdrantClient) -> str:
    """A collection with three points."""
    name = f"test-{uuid4().hex[:8]}"
    await qdrant_client.create_collection(name, FOUR_DIMENSIONS)
    await qdrant_client.upsert(name, POINTS)
    return name


@pytest.fixture
def alone(own_qdrant: QdrantDouble) -> Iterator[QdrantClient]:
    """A blocking client of a double that this test may stop."""
    with closing(QdrantClient(**own_qdrant.client_arguments())) as client:
        client.create_collection("kept", FOUR_DIMENSIONS, metadata={"owner": "me"})
        client.create_payload_index("kept", "type", models.PayloadSchemaType.KEYWORD)
        client.upsert("kept", POINTS)
        aliased = models.CreateAlias(collection_name="kept", alias_name="current")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=aliased)])
        yield client


async def test_nearest_points_come_first_with_their_cosine(qdrant_client, filled):
    found = await qdrant_client.query_points(filled, query=[2, 0, 0, 0], with_payload=True)

    assert [point.id for point in found.points] == [ONE, THREE, TWO]
    assert [round(point.score, 3) for point in found.points] == [1.0, 0.707, 0.0]
    assert found.points[0].payload == POINTS[0].payload


async def test_points_near_a_stored_point_do_not_hold_it(qdrant_client, filled):
    found = await qdrant_client.query_points(filled, query=ONE)

    assert [point.id for point in found.points] == [THREE, TWO]


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        (where("type", match=models.MatchValue(value="episodic")), [ONE, THREE]),
        (where("type", match=models.MatchAny(any=["semantic"])), [TWO]),
        (where("tags", match=models.MatchValue(value="b")), [THREE]),
        (where("pinned", match=models.MatchValue(value=True)), [ONE]),
        (where("pinned", match=models.MatchValue(value=False)), [TWO]),
        (version_below(3), [ONE, TWO]),
        (models.Filter(must_not=[models.HasIdCondition(has_id=[TWO])]), [ONE, THREE]),
        (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="tags"))]), [ONE, TWO]),
        (models.Filter(should=[version_below(2), where("tags", match=models.MatchValue(value="a"))]), [ONE, THREE]),
    ],
    ids=["value", "any", "array", "true", "false", "range", "not these ids", "empty", "either"],
)
async def test_filters_choose_points(qdrant_client, filled, condition, ids):
    points, _ = await qdrant_client.scroll(filled, scroll_filter=condition)
    counted = await qdrant_client.count(filled, count_filter=condition)

    assert [point.id for point in points] == ids
    assert counted.count == len(ids)


async def test_scrolling_goes_through_all_points_once(qdrant_client, filled):
    seen, offset = [], None
    while True:
        points, offset = await qdrant_client.scroll(filled, limit=2, offset=offset)
        seen += [point.id for point in points]
        if offset is None:
            break

    assert seen == [ONE, TWO, THREE]


async def test_an_older_version_does_not_overwrite_a_newer_one(qdrant_client, filled):
    late = models.PointStruct(id=THREE, vector=[0, 0, 0, 1], payload={"version": 2})

    await qdrant_client.upsert(filled, [late], update_filter=version_below(2))

    (point,) = await qdrant_client.retrieve(filled, [THREE])
    assert point.payload == POINTS[2].payload


async def test_points_are_deleted_by_id_and_by_filter(qdrant_client, filled):
    await qdrant_client.delete(filled, models.PointIdsList(points=[ONE]))
    await qdrant_client.delete(filled, models.FilterSelector(filter=version_below(3)))

    points, _ = await qdrant_client.scroll(filled)
    assert [point.id for point in points] == [THREE]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_everything_is_there_again_after_the_end_of_the_process(own_qdrant, alone, end):
    url = own_qdrant.url

    getattr(own_qdrant, end)()
    with pytest.raises(ResponseHandlingException):
        alone.count("kept")
    own_qdrant.start()

    assert own_qdrant.url == url
    assert alone.count("current").count == 3
    info = alone.get_collection("kept")
    assert info.config.metadata == {"owner": "me"}
    assert info.payload_schema["type"].points == 3
    assert [point.id for point in alone.query_points("current", query=[0, 1, 0, 0], limit=1).points] == [TWO]


def test_a_deleted_collection_stays_deleted(own_qdrant, alone):
    alone.delete_collection("kept")
    own_qdrant.kill()
    own_qdrant.start()

    assert alone.get_collections().collections == []
    assert alone.get_aliases().aliases == []
    assert list((own_qdrant.directory / "collections").iterdir()) == []


def test_changes_can_be_refused_as_a_full_disk_does(own_qdrant, alone):
    own_qdrant.refuse_writes(500, "Service internal error: No space left on device")

    with pytest.raises(UnexpectedResponse, match="No space left"):
        alone.upsert("kept", POINTS)
    assert alone.count("kept").count == 3
    own_qdrant.accept_writes()
    alone.upsert("kept", POINTS)


def test_every_request_is_on_record_and_changes_are_told_apart(own_qdrant, alone):
    own_qdrant.forget_requests()

    alone.count("kept")
    alone.delete_collection("kept")

    assert [(each.method, each.path, each.status) for each in own_qdrant.requests()] == [
        ("POST", "/collections/kept/points/count", 200),
        ("DELETE", "/collections/kept", 200),
    ]
    assert [each.method for each in own_qdrant.writes()] == ["DELETE"]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda client: client.create_collection("x", {"text": FOUR_DIMENSIONS}),
        lambda client: client.create_collection("x", FOUR_DIMENSIONS, shard_number=3),
        lambda client: client.create_snapshot("kept"),
        lambda client: client.facet("kept", "type"),
        lambda client: client.query_points("kept", query=models.FusionQuery(fusion=models.Fusion.RRF)),
    ],
    ids=["named vectors", "shards", "snapshots", "facets", "fusion"],
)
def test_what_is_not_imitated_is_refused_in_so_many_words(alone, attempt):
    with pytest.raises(UnexpectedResponse, match="test double") as refused:
        attempt(alone)
    assert refused.value.status_code == 501


def test_without_keys_everybody_may_do_everything(start_qdrant):
    double = start_qdrant(api_key=None)

    with closing(QdrantClient(url=double.url, check_compatibility=False)) as client:
        client.create_collection("open", FOUR_DIMENSIONS)
        assert client.collection_exists("open")
