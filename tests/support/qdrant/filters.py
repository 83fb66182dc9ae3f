"""Filters of the REST interface, as the engine wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge
from qdrant.refusals import Refused, not_imitated

# Which points have this truth value under this key.
Holders = Callable[[str, bool], set[Any]]


def parse_filter(json: dict[str, Any], holders: Holders) -> edge.Filter:
    """Return the engine's filter for `json`, e.g. ``{"must": [{"key": "version", "range": {"lt": 4}}]}``."""
    known(json, {"must", "should", "must_not", "min_should"}, "filter")
    parts: dict[str, Any] = {
        clause: [parse_condition(each, holders) for each in as_list(json[clause])]
        for clause in ("must", "should", "must_not")
        if json.get(clause) is not None
    }
    least = json.get("min_should")
    if least:
        conditions = [parse_condition(each, holders) for each in least["conditions"]]
        return edge.Filter(**parts, min_should=edge.MinShould(conditions, least["min_count"]))
    return edge.Filter(**parts)


def parse_condition(json: dict[str, Any], holders: Holders) -> Any:
    match without_null(json):
        case {"key": _} as condition:
            return parse_field_condition(condition, holders)
        case {"has_id": ids}:
            return edge.HasIdCondition(set(map(point_id, ids)))
        case {"is_empty": {"key": key}}:
            return edge.IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return edge.IsNullCondition(key)
        case {"nested": {"key": key, "filter": inner}}:
            return edge.NestedCondition(key, parse_filter(inner, no_holders))
        case inner:
            return parse_filter(inner, holders)


def parse_field_condition(json: dict[str, Any], holders: Holders) -> Any:
    match json:
        case {"key": key, "match": {"value": bool(value)}}:
            # The engine in the wheel takes True for 1, which matches nothing.
            return edge.HasIdCondition(holders(key, value))
        case {"key": key, "match": wanted}:
            return edge.FieldCondition(key, match=parse_match(wanted))
        case {"key": key, "range": bounds}:
            return edge.FieldCondition(key, range=parse_range(bounds))
        case _:
            raise not_imitated(f"the condition {json}")


def parse_match(json: dict[str, Any]) -> Any:
    match without_null(json):
        case {"value": value}:
            return edge.MatchValue(value)
        case {"any": values}:
            return edge.MatchAny(values)
        case {"except": values}:
            return edge.MatchExcept(values)
        case {"text": text}:
            return edge.MatchText(text)
        case _:
            raise not_imitated(f"the match {json}")


def parse_range(json: dict[str, Any]) -> Any:
    known(json, {"lt", "lte", "gt", "gte"}, "range")
    bounds = {name: value for name, value in json.items() if value is not None}
    if any(isinstance(value, str) for value in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**bounds)


def point_id(value: Any) -> Any:
    """Return the id if the engine takes it; the words of the refusal are those of Qdrant."""
    try:
        edge.Point(value, [0.0])
    except (ValueError, TypeError) as error:
        raise Refused(
            400,
            f"Format error in JSON body: value {value} is not a valid point ID, "
            "valid values are either an unsigned integer or a UUID",
        ) from error
    return value


def no_holders(key: str, value: bool) -> set[Any]:
    raise not_imitated(f"the match of {key} with {value} inside a nested condition")


def without_null(json: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in json.items() if value is not None}


def known(json: dict[str, Any], names: set[str], where: str) -> None:
    """Refuse what the double does not imitate."""
    if strange := sorted(name for name in json.keys() - names if json[name] is not None):
        raise not_imitated(f"{', '.join(strange)} in {where}")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
