"""What the Postgres plan decides; that the steps work is shown on a real server."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_contracts.conditions import Reason
from memory_contracts.database.migrations import all_migrations
from memory_contracts.naming import TenantNames
from memory_operator.providers.postgres.plan import (
    SEQUENCE_PRIVILEGES,
    TABLE_PRIVILEGES,
    Blocked,
    DesiredTenant,
    ObservedRole,
    ObservedSchema,
    ObservedTenant,
    SetPassword,
    desired_tenant,
    plan,
)
from memory_operator.providers.postgres.sql import quote_identifier, split_identifiers, statement

DESIRED = desired_tenant(TenantNames("team-a", "research"), "secret-password", replicas=2)


def converged(desired: DesiredTenant = DESIRED) -> ObservedTenant:
    claim = desired.role_claim("soma")
    return ObservedTenant(
        version=180000,
        database="soma",
        extension_schema="public",
        owner=ObservedRole(claim, False, False, -1, {}, ()),
        login=ObservedRole(
            claim,
            True,
            False,
            desired.connection_limit,
            {"search_path": f"{desired.schema}, public", "statement_timeout": "60s"},
            (),
        ),
        schema=ObservedSchema(
            comment=desired.schema_claim,
            owner=desired.owner_role,
            login_usage=True,
            login_create=False,
            open_to_public=False,
            tables_lacking=0,
            sequences_lacking=0,
            default_tables=TABLE_PRIVILEGES,
            default_sequences=SEQUENCE_PRIVILEGES,
            applied={each.version: each.checksum for each in all_migrations()},
        ),
        admin_may_be_owner=True,
        password_works=True,
        login_may_connect=True,
        extension_usable={desired.owner_role: True, desired.login_role: True},
    )


def empty(version: int = 180000) -> ObservedTenant:
    return replace(
        converged(),
        version=version,
        extension_schema=None,
        owner=None,
        login=None,
        schema=None,
        admin_may_be_owner=False,
        password_works=False,
    )


def summaries(observed: ObservedTenant) -> list[str]:
    steps = plan(DESIRED, observed)
    assert isinstance(steps, list)
    return [step.summary for step in steps]


def test_a_converged_pair_needs_no_step():
    assert plan(DESIRED, converged()) == []


def test_an_empty_database_gets_everything_in_an_order_that_works():
    lines = summaries(empty())
    order = ["create extension", "create owner role", "create schema", "create login role", "set password", "migrate"]

    positions = [next(at for at, line in enumerate(lines) if word in line) for word in order]

    assert positions == sorted(positions)


@pytest.mark.parametrize(("version", "option"), [(150004, False), (160000, True), (180006, True)])
def test_acting_as_the_owner_is_asked_for_in_the_words_of_the_version(version, option):
    steps = plan(DESIRED, empty(version))
    assert isinstance(steps, list)

    (grant,) = (step for step in steps if "act as role" in step.summary)

    assert ("with set true" in grant.sql) is option


def test_one_wrong_password_is_one_step():
    assert plan(DESIRED, replace(converged(), password_works=False)) == [SetPassword(DESIRED.login_role)]


def test_no_step_shows_the_password():
    steps = plan(DESIRED, empty())

    assert DESIRED.password not in repr(steps)
    assert DESIRED.password not in repr(DESIRED)
    assert isinstance(steps, list)
    assert not any(DESIRED.password in getattr(step, "sql", "") for step in steps)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"comment": None}, "carries no claim"),
        ({"comment": "memory-operator: belongs to team-b/research"}, "team-b/research"),
        ({"owner": "postgres"}, "belongs to role postgres"),
    ],
    ids=["no claim", "a foreign claim", "a foreign owner"],
)
def test_a_schema_that_is_not_ours_blocks(change, words):
    observed = converged()
    assert observed.schema

    blocked = plan(DESIRED, replace(observed, schema=replace(observed.schema, **change)))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.BLOCKED
    assert DESIRED.schema in blocked.message
    assert words in blocked.message


@pytest.mark.parametrize("role", ["owner", "login"])
def test_a_role_that_is_not_ours_blocks(role):
    foreign = ObservedRole(None, True, False, -1, {}, ())

    blocked = plan(DESIRED, replace(converged(), **{role: foreign}))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.BLOCKED


def test_a_server_that_is_too_old_is_rejected():
    blocked = plan(DESIRED, replace(converged(), version=140010))

    assert blocked == Blocked(Reason.REJECTED, "the server is Postgres 14; 15 or newer is needed")


def test_a_schema_newer_than_this_build_is_rejected():
    observed = converged()
    assert observed.schema

    blocked = plan(DESIRED, replace(observed, schema=replace(observed.schema, applied={9999: "x"})))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.REJECTED
    assert "newer than this build" in blocked.message


def test_more_replicas_may_open_more_connections():
    names = TenantNames("team-a", "research")

    assert desired_tenant(names, "x", 5).connection_limit > desired_tenant(names, "x", 1).connection_limit


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_quoted_name_reads_back_as_itself(name):
    assert split_identifiers(quote_identifier(name)) == (name,)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("mem_a, public", ("mem_a", "public")),
        ('"$user", public', ("$user", "public")),
        ('"a, b","c""d"', ("a, b", 'c"d')),
    ],
)
def test_lists_of_names_are_split_as_postgres_does(text, names):
    assert split_identifiers(text) == names


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(ValueError, match="cannot be the name"):
        statement("create_schema", schema=name, owner="x")
