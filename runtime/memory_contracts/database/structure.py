"""What the tables of a namespace consist of once all migrations have run: a line for each column, index, constraint and
function, as the catalogue of Postgres describes it in ``observe.sql`` of the operator. The same for every version.

``structure.txt`` holds the lines; a test compares them with what the migrations make.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from memory_contracts.database.migrations import Migration


@cache
def structure() -> tuple[str, ...]:
    """Return the lines, such as ``index memories_words on memories (gin words)``."""
    return tuple(files("memory_contracts.database").joinpath("structure.txt").read_text("utf-8").splitlines())


def name_of(line: str) -> str:
    """Return what the line is about, such as ``index memories_words``."""
    return " ".join(line.split(" ", 2)[:2])


def making_of(line: str, migrations: Sequence[Migration]) -> str | None:
    """Return statements that make the index or function of the line anew; None for what holds or guards data."""
    kind, name = name_of(line).split(" ")
    name = re.escape(name.partition("(")[0])
    if kind == "index":
        found = _last(rf"^create (?:unique )?index {name} on .*?;", migrations)
        return found and f"drop index if exists {name};\n{found}"
    if kind == "function":
        found = _last(rf"^create function {name}\(.*?^\$\$;", migrations)
        return found and found.replace("create function", "create or replace function", 1)
    return None


def _last(pattern: str, migrations: Sequence[Migration]) -> str | None:
    text = "\n".join(each.sql for each in migrations)
    found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    return found[-1] if found else None
