"""Names of external things: valid everywhere, and never shared by two tenants."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memory_contracts.naming import MAX_KUBERNETES_NAME, MAX_POSTGRES_NAME, TenantNames

MAX_KAFKA_NAME = 249
MAX_QDRANT_NAME = 255

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
POSTGRES = re.compile(r"[a-z_][a-z0-9_]*")
KUBERNETES = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KAFKA = re.compile(r"[a-zA-Z0-9._-]+")
QDRANT = re.compile(r"[a-z0-9][-a-z0-9]*")


def postgres_names(names: TenantNames) -> set[str]:
    return {names.schema, names.owner_role, names.login_role("a"), names.login_role("b")}


def topics(names: TenantNames) -> set[str]:
    return {names.topic("events"), names.topic("ingest"), names.topic("dead-letter")}


def backend_names(names: TenantNames) -> set[str]:
    qdrant_and_redis = {names.alias, names.collection, names.redis_user, names.redis_prefix}
    return postgres_names(names) | topics(names) | qdrant_and_redis


def kubernetes_names(names: TenantNames) -> set[str]:
    return {names.api, names.binding, names.credentials}


@given(LABELS, LABELS)
@example("a" * 63, "b" * 63)
@example("0", "0")
@example("a" + "-" * 61 + "b", "c" + "-" * 61 + "d")
def test_every_name_is_valid_where_it_is_used(namespace, name):
    names = TenantNames(namespace, name)
    for found, form, longest in (
        (postgres_names(names), POSTGRES, MAX_POSTGRES_NAME),
        (topics(names), KAFKA, MAX_KAFKA_NAME),
        ({names.alias, names.collection}, QDRANT, MAX_QDRANT_NAME),
        (kubernetes_names(names), KUBERNETES, MAX_KUBERNETES_NAME),
    ):
        for each in found:
            assert form.fullmatch(each), each
            assert len(each.encode()) <= longest


@given(LABELS, LABELS)
def test_the_names_of_one_tenant_differ_where_they_share_a_place(namespace, name):
    names = TenantNames(namespace, name)
    assert len(postgres_names(names)) == 4
    assert len(topics(names)) == 3
    assert names.alias != names.collection
    assert len(kubernetes_names(names)) == 3


@given(LABELS, LABELS, LABELS, LABELS)
def test_no_redis_prefix_is_the_beginning_of_another(namespace, name, other_namespace, other_name):
    one, other = TenantNames(namespace, name), TenantNames(other_namespace, other_name)
    assert one == other or not other.redis_prefix.startswith(one.redis_prefix)


@given(LABELS, LABELS, LABELS, LABELS)
def test_two_tenants_never_share_a_backend_object(namespace, name, other_namespace, other_name):
    one, other = TenantNames(namespace, name), TenantNames(other_namespace, other_name)
    assert backend_names(one).isdisjoint(backend_names(other)) == (one != other)


@given(st.text("ab-", min_size=3, max_size=12).filter(lambda text: KUBERNETES.fullmatch(text) is not None))
def test_where_the_name_is_cut_makes_another_tenant(text):
    tenants = {
        TenantNames(text[:at], text[at + 1 :])
        for at in range(1, len(text) - 1)
        if text[at] == "-" and KUBERNETES.fullmatch(text[:at]) and KUBERNETES.fullmatch(text[at + 1 :])
    }
    assert len({tenant.schema for tenant in tenants}) == len(tenants)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-b", "c"), ("a", "b-c")),
        (("a", "b"), ("a-b", "b")),
        (("a" * 63, "b"), ("a" * 63, "c")),
        (("team", "x-1"), ("team", "x1")),
    ],
)
def test_names_that_read_alike_are_kept_apart(one, other):
    assert backend_names(TenantNames(*one)).isdisjoint(backend_names(TenantNames(*other)))


@given(LABELS, LABELS)
def test_objects_of_two_names_in_one_kubernetes_namespace_differ(name, other):
    one, two = TenantNames("team", name), TenantNames("team", other)
    assert kubernetes_names(one).isdisjoint(kubernetes_names(two)) == (name != other)


def test_names_never_move():
    names = TenantNames("team-a", "research")
    assert names.qualified == "team-a/research"
    assert names.schema == "mem_team_a_research_2aee086f"
    assert names.owner_role == f"{names.schema}_owner"
    assert (names.login_role("a"), names.login_role("b")) == (f"{names.schema}_a", f"{names.schema}_b")
    assert names.alias == names.redis_user == "mem-team-a-research-2aee086f"
    assert names.collection == "mem-team-a-research-2aee086f-1"
    assert names.topic("events") == "mem-team-a-research-2aee086f.events"
    assert names.topic("dead-letter") == "mem-team-a-research-2aee086f.dead-letter"
    assert names.redis_prefix == "mem-team-a-research-2aee086f:"
    assert (names.api, names.binding, names.credentials) == (
        "research-api",
        "research-binding",
        "research-credentials",
    )
