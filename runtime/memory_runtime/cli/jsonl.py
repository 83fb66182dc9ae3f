"""Reads JSON Lines: one memory a line, a string or an object. Pure.

An object may carry ``coord``, ``type`` and ``importance`` beside its payload. The payload is the object under
``payload`` when there is one, else all its other members.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from memory_contracts.errors import Rejected
from memory_contracts.identifiers import Coordinate, parse_coordinate
from memory_runtime.cli.encoding import encode

TYPES = ("episodic", "semantic")


@dataclass(frozen=True, slots=True)
class Record:
    """What one line says; `is_whole` when the line gave the payload as it is to be stored."""

    payload: dict[str, Any]
    line: int
    coordinate: Coordinate | None = None
    type: str | None = None
    importance: float | None = None
    is_whole: bool = False


def read_records(text: str) -> list[Record]:
    """Return the records of a text whose lines end in ``\\n``, blank lines left out.

    Raises `Rejected`, naming the first line that is no memory.
    """
    records = []
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(_record(_parse(line), number))
        except Rejected as error:
            raise Rejected(f"line {number}: {error.detail}", field=error.field) from None
    return records


def _parse(line: str) -> object:
    try:
        value = json.loads(line, parse_constant=_refuse)
    except RecursionError:
        raise Rejected("the value is nested too deeply") from None
    except ValueError as error:
        raise Rejected(f"not JSON: {error}") from None
    encode(value)  # what can be read cannot always be sent
    return value


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON number")


def _record(value: object, line: int) -> Record:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        raise Rejected("a memory is a string or an object")
    whole = isinstance(value.get("payload"), dict)
    payload = value["payload"] if whole else _members(value)
    if not payload or payload.get("text", "_") == "":
        raise Rejected("there is nothing to remember in it")
    return Record(payload, line, _coordinate(value), _type(value), _importance(value), whole)


def _members(value: dict[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in value.items() if name not in ("coord", "type", "importance")}


def _coordinate(value: dict[str, Any]) -> Coordinate | None:
    return None if value.get("coord") is None else parse_coordinate(value["coord"])


def _type(value: dict[str, Any]) -> str | None:
    kind = value.get("type")
    if kind is not None and kind not in TYPES:
        raise Rejected(f"type is {' or '.join(TYPES)}, not {str(kind)[:40]!r}")
    return kind


def _importance(value: dict[str, Any]) -> float | None:
    importance = value.get("importance")
    if importance is None:
        return None
    if isinstance(importance, bool) or not isinstance(importance, (int, float)) or importance < 0:
        raise Rejected("importance is a number, 0 or more")
    return importance
