"""What the Postgres plan decides; that the steps work is shown on a real server."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_contracts.conditions import Reason
from memory_contracts.database.migrations import Applied, Migration, all_migrations
from memory_contracts.database.structure import name_of, structure
from memory_contracts.naming import TenantNames
from memory_operator.providers.postgres.deletion import plan_deletion
from memory_operator.providers.postgres.plan import damage, plan, tables_of
from memory_operator.providers.postgres.sql import (
    Keywords,
    Qualified,
    quote_identifier,
    split_identifiers,
    statement,
)
from memory_operator.providers.postgres.steps import EndSessions, Execute, SetPassword, Step
from memory_operator.providers.postgres.tenant import (
    SCHEMA_PRIVILEGES,
    SEQUENCE_PRIVILEGES,
    TABLE_PRIVILEGES,
    DesiredTenant,
    ObservedObjects,
    ObservedRole,
    ObservedSchema,
    ObservedTenant,
    desired_tenant,
)
from memory_operator.providers.shapes import Blocked

NAMES = TenantNames("team-a", "research")
PASSWORD = "secret-password"
DESIRED = desired_tenant(NAMES, {"a": PASSWORD}, replicas=2, uid="uid-1")
OWNER, A, B = DESIRED.roles


def granted(desired: DesiredTenant, wanted: Any) -> dict[str, frozenset[str]]:
    return {role: wanted[desired.access] for role in desired.login_roles if wanted[desired.access]}


def converged(desired: DesiredTenant = DESIRED) -> ObservedTenant:
    mark = str(desired.role_mark("soma"))
    settings = {"search_path": f"{desired.schema}, public", "statement_timeout": "60s"}
    tables = granted(desired, TABLE_PRIVILEGES) | {desired.owner_role: ALL}
    sequences = granted(desired, SEQUENCE_PRIVILEGES) | {desired.owner_role: ALL}
    return ObservedTenant(
        version=180000,
        database="soma",
        admin="postgres",
        admin_inherits=True,
        extension_schema="public",
        public_may_connect=True,
        public_may_use_extension=True,
        roles={desired.owner_role: ObservedRole(mark, False, False, -1, {})}
        | {
            slot.role: ObservedRole(
                mark,
                desired.may_log_in(slot),
                False,
                desired.connection_limit,
                settings,
                password="right" if desired.may_log_in(slot) else "none",
            )
            for slot in desired.slots
        },
        schema=ObservedSchema(
            comment=str(desired.schema_mark),
            owner=desired.owner_role,
            acl=granted(desired, SCHEMA_PRIVILEGES),
            defaults={
                "table": granted(desired, TABLE_PRIVILEGES),
                "sequence": granted(desired, SEQUENCE_PRIVILEGES),
            },
            objects=(
                ObservedObjects("table", desired.owner_role, tables, ("schema_migrations", *sorted(TABLES))),
                ObservedObjects("sequence", desired.owner_role, sequences, ("memories_seq_seq",)),
                ObservedObjects("function", desired.owner_role, None, ("settle",)),
            ),
            applied={each.version: Applied(each.stage, each.checksum) for each in all_migrations()},
        ),
    )


ALL = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "USAGE"})
TABLES = tables_of(tuple(all_migrations()))


def empty(version: int = 180000) -> ObservedTenant:
    return replace(converged(), version=version, extension_schema=None, roles={}, schema=None)


def with_role(role: str, observed: ObservedTenant | None = None, **change: Any) -> ObservedTenant:
    observed = observed or converged()
    return replace(observed, roles={**observed.roles, role: replace(observed.roles[role], **change)})


def with_schema(observed: ObservedTenant | None = None, **change: Any) -> ObservedTenant:
    observed = observed or converged()
    assert observed.schema
    return replace(observed, schema=replace(observed.schema, **change))


def steps(observed: ObservedTenant, desired: DesiredTenant = DESIRED) -> list[Step]:
    found = plan(desired, observed)
    assert isinstance(found, list), found
    return found


def summaries(observed: ObservedTenant, desired: DesiredTenant = DESIRED) -> list[str]:
    return [step.summary for step in steps(observed, desired)]


@pytest.mark.parametrize("access", ["full", "read", "none"])
def test_a_converged_pair_needs_no_step(access):
    desired = replace(DESIRED, access=access)

    assert plan(desired, converged(desired)) == []


def test_an_empty_database_gets_everything_in_an_order_that_works():
    lines = summaries(empty())
    order = [
        "create extension",
        "create owner role",
        "let the administrator act",
        "create schema",
        "create login role",
        "set password",
        "to log in",
        "use schema",
        "future tables",
        "migrate",
    ]

    positions = [next(at for at, line in enumerate(lines) if word in line) for word in order]

    assert positions == sorted(positions)


@pytest.mark.parametrize(("version", "option"), [(150004, False), (160000, True), (180006, True)])
def test_acting_as_the_owner_is_asked_for_in_the_words_of_the_version(version, option):
    (grant,) = (step for step in steps(empty(version)) if "act as role" in step.summary)

    assert isinstance(grant, Execute)
    assert ("with set true" in grant.sql) is option


@pytest.mark.parametrize("state", ["wrong", "none"])
def test_one_wrong_password_is_one_step(state):
    assert steps(with_role(A, password=state)) == [SetPassword(A)]


def test_a_password_that_nobody_can_check_is_left_alone():
    assert steps(with_role(A, password="unknown")) == []


def test_the_password_comes_before_the_login_is_allowed():
    lines = summaries(with_role(A, can_login=False, password="unknown"))

    assert lines == [f"set password of role {A}", f"allow role {A} to log in"]


@pytest.mark.parametrize("found", [{"can_login": True}, {"password": "wrong"}], ids=["login", "password"])
def test_a_slot_without_a_password_is_closed(found):
    assert summaries(with_role(B, **found)) == [f"close role {B}: no login, no password"]


def test_no_step_shows_a_password():
    found = steps(empty())

    assert PASSWORD not in repr(found)
    assert PASSWORD not in repr(DESIRED)
    assert not any(PASSWORD in getattr(step, "sql", "") for step in found)


# Whose it is


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"comment": None}, "carries no claim"),
        ({"comment": "memory-operator: belongs to team-b/research"}, "team-b/research"),
        ({"comment": "memory-operator: belongs to team-a/research (uid uid-2)"}, "uid-2"),
        ({"comment": "memory-operator: belongs to team-a/research in database soma (uid uid-1)"}, "in database"),
        ({"owner": "postgres"}, "belongs to role postgres"),
    ],
    ids=["no claim", "a foreign tenant", "a foreign uid", "a role's mark", "a foreign owner"],
)
def test_a_schema_that_is_not_ours_blocks(change, words):
    blocked = plan(DESIRED, with_schema(**change))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT
    assert DESIRED.schema in blocked.message
    assert words in blocked.message


@pytest.mark.parametrize("role", DESIRED.roles)
@pytest.mark.parametrize(
    "comment",
    [None, "memory-operator: belongs to team-a/research in database other (uid uid-1)"],
    ids=["no claim", "another database"],
)
def test_a_role_that_is_not_ours_blocks(role, comment):
    blocked = plan(DESIRED, with_role(role, comment=comment))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT


@pytest.mark.parametrize("before", ["uid-0", ""], ids=["a predecessor", "a version without uids"])
def test_what_was_taken_over_is_marked_anew(before):
    successor = replace(DESIRED, predecessors=frozenset({"uid-0"}))

    lines = summaries(converged(replace(DESIRED, uid=before)), successor)

    assert sorted(lines) == sorted(
        [f"mark schema {DESIRED.schema} as team-a/research's"]
        + [f"mark role {role} as team-a/research's" for role in DESIRED.roles]
    )


def test_what_was_not_taken_over_blocks():
    assert isinstance(plan(DESIRED, converged(replace(DESIRED, uid="uid-0"))), Blocked)


# What the server is


def test_a_server_that_is_too_old_is_rejected():
    blocked = plan(DESIRED, replace(converged(), version=140010))

    assert blocked == Blocked(Reason.REJECTED, "the server is Postgres 14; 15 or newer is needed")


def test_an_administrator_that_inherits_nothing_is_told_so():
    assert isinstance(plan(DESIRED, replace(converged(), version=150000, admin_inherits=False)), Blocked)
    assert plan(DESIRED, replace(converged(), version=160000, admin_inherits=False)) == []


def test_a_schema_newer_than_this_build_is_rejected():
    blocked = plan(DESIRED, with_schema(applied={9999: Applied("post", "x")}))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.REJECTED
    assert "newer than this build" in blocked.message


def test_where_public_may_not_connect_the_roles_are_let_in():
    lines = summaries(replace(empty(), public_may_connect=False))

    assert [line for line in lines if "connect to database" in line] == [
        f"let role {role} connect to database soma" for role in (A, B)
    ]


# What is in the schema


def test_a_lost_table_blocks_and_is_named():
    observed = converged()
    assert observed.schema
    tables = replace(observed.schema.objects[0], names=("schema_migrations", *sorted(TABLES - {"outbox"})))

    observed = with_schema(objects=(tables,))
    blocked = damage(DESIRED, observed)

    assert isinstance(blocked, Blocked)
    assert blocked.message.startswith(f"schema {DESIRED.schema} has lost table outbox")
    assert not [each for each in summaries(observed) if "migrate" in each or "anew" in each]


def test_tables_without_a_record_of_migrations_block():
    observed = with_schema(applied={})
    blocked = damage(DESIRED, observed)

    assert isinstance(blocked, Blocked)
    assert "no record in schema_migrations" in blocked.message
    assert not [each for each in summaries(observed) if "migrate" in each or "anew" in each]


def test_the_tables_of_the_migrations_are_known():
    assert {"memories", "vectors", "outbox", "metadata"} <= TABLES
    later = Migration(2, "post", "later", "create table more (id int);\ndrop table outbox;\n")

    assert tables_of((*all_migrations(), later)) == TABLES - {"outbox"} | {"more"}


def test_indexes_and_functions_that_are_gone_are_made_anew():
    lost = [each for each in structure() if each.startswith(("index vocabulary_trigrams", "function settle"))]

    assert summaries(with_schema(lost=tuple(lost))) == [
        f"make {name_of(each)} of schema {DESIRED.schema} anew" for each in lost
    ]


def test_a_column_that_is_gone_blocks_and_nothing_is_made_anew():
    lost = tuple(each for each in structure() if each.startswith(("column memories.words", "index memories_words")))

    observed = with_schema(lost=lost)
    blocked = damage(DESIRED, observed)

    assert blocked == Blocked(
        Reason.BLOCKED,
        f"in schema {DESIRED.schema} somebody has dropped or changed column memories.words; undo that, or restore the "
        "schema from a backup",
    )
    assert not [each for each in summaries(observed) if "migrate" in each or "anew" in each]


LATER = Migration(len(all_migrations()) + 1, "post", "clear up", "drop table vocabulary")


@pytest.mark.parametrize(
    ("gone", "connected", "steps"),
    [
        (False, None, 0),
        (True, None, 1),
        (True, LATER.version, 1),
        (True, LATER.version - 1, 0),
        (True, 0, 0),
        (False, LATER.version, 0),
    ],
)
def test_what_clears_up_waits_for_the_roll_out_and_for_processes_of_an_older_image(gone, connected, steps):
    desired = replace(DESIRED, migrations=(*all_migrations(), LATER), old_code_gone=gone)
    observed = with_role(DESIRED.active.role, oldest_code=connected)

    assert len(summaries(observed, desired)) == steps


@pytest.mark.parametrize("applied", [{}, None], ids=["before the migrations", "unreadable"])
def test_what_the_migrations_have_yet_to_make_is_not_lost(applied):
    lines = summaries(with_schema(lost=structure(), applied=applied, objects=()))

    assert not [each for each in lines if "anew" in each]


def test_migrations_that_cannot_be_read_need_no_step():
    assert plan(DESIRED, with_schema(applied=None)) == []


def test_migrations_that_cannot_be_read_yet_run_after_the_administrator_may():
    lines = summaries(with_schema(with_role(OWNER, admin_may_be=False), applied=None))

    assert lines == [
        f"let the administrator act as role {OWNER}",
        f"migrate schema {DESIRED.schema}: whatever is missing",
    ]


NOBODY_ELSE = "mem_team_b_notes_0a1b2c3d_a"


@pytest.mark.parametrize(
    ("grantee", "privileges", "step"),
    [
        ("public", {"SELECT"}, "take SELECT on 2 tables"),
        (A, {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"}, "take TRUNCATE on 2 tables"),
        (NOBODY_ELSE, {"SELECT"}, f"from {NOBODY_ELSE}"),
        (B, {"SELECT"}, "read and write 2 tables"),
        ("backup", {"SELECT"}, None),
        ("mem_like_but_no_tenant", {"SELECT"}, None),
    ],
)
def test_privileges_on_tables_are_exact_for_tenants_and_left_to_people_for_others(grantee, privileges, step):
    observed = converged()
    assert observed.schema
    tables, *others = observed.schema.objects
    acl = {**(tables.acl or {}), grantee: frozenset(privileges)}
    changed = replace(tables, acl=acl, names=("memories", "outbox"))
    same = replace(tables, names=tuple(name for name in tables.names if name not in changed.names))

    lines = summaries(with_schema(objects=(changed, same, *others)))

    assert len(lines) == (1 if step else 0)
    assert all(str(step) in line for line in lines)


def test_what_may_be_passed_on_is_taken_before_it_is_granted_again():
    observed = converged()
    assert observed.schema
    tables, *others = observed.schema.objects
    acl = {**(tables.acl or {}), A: frozenset({"SELECT WITH GRANT OPTION", "INSERT", "UPDATE", "DELETE"})}

    lines = summaries(with_schema(objects=(replace(tables, acl=acl), *others)))

    assert [line.split()[0] for line in lines] == ["take", "let"]


def test_objects_of_others_in_the_schema_are_left_alone():
    observed = converged()
    assert observed.schema
    theirs = ObservedObjects("table", "postgres", {"public": frozenset({"SELECT"})}, ("precious",))

    assert plan(DESIRED, with_schema(objects=(*observed.schema.objects, theirs))) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("full", "read", "take DELETE, INSERT, UPDATE"),
        ("read", "full", "read and write"),
        ("full", "none", "close role"),
        ("none", "full", "allow role"),
        ("none", "read", "let the login roles read "),
    ],
)
def test_each_change_of_access_has_its_steps(before, after, words):
    lines = summaries(converged(replace(DESIRED, access=before)), replace(DESIRED, access=after))

    assert any(words in line for line in lines), lines


def test_sessions_end_last_and_only_those_of_roles_that_may_not_log_in():
    both = replace(DESIRED, slots=(replace(DESIRED.slots[0], password=None), DESIRED.slots[1]))
    observed = with_role(A, with_role(B, sessions=3), sessions=2)

    assert steps(observed, both)[-1] == EndSessions((A, B))
    assert EndSessions((B,)) in steps(with_role(B, sessions=1))
    assert steps(with_role(A, sessions=7)) == []


# Deletion


def test_a_deletion_fences_first_and_drops_the_owner_last():
    found = plan_deletion(DESIRED, with_role(A, sessions=1), drop=True)
    assert isinstance(found, list)
    lines = [step.summary for step in found]

    assert lines[0] == f"close role {A}: no login, no password"
    ended = found.index(EndSessions((A,)))
    assert lines[ended + 1 :] == [
        f"drop schema {DESIRED.schema} and all memories in it",
        f"drop role {A}",
        f"drop role {B}",
        f"drop role {OWNER}",
    ]


def test_a_retained_tenant_that_is_fenced_needs_no_step():
    fenced = replace(DESIRED, access="none")

    assert plan_deletion(DESIRED, converged(fenced), drop=False) == []


def test_nothing_to_delete_is_no_step():
    assert plan_deletion(DESIRED, empty(), drop=True) == []


def test_what_belongs_to_another_object_is_no_business_of_a_deletion():
    others = converged(replace(DESIRED, uid="uid-2"))

    assert plan_deletion(DESIRED, others, drop=True) == []
    assert plan_deletion(DESIRED, others, drop=False) == []


@pytest.mark.parametrize(
    ("observed", "words"),
    [
        (with_schema(comment=None), "its comment says None"),
        (with_schema(owner="postgres"), "belongs to role postgres"),
        (replace(converged(), elsewhere=("objects in database other",)), "objects in database other"),
        (
            with_schema(objects=(ObservedObjects("table", "postgres", None, ("precious",)),)),
            "table precious in schema",
        ),
    ],
    ids=["an unmarked schema of our role", "a foreign owner", "things elsewhere", "a foreign table"],
)
def test_a_drop_that_would_hit_more_than_the_tenant_is_blocked(observed, words):
    blocked = plan_deletion(DESIRED, observed, drop=True)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.DELETION_BLOCKED
    assert words in blocked.message


@given(
    present=st.sets(st.sampled_from([*DESIRED.roles, "schema"])),
    foreign=st.sets(st.sampled_from([*DESIRED.roles, "schema"])),
    sessions=st.integers(0, 2),
)
def test_no_deletion_names_what_is_missing_or_not_ours(present, foreign, sessions):
    observed = with_role(A, sessions=sessions)
    roles = {
        name: replace(role, comment=None) if name in foreign else role
        for name, role in observed.roles.items()
        if name in present
    }
    assert observed.schema
    schema = replace(observed.schema, comment=None) if "schema" in foreign else observed.schema
    world = replace(observed, roles=roles, schema=schema if "schema" in present else None)

    found = plan_deletion(DESIRED, world, drop=True)

    untouchable = {*foreign, *(set(DESIRED.roles) - present)}
    dropped = [] if isinstance(found, Blocked) else [step.summary for step in found if "drop" in step.summary]
    assert not any(line == f"drop role {name}" for line in dropped for name in untouchable)
    assert "schema" in present - foreign or not any("drop schema" in line for line in dropped)


# Names and words


def test_more_replicas_may_open_more_connections():
    five, one = (desired_tenant(NAMES, {"a": "x"}, replicas) for replicas in (5, 1))

    assert five.connection_limit > one.connection_limit


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


def test_what_is_no_privilege_is_refused():
    objects = Qualified("s", ("t",))
    with pytest.raises(ValueError, match="no privilege"):
        statement("revoke_tables", objects=objects, role="x", privileges=Keywords(("SELECT; DROP TABLE t",)))
