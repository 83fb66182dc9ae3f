"""Which migrations run, and when the database is not touched at all."""

import re
from dataclasses import replace
from importlib.resources import files

import pytest

from memory_contracts.database.migrations import Applied, Migration, all_migrations, code_label, due, pending
from memory_contracts.errors import Rejected

FIRST, SECOND, THIRD = (Migration(number, "pre", f"step {number}", f"select {number}") for number in (1, 2, 3))
ALL = [FIRST, SECOND, THIRD]


def applied(*migrations):
    return {each.version: Applied(each.stage, each.checksum) for each in migrations}


@pytest.mark.parametrize(
    ("done", "expected"),
    [((), ALL), ((FIRST,), [SECOND, THIRD]), ((FIRST, SECOND), [THIRD]), ((FIRST, THIRD), [SECOND]), (ALL, [])],
    ids=["an empty schema", "after one", "after two", "a gap", "up to date"],
)
def test_what_did_not_run_yet_runs_in_order(done, expected):
    assert pending(applied(*done), ALL) == expected


def test_a_file_that_changed_after_it_ran_is_refused_by_name():
    changed = Migration(2, "pre", "step 2", "select 2 -- a correction")
    with pytest.raises(Rejected, match="migration 0002 step 2 was changed after it ran; restore the file"):
        pending(applied(FIRST, SECOND), [FIRST, changed, THIRD])


def test_a_database_that_a_newer_build_has_cleared_of_this_ones_needs_is_refused():
    with pytest.raises(Rejected, match=r"version 3, newer than this build \(2\); upgrade it"):
        pending(applied(FIRST, SECOND, replace(THIRD, stage="post")), [FIRST, SECOND])


def test_a_database_that_is_prepared_for_a_newer_build_is_used_as_before():
    """A process of before that starts again during a roll-out must come up."""
    assert pending(applied(*ALL), [FIRST, SECOND]) == []
    assert pending(applied(FIRST, THIRD), [FIRST, SECOND]) == [SECOND]


CLEARING = Migration(2, "post", "clear up", "select 2")


@pytest.mark.parametrize(
    ("done", "gone", "expected"),
    [
        ((FIRST,), False, [THIRD]),
        ((FIRST,), True, [CLEARING, THIRD]),
        ((FIRST, THIRD), False, []),
        ((FIRST, THIRD), True, [CLEARING]),
        ((), False, [FIRST, CLEARING, THIRD]),
        ((FIRST, CLEARING, THIRD), True, []),
    ],
)
def test_what_clears_up_waits_until_the_code_of_before_is_gone(done, gone, expected):
    assert due(applied(*done), [FIRST, CLEARING, THIRD], old_code_gone=gone) == expected


def test_the_name_of_a_file_tells_its_stage():
    assert {each.stage for each in all_migrations()} <= {"pre", "post"}
    assert all_migrations()[0].stage == "pre"


def test_the_label_of_the_code_tells_the_newest_migration_it_knows():
    assert code_label() == f"memory {len(all_migrations())}"


def test_the_checksum_is_of_the_sql_alone():
    assert Migration(1, "pre", "a", "select 1").checksum == Migration(9, "post", "b", "select 1").checksum
    assert Migration(1, "pre", "a", "select 1").checksum != Migration(1, "pre", "a", "select 1 ").checksum


def test_the_migrations_of_this_build_are_numbered_without_gaps():
    assert [each.version for each in all_migrations()] == list(range(1, len(all_migrations()) + 1))


def test_every_file_is_named_as_a_migration():
    names = [entry.name for entry in files("memory_contracts.database").iterdir() if entry.name.endswith(".sql")]
    assert names
    assert all(re.fullmatch(r"\d{4}_(pre|post)_[a-z_]+\.sql", name) for name in names)
