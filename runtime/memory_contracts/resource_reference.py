"""The reference page of a resource, written from its schema: every field, its type, bounds, default and meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from memory_contracts.api.scalars import FORMS
from memory_contracts.crd import Resource, object_schema
from memory_contracts.structural import PRESERVE, VALIDATIONS, Schema, default_sentence

_IMMUTABLE = re.compile(r"self\.(\w+) == oldSelf\.\1")
_HEAD = """# {kind}

{text}

This page is written by `make reference` from the API types; `kubectl explain {short}.spec` tells the same.

- Short name `{short}`, category `memory`: `kubectl get memory -A` lists both kinds.
- Columns: {columns}; with `-o wide` also {wide}.
- An absent field and null mean the same. A field that is not listed here is refused.
- Needs Kubernetes 1.31 or newer: older API servers do not know all functions that the rules use.
"""


def resource_page(resource: Resource) -> str:
    """Return the page of `resource` as Markdown."""
    schema = object_schema(resource)
    names = {wide: ", ".join(each.name for each in resource.columns if each.wide is wide) for wide in (False, True)}
    head = _HEAD.format(
        kind=resource.kind,
        text=schema["description"],
        short=resource.short_name,
        columns=names[False],
        wide=names[True],
    )
    sections = [
        section
        for name in ("spec", "status")
        for section in _sections(schema["properties"][name], name, required=name in schema.get("required", []))
    ]
    return "\n".join([head, *_rules(schema), *sections, *_forms(schema)])


def _sections(schema: Schema, path: str, *, required: bool = False) -> Iterator[str]:
    """Yield the section of an object, then those of the objects in it."""
    yield f"## {path}\n"
    yield schema.get("description", "") + (" Required." if required else "") + "\n"
    yield from _rules(schema)
    yield "| field | type | default | meaning |\n| --- | --- | --- | --- |"
    immutable = {name for each in schema.get(VALIDATIONS, []) for name in _IMMUTABLE.findall(each["rule"])}
    for name, each in schema["properties"].items():
        notes = ["required"] * (name in schema.get("required", [])) + ["immutable"] * (name in immutable)
        yield _row(name, each, path, notes)
    yield ""
    for name, each in schema["properties"].items():
        inner, inside = _inner(each, f"{path}.{name}")
        if "properties" in inner:
            yield from _sections(inner, inside)


def _inner(schema: Schema, path: str) -> tuple[Schema, str]:
    """Return the object that a field holds, itself or as the items of a list, and how its path is written."""
    return (schema["items"], f"{path}[]") if "items" in schema else (schema, path)


def _rules(schema: Schema) -> Iterator[str]:
    if rules := schema.get(VALIDATIONS, []):
        yield "Refused with:\n"
        yield from (f"- {each['message']}" for each in rules)
        yield ""


def _row(name: str, schema: Schema, path: str, notes: list[str]) -> str:
    kind = ", ".join([_link(schema, f"{path}.{name}"), *_bounds(schema), *notes])
    meaning = schema.get("description", "").removesuffix(default_sentence(schema))
    return f"| `{name}` | {kind} | {_default(schema)} | {meaning} |"


def _default(schema: Schema) -> str:
    default = schema.get("default", {})
    if isinstance(default, dict):
        # What the fields inside have as defaults is told at those.
        default = {name: value for name, value in default.items() if "default" not in schema["properties"][name]}
    return "–" if default == {} else f"`{json.dumps(default).strip(chr(34))}`"


def _link(schema: Schema, path: str) -> str:
    inner, inside = _inner(schema, path)
    if "properties" not in inner:
        return _kind(schema)
    anchor = re.sub(r"[^a-z0-9-]", "", inside.lower())
    return f"[{_kind(schema)}](#{anchor})"


def _kind(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("pattern") in FORMS:
        return f"[{FORMS[schema['pattern']][0]}](#forms-of-text)"
    if "items" in schema:
        return f"list of {_many(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_many(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    words = {"string": "text", "object": "object, handed on as it is" if schema.get(PRESERVE) else "object"}
    return words.get(schema["type"], str(schema["type"]))


def _many(schema: Schema) -> str:
    """Return the kind of what a list or a map holds."""
    kind = "objects" if schema.get("type") == "object" else _kind(schema)
    return ", each ".join([kind, *_bounds(schema)])


def _bounds(schema: Schema) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"{low} to {high}"
    for keyword, unit in (("maxItems", "items"), ("maxProperties", "entries")):
        if keyword in schema:
            yield f"at most {schema[keyword]} {unit}"
    if schema.get("pattern") not in FORMS:
        yield from _length(schema)
        if "pattern" in schema:
            yield f"of the form {_code(schema['pattern'])}"


def _length(schema: Schema) -> Iterator[str]:
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']} characters"


def _code(pattern: str) -> str:
    escaped = pattern.replace("|", r"\|")
    return f"`{escaped}`"


def _forms(page: Schema) -> Iterator[str]:
    """Yield the section that explains the named forms of text, those that the page uses."""
    used = {found["pattern"]: found for found in _all_schemas(page) if found.get("pattern") in FORMS}
    yield "## Forms of text\n"
    yield "| form | such as | pattern | length |\n| --- | --- | --- | --- |"
    for pattern, (name, example) in FORMS.items():
        if pattern in used:
            yield f"| {name} | `{example}` | {_code(pattern)} | {', '.join(_length(used[pattern]))} |"
    yield ""


def _all_schemas(schema: Schema) -> Iterator[Schema]:
    yield schema
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if child:
            yield from _all_schemas(child)
