"""What the Qdrant plan decides; that the steps work is shown on a server's double."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_contracts.conditions import Reason
from memory_operator.providers.qdrant.plan import (
    TENANT_KEY,
    UID_KEY,
    AliasTarget,
    CreateCollection,
    DesiredCollection,
    DropCollection,
    Listing,
    Mark,
    ObservedCollection,
    ObservedQdrant,
    PointAlias,
    SetIndex,
    TakeOver,
    differs,
    in_turn,
    knows_metadata,
    plan,
    plan_deletion,
)
from memory_operator.providers.shapes import Blocked

NAME = "mem-team-a-research-2aee086f-1"
ALIAS = "mem-team-a-research-2aee086f"
DESIRED = DesiredCollection(
    tenant="team-a/research",
    uid="uid-1",
    collection=NAME,
    alias=ALIAS,
    dimensions=384,
    payload_indexes=(("type", "keyword"), ("version", "integer")),
)
FOREIGN = Mark("team-b/other", "uid-9")
EARLIER = Mark("team-a/research", "uid-0")
COLLECTION = ObservedCollection(DESIRED.mark, 384, "Cosine", {"type": "keyword", "version": "integer"})
CONVERGED = ObservedQdrant("1.18.3", COLLECTION, AliasTarget(NAME, DESIRED.mark))
EMPTY = ObservedQdrant("1.18.3")


def with_collection(**changes: object) -> ObservedQdrant:
    return replace(CONVERGED, collection=replace(COLLECTION, **changes))


def blocked(desired: DesiredCollection, observed: ObservedQdrant) -> Blocked:
    answer = plan(desired, observed)
    assert isinstance(answer, Blocked)
    return answer


def test_a_converged_pair_needs_no_step():
    assert plan(DESIRED, CONVERGED) == []


def test_an_empty_server_gets_a_marked_collection_its_indexes_and_the_alias_last():
    assert plan(DESIRED, EMPTY) == [
        CreateCollection(NAME, 384, "Cosine", DESIRED.mark),
        SetIndex(NAME, "type", "keyword"),
        SetIndex(NAME, "version", "integer"),
        PointAlias(ALIAS, NAME),
    ]


@pytest.mark.parametrize(
    ("observed", "steps"),
    [
        (with_collection(payload_indexes={"type": "keyword"}), [SetIndex(NAME, "version", "integer")]),
        (
            with_collection(payload_indexes={"type": "text", "version": "integer"}),
            [SetIndex(NAME, "type", "keyword", previous="text")],
        ),
        (with_collection(payload_indexes={**COLLECTION.payload_indexes, "mine": "keyword"}), []),
        (replace(CONVERGED, alias=None), [PointAlias(ALIAS, NAME)]),
        (
            replace(CONVERGED, alias=AliasTarget(f"{NAME}0", DESIRED.mark)),
            [PointAlias(ALIAS, NAME, previous=f"{NAME}0")],
        ),
    ],
    ids=["index missing", "index of another type", "index of a client", "alias missing", "alias elsewhere"],
)
def test_what_differs_is_set_right_and_nothing_else(observed, steps):
    assert plan(DESIRED, observed) == steps


@pytest.mark.parametrize(
    ("step", "summary"),
    [
        (
            CreateCollection(NAME, 384, "Cosine", DESIRED.mark),
            f"create collection {NAME} for team-a/research: 384-dimensional vectors, Cosine",
        ),
        (SetIndex(NAME, "type", "keyword"), f"index payload field type of collection {NAME} as keyword"),
        (
            SetIndex(NAME, "type", "keyword", "text"),
            f"index payload field type of collection {NAME} as keyword instead of text",
        ),
        (PointAlias(ALIAS, NAME), f"point alias {ALIAS} to collection {NAME}"),
        (PointAlias(ALIAS, NAME, "old"), f"move alias {ALIAS} from collection old to {NAME}"),
        (
            TakeOver(NAME, DESIRED.mark, "uid-0"),
            f"take over collection {NAME} of team-a/research from its former object uid-0",
        ),
        (DropCollection(NAME), f"drop collection {NAME} and its aliases"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_step_says_what_it_does(step, summary):
    assert step.summary == summary


@pytest.mark.parametrize(
    ("mark", "reason", "words"),
    [
        (None, Reason.FOREIGN_OBJECT, "carries no mark"),
        (FOREIGN, Reason.FOREIGN_OBJECT, "belongs to team-b/other"),
        (EARLIER, Reason.CLAIMED_BY_ANOTHER, "with uid uid-0"),
    ],
    ids=["unmarked", "another tenant's", "another object's of the same name"],
)
@pytest.mark.parametrize("place", ["collection", "alias"])
def test_what_is_not_ours_blocks(mark, reason, words, place):
    collection = with_collection(mark=mark)
    alias = replace(CONVERGED, alias=AliasTarget("elsewhere", mark))

    answer = blocked(DESIRED, collection if place == "collection" else alias)

    assert answer.reason is reason
    assert words in answer.message
    assert (NAME if place == "collection" else "elsewhere") in answer.message


def test_a_collection_in_the_place_of_the_alias_blocks():
    answer = blocked(DESIRED, replace(CONVERGED, alias=AliasTarget(ALIAS, DESIRED.mark)))

    assert answer.reason is Reason.FOREIGN_OBJECT
    assert f"a collection has the name {ALIAS}" in answer.message


@pytest.mark.parametrize("adopts", [True, frozenset({"uid-0"})], ids=["any", "that one"])
def test_what_an_earlier_object_left_is_taken_over_when_the_ledger_says_so(adopts):
    left_behind = replace(with_collection(mark=EARLIER), alias=AliasTarget(NAME, EARLIER))

    assert plan(replace(DESIRED, adopts=adopts), left_behind) == [TakeOver(NAME, DESIRED.mark, "uid-0")]


def test_what_the_ledger_does_not_know_is_not_taken_over():
    desired = replace(DESIRED, adopts=frozenset({"uid-of-another-predecessor"}))

    assert blocked(desired, with_collection(mark=EARLIER)).reason is Reason.CLAIMED_BY_ANOTHER
    assert plan(desired, CONVERGED) == []


def test_adoption_does_not_extend_to_other_tenants():
    assert blocked(replace(DESIRED, adopts=True), with_collection(mark=FOREIGN)).reason is Reason.FOREIGN_OBJECT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dimensions": 768}, "stores 768-dimensional vectors, the spec asks for 384; restore"),
        ({"distance": "Dot"}, "compares vectors by Dot, the spec asks for Cosine; restore"),
        ({"dimensions": None, "distance": None}, "has no single unnamed vector"),
    ],
    ids=["dimensions", "distance", "named vectors"],
)
def test_vectors_of_another_kind_block(changes, words):
    answer = blocked(DESIRED, with_collection(payload_indexes={}, **changes))

    assert answer.reason is Reason.VECTOR_MISMATCH
    assert answer.message.startswith(f"collection {NAME} {words}")


def test_a_foreign_collection_is_called_foreign_whatever_it_holds():
    assert blocked(DESIRED, with_collection(mark=FOREIGN, dimensions=768)).reason is Reason.FOREIGN_OBJECT


@pytest.mark.parametrize(
    ("version", "enough"),
    [("1.15.5", False), ("1.16.0", True), ("1.18.3-dev", True), ("v1.20.0", True), ("2.0.0", True), ("dev", False)],
)
def test_the_server_must_keep_metadata_of_collections(version, enough):
    assert knows_metadata(version) is enough
    assert isinstance(plan(DESIRED, replace(EMPTY, version=version)), list) is enough


def test_a_server_that_is_too_old_is_named():
    answer = blocked(DESIRED, replace(EMPTY, version="1.15.5"))

    assert answer.reason is Reason.REJECTED
    assert "the server is Qdrant 1.15.5; 1.16 or newer is needed" in answer.message


def marked(mark: Mark | None) -> ObservedQdrant:
    return replace(with_collection(mark=mark), alias=AliasTarget(NAME, mark))


@pytest.mark.parametrize(
    ("observed", "dropped"),
    [
        (CONVERGED, [NAME]),
        (EMPTY, []),
        (marked(None), []),
        (marked(FOREIGN), []),
        (marked(EARLIER), []),
        (replace(CONVERGED, alias=AliasTarget("older", DESIRED.mark)), [NAME, "older"]),
        (replace(CONVERGED, alias=AliasTarget("theirs", FOREIGN)), [NAME]),
        (replace(EMPTY, alias=AliasTarget("theirs", FOREIGN)), []),
    ],
    ids=["ours", "gone", "unmarked", "foreign", "earlier", "alias to ours", "alias to foreign", "only a foreign alias"],
)
def test_deletion_drops_what_carries_the_mark_of_this_very_object(observed, dropped):
    assert plan_deletion(DESIRED, observed) == [DropCollection(name) for name in dropped]


def test_deletion_drops_what_an_object_left_whose_claim_was_taken_over():
    """Who is deleted before its first pass has not written its own mark yet."""
    left = ObservedQdrant("1.18.3", ObservedCollection(Mark(DESIRED.tenant, "uid-0"), 384, "Cosine"))

    assert plan_deletion(replace(DESIRED, adopts=frozenset({"uid-0"})), left) == [DropCollection(NAME)]
    assert plan_deletion(replace(DESIRED, adopts=frozenset({"uid-8"})), left) == []


@pytest.mark.parametrize(
    ("collections", "aliases", "drifted"),
    [
        ({NAME}, {ALIAS: NAME}, False),
        (set(), {}, True),
        ({NAME}, {}, True),
        ({NAME, "other"}, {ALIAS: "other"}, True),
        ({ALIAS}, {NAME: ALIAS}, True),
    ],
    ids=["as desired", "nothing", "no alias", "alias elsewhere", "names swapped"],
)
def test_names_alone_tell_what_is_missing(collections, aliases, drifted):
    assert differs(DESIRED, Listing(frozenset(collections), aliases)) is drifted


@pytest.mark.parametrize(
    "metadata", [None, {}, {TENANT_KEY: "a/b"}, {UID_KEY: "u"}, {TENANT_KEY: 1, UID_KEY: 2}, {"owner": "somebody"}]
)
def test_a_mark_that_is_not_whole_is_none(metadata):
    assert Mark.read(metadata) is None


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_mark_reads_back_as_itself_beside_what_others_wrote(tenant, uid, others):
    mark = Mark(tenant, uid)

    assert Mark.read(others | mark.as_metadata()) == mark


@given(st.sets(st.text(min_size=1), min_size=1, max_size=30), st.integers(1, 40))
def test_taking_turns_reaches_everybody_as_early_as_it_can(tenants, count):
    everything = [replace(DESIRED, tenant=each) for each in tenants]
    sweeps = -(-len(tenants) // count)
    after, seen = "", []

    for _ in range(sweeps):
        chosen = in_turn(everything, after, count)
        after = chosen[-1].tenant
        seen += [each.tenant for each in chosen]

    assert set(seen) == tenants
    assert all(len(in_turn(everything, each, count)) == min(count, len(tenants)) for each in tenants)
