"""Named statements of the ``.sql`` files, and the quoting of what cannot be a bound parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeAlias

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_LIST_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^,\s"]+)')
_KEYWORD = re.compile(r"[A-Z]+")


@dataclass(frozen=True, slots=True)
class Literal:
    """A text that goes into a statement as a string; a plain ``str`` goes in as an identifier."""

    text: str


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Names that go in as a list."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Qualified:
    """Objects of one schema that go in as a list."""

    schema: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keywords:
    """Words of SQL, such as privileges, that go in as a list."""

    words: tuple[str, ...]


Value: TypeAlias = str | int | Literal | Identifiers | Qualified | Keywords


def quote_identifier(name: str) -> str:
    """Return `name` as Postgres reads an identifier, whatever characters it holds."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of an object in Postgres")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return `text` as a string constant, with either setting of standard_conforming_strings."""
    if "\0" in text:
        raise ValueError("Postgres stores no NUL character")
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{quoted}" if "\\" in text else quoted


def split_identifiers(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list such as the value of ``search_path``."""
    return tuple(quoted.replace('""', '"') if quoted or not bare else bare for quoted, bare in _LIST_ITEM.findall(text))


def statement(name: str, /, **values: Value) -> str:
    """Return the statement `name` with each ``{placeholder}`` replaced by a quoted value."""
    return _statements("statements.sql")[name].format_map({key: _quote(value) for key, value in values.items()})


def query(name: str, file: str = "observe.sql") -> str:
    """Return the query `name`; its parameters are bound."""
    return _statements(file)[name]


def _quote(value: Value) -> str:
    match value:
        case Literal(text):
            return quote_literal(text)
        case Identifiers(names):
            return ", ".join(map(quote_identifier, names))
        case Qualified(schema, names):
            return ", ".join(f"{quote_identifier(schema)}.{quote_identifier(name)}" for name in names)
        case Keywords(words):
            return ", ".join(map(_keyword, words))
        case int():
            return str(value)
        case str():
            return quote_identifier(value)


def _keyword(word: str) -> str:
    if not _KEYWORD.fullmatch(word):
        raise ValueError(f"{word!r} is no privilege")
    return word


@cache
def _statements(file: str) -> dict[str, str]:
    text = files("memory_operator.providers.postgres").joinpath(file).read_text("utf-8")
    _, *parts = _NAME.split(text)
    return dict(zip(parts[::2], map(_without_comments, parts[1::2]), strict=True))


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
