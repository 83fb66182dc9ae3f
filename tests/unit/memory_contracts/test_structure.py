"""The lines that describe what the migrations make, and which of it a migration tells how to make anew."""

import pytest

from memory_contracts.database.migrations import Migration, all_migrations
from memory_contracts.database.structure import making_of, name_of, structure


def test_every_line_names_one_thing():
    names = [name_of(line) for line in structure()]

    assert len(names) == len(set(names))
    assert {"column memories.words", "index memories_words", "function settle(boolean)"} <= set(names)


@pytest.mark.parametrize("line", [each for each in structure() if each.startswith("function ")], ids=name_of)
def test_every_function_can_be_made_anew(line):
    making = making_of(line, all_migrations())

    assert making
    assert making.startswith(f"create or replace {name_of(line).partition('(')[0]}(")
    assert making.endswith("$$;")


@pytest.mark.parametrize("line", [each for each in structure() if each.startswith("index ")], ids=name_of)
def test_an_index_can_be_made_anew_unless_a_constraint_stands_on_it(line):
    name, of_constraint = name_of(line).split(" ")[1], "_pkey" in line or "_key " in line
    making = making_of(line, all_migrations())

    assert (making is None) is of_constraint
    assert of_constraint or (making.startswith(f"drop index if exists {name};\ncreate index {name} on "))
    assert of_constraint or making.count(";") == 2


@pytest.mark.parametrize("line", [each for each in structure() if each.startswith(("column ", "constraint "))])
def test_what_holds_or_guards_data_is_not_made_anew(line):
    assert making_of(line, all_migrations()) is None


def test_the_last_migration_that_makes_it_counts():
    later = Migration(2, "pre", "later", "create index memories_words on memories (content);\n")

    assert making_of("index memories_words on memories (btree content)", [*all_migrations(), later]) == (
        "drop index if exists memories_words;\ncreate index memories_words on memories (content);"
    )
