"""Plain data as YAML in block style; for this alone the ground floor needs no YAML library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Data: TypeAlias = Mapping[str, "Data"] | Sequence["Data"] | str | int | bool

# What YAML 1.1 and 1.2 both read as the same text without quotes.
_PLAIN = re.compile(r"[A-Za-z/$][A-Za-z0-9 ./$_()-]*(?<! )")
_WORDS_WITH_MEANING = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}


def to_yaml(data: Data) -> str:
    """Return `data` as a YAML document that every parser reads back the same."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: Data) -> Iterator[str]:
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from _entry(f"{_scalar(key)}:", value)
    elif isinstance(data, Sequence) and not isinstance(data, str) and data:
        for value in data:
            first, *rest = _lines(value)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(data)


def _entry(key: str, value: Data) -> Iterator[str]:
    if isinstance(value, str | int) or not value:
        yield f"{key} {_scalar(value)}"
        return
    yield key
    indent = "  " if isinstance(value, Mapping) else ""
    yield from (f"{indent}{line}" for line in _lines(value))


def _scalar(value: Data) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_WITH_MEANING:
        return value
    # A YAML string in double quotes is one of JSON, but not every character may stand in it as it is.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in written)
