"""From the JSON Schema that pydantic writes to the structural schema that the API server takes.

It is an allow-list: each keyword is copied, translated or dropped by name, and any other raises, rather than being lost
in silence. (Kubernetes documentation: Extend the API with CustomResourceDefinitions, "Specifying a structural schema".)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str, ...]

VALIDATIONS: Final = "x-kubernetes-validations"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
# In the order in which a reader of the YAML wants them.
COPIED: Final = (
    *("description", "type", INT_OR_STRING, "format", "enum", "pattern", "minLength", "maxLength"),
    *("minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties", "required"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", PRESERVE, VALIDATIONS),
)
TRANSLATED: Final = (
    *("$ref", "anyOf", "const", "default", "exclusiveMinimum", "exclusiveMaximum"),
    *("properties", "items", "additionalProperties", "patternProperties", "propertyNames"),
)
DROPPED: Final = ("title", "examples")
MAX_DEPTH: Final = 32
MAX_INT32: Final = 2**31 - 1


def structural(source: Schema) -> Schema:
    """Return `source` as a structural schema; raises ValueError with the path where there is no way.

    Nothing below ``status`` gets a default: what is absent from a report is not known.
    """
    return _Renderer(source.get("$defs", {})).render({k: v for k, v in source.items() if k != "$defs"}, ())


@dataclass(frozen=True, slots=True)
class _Renderer:
    definitions: Mapping[str, Schema]

    def render(self, node: Schema, path: Path) -> Schema:
        node = self._flat(node, path)
        for keyword in node:
            if keyword not in (*COPIED, *TRANSLATED, *DROPPED):
                raise _impossible(path, f"a CRD has no counterpart for the keyword {keyword}")
        rendered: Schema = {key: node[key] for key in COPIED if key in node}
        rendered.update(_number(node), **_key_rules(node, path))
        if "const" in node:
            rendered["enum"] = [node["const"]]
        rendered.update(self._nested(node, path))
        return rendered

    def _flat(self, node: Schema, path: Path) -> Schema:
        """Replace references and choices by what they stand for; what is written beside them wins."""
        while "$ref" in node or "anyOf" in node:
            beside = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
            node = (self._resolve(node["$ref"], path) if "$ref" in node else _choice(node["anyOf"], path)) | beside
        return node

    def _resolve(self, reference: str, path: Path) -> Schema:
        if len(path) > MAX_DEPTH:
            raise _impossible(path[:4], "a structural schema cannot contain itself")
        return self.definitions[reference.removeprefix("#/$defs/")]

    def _nested(self, node: Schema, path: Path) -> Iterator[tuple[str, Schema]]:
        if "properties" in node:
            yield "properties", {name: self._property(each, (*path, name)) for name, each in node["properties"].items()}
        if "items" in node:
            yield "items", self.render(node["items"], (*path, "[]"))
        if (values := _map_values(node, path)) is not None:
            yield "additionalProperties", self.render(values, (*path, "*"))

    def _property(self, node: Schema, path: Path) -> Schema:
        node = self._flat(node, path)
        rendered = self.render(node, path)
        if node.get("default") is not None and path[0] != "status":
            default = _beyond_nested(node["default"], rendered)
            if default != {} or any("default" in each for each in rendered.get("properties", {}).values()):
                rendered["default"] = default
        if sentence := default_sentence(rendered):
            rendered["description"] = f"{rendered.get('description', '')}{sentence}".strip()
        return rendered


def default_sentence(schema: Schema) -> str:
    """Return what ends the description of a scalar with a default: ``kubectl explain`` does not tell it otherwise."""
    default = schema.get("default", {})
    return "" if isinstance(default, Mapping | list) else f" Default: {json.dumps(default).strip(chr(34))}."


def _impossible(path: Path, why: str) -> ValueError:
    return ValueError(f"{'.'.join(path) or 'the schema'}: {why}")


def _choice(choices: list[Schema], path: Path) -> Schema:
    """Return one schema for ``X | None`` and for a number that may be text; there is no other choice in a CRD."""
    choices = [each for each in choices if each != {"type": "null"}]
    if len(choices) == 1:
        return choices[0]
    if sorted(each.get("type", "") for each in choices) == ["integer", "string"]:
        merged = {key: value for each in choices for key, value in each.items() if key != "type"}
        return {INT_OR_STRING: True, **merged}
    raise _impossible(path, "a structural schema has no choice between types")


def _number(node: Schema) -> Schema:
    parts: Schema = {}
    for bound in ("Minimum", "Maximum"):
        if f"exclusive{bound}" in node:
            parts |= {bound.lower(): node[f"exclusive{bound}"], f"exclusive{bound}": True}
    if node.get("type") == "integer" and "const" not in node:
        highest = [node[key] for key in ("maximum", "exclusiveMaximum") if key in node]
        parts["format"] = "int32" if highest and highest[0] <= MAX_INT32 else "int64"
    return parts


def _map_values(node: Schema, path: Path) -> Schema | None:
    """Return the schema of a map's values, or None when it is no map of one kind of values."""
    values = node.get("additionalProperties")
    if values is True and not node.get(PRESERVE):
        raise _impossible(path, "nothing is said about its values, so the API server would drop them")
    if isinstance(values, dict):
        return values
    kinds = list(node.get("patternProperties", {}).values())
    return kinds[0] if kinds else None


def _key_rules(node: Schema, path: Path) -> Schema:
    """Return CEL for what JSON Schema says of a map's keys, for a structural schema says nothing of them."""
    patterns, names = list(node.get("patternProperties", {})), node.get("propertyNames", {})
    if not patterns and not names:
        return {}
    if len(patterns) != 1 or set(names) != {"maxLength", "description"}:
        raise _impossible(path, "keys need one pattern, maxLength and a description that says how they should look")
    rule = f"self.all(key, key.size() <= {names['maxLength']} && key.matches({patterns[0]!r}))"
    return {VALIDATIONS: [*node.get(VALIDATIONS, []), {"rule": rule, "message": names["description"]}]}


def _beyond_nested(default: Any, schema: Schema) -> Any:
    """Leave out of a default what the API server fills in by itself once the object is there.

    Where rules are, nothing is left out: the API server checks them on the default as it is written.
    """
    if not isinstance(default, Mapping):
        return default
    kept: Schema = {}
    for name, value in default.items():
        inner = schema.get("properties", {}).get(name, {})
        rest = None if value is None else _beyond_nested(value, inner)
        filled_in = "default" not in inner or VALIDATIONS not in schema
        if rest is not None and not (filled_in and rest == inner.get("default", {})):
            kept[name] = rest
    return kept
