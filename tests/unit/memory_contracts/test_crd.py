"""Rendering: nothing of the types is lost on the way to the CRDs, and what cannot be said there is refused."""

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from resource_table import BAD, EDITS, FULL_CLUSTER, FULL_NAMESPACE, NAMESPACE, changed

from memory_contracts.api.status import Conditions
from memory_contracts.conditions import Condition
from memory_contracts.crd import CLUSTERS, NAMESPACES, RESOURCES, object_schema, render, render_files
from memory_contracts.structural import structural
from memory_contracts.yaml_text import to_yaml


def version_of(resource):
    (version,) = render(resource)["spec"]["versions"]
    return version


def schemas(schema, path=""):
    """Every schema below `schema` with its path."""
    yield path, schema
    children = {f"{path}.{name}": each for name, each in schema.get("properties", {}).items()}
    children |= {f"{path}[]": schema.get("items"), f"{path}.*": schema.get("additionalProperties")}
    for below, each in children.items():
        if each:
            yield from schemas(each, below)


def rendered(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """The schema of a field of this type."""

    class Holder(BaseModel):
        field: annotation = default

    return structural(Holder.model_json_schema())["properties"]["field"]


# --- the CRDs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", render_files())
def test_the_file_says_what_was_rendered_and_that_it_is(name):
    text = render_files()[name]
    assert text.startswith("# Rendered by `make reference`")
    assert yaml.safe_load(text) == next(render(each) for each in RESOURCES if name == f"{each.plural}.yaml")


def test_names_scope_and_subresources():
    clusters, namespaces = render(CLUSTERS)["spec"], render(NAMESPACES)["spec"]
    assert render(CLUSTERS)["metadata"]["name"] == "memoryclusters.memory.somafractal.io"
    assert {each["scope"] for each in (clusters, namespaces)} == {"Namespaced"}
    assert (clusters["names"]["shortNames"], namespaces["names"]["shortNames"]) == (["memc"], ["memns"])
    assert clusters["names"]["categories"] == namespaces["names"]["categories"] == ["memory"]
    assert version_of(CLUSTERS)["subresources"] == {"status": {}}
    assert set(version_of(NAMESPACES)["subresources"]) == {"status", "scale"}


def test_a_cluster_needs_a_spec_and_a_namespace_does_not():
    assert object_schema(CLUSTERS)["required"] == ["spec"]
    assert "required" not in object_schema(NAMESPACES)
    assert object_schema(NAMESPACES)["properties"]["spec"]["default"]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)
def test_columns_and_scale_point_at_fields_that_there_are(resource):
    known = {path for path, _ in schemas(object_schema(resource))}
    version = version_of(resource)
    paths = [each["jsonPath"] for each in version["additionalPrinterColumns"]]
    paths += version["subresources"].get("scale", {}).values()
    for path in paths:
        assert (
            path.startswith(".metadata.")
            or path.replace('[?(@.type=="Ready")]', "[]").replace('[?(@.type=="Synced")]', "[]") in known
        )


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)
def test_text_lists_and_maps_of_the_spec_are_bounded_so_that_cel_is_affordable(resource):
    unbounded = [
        path
        for path, schema in schemas(object_schema(resource)["properties"]["spec"])
        if (schema.get("type") == "string" and not {"maxLength", "enum"} & set(schema))
        or (schema.get("type") == "array" and "maxItems" not in schema)
        or ("additionalProperties" in schema and "maxProperties" not in schema)
    ]
    assert unbounded == []


def test_every_rule_has_a_row_in_the_table_that_breaks_it():
    """Where the same rule stands in several places, in each of them."""
    rules = {
        (path.removesuffix(".*"), rule["message"])
        for resource in RESOURCES
        for path, schema in schemas(object_schema(resource))
        for rule in schema.get("x-kubernetes-validations", [])
    }
    broken = [(row.document, row.says) for row in BAD] + [
        (changed(NAMESPACE, row.after), (row.says,)) for row in EDITS if row.says
    ]
    met = {
        (path, message)
        for path, message in rules
        for document, says in broken
        if path in written(document) and any(each in message for each in says)
    }
    assert rules - met == set()


def written(value, path=""):
    """The paths of the fields that a document sets, lists as in a schema."""
    if isinstance(value, dict):
        return {path} | {each for name, inner in value.items() for each in written(inner, f"{path}.{name}")}
    if isinstance(value, list):
        return {path} | {each for inner in value for each in written(inner, f"{path}[]")}
    return {path}


@pytest.mark.parametrize(
    ("resource", "document"), [(CLUSTERS, FULL_CLUSTER), (NAMESPACES, FULL_NAMESPACE)], ids=["cluster", "namespace"]
)
def test_the_fullest_row_of_the_table_sets_every_field(resource, document):
    fields = {path for path, _ in schemas(object_schema(resource)["properties"]["spec"]) if not path.endswith(".*")}
    # Selectors are the same everywhere; one is written out.
    rest = {path for path in fields - written(document) if "elector." not in path}
    assert rest == set()


def test_conditions_are_a_map_by_type_with_the_fields_that_we_write():
    conditions = object_schema(NAMESPACES)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    aliases = {field.alias or name for name, field in Condition.model_fields.items()}
    assert set(conditions["items"]["properties"]) == aliases
    required = {field.alias or name for name, field in Condition.model_fields.items() if field.is_required()}
    assert set(conditions["items"]["required"]) == required


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)
def test_nothing_is_filled_into_a_status(resource):
    status = object_schema(resource)["properties"]["status"]
    assert [path for path, schema in schemas(status) if "default" in schema] == []


def test_defaults_of_a_namespace_are_complete_where_rules_are_checked_on_them():
    spec = object_schema(NAMESPACES)["properties"]["spec"]
    assert spec["properties"]["events"]["default"] == {"partitions": 3, "retention": "168h"}
    assert spec["default"]["clusterRef"] == {}
    assert spec["default"]["deletion"]["policy"] == "Retain"


def test_the_default_of_a_scalar_is_told_in_its_text():
    port = object_schema(CLUSTERS)["properties"]["spec"]["properties"]["postgres"]["properties"]["external"]
    assert port["properties"]["port"]["description"] == "TCP port. Default: 5432."


# --- the renderer ----------------------------------------------------------------------------------------------------


class Inner(BaseModel):
    """An object inside."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(default=1, ge=1, le=9, title="dropped", examples=[3], description="A number.")
    text: str | None = None


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str | None, {"type": "string"}),
        (
            Annotated[str, Field(pattern="^a$", max_length=3)] | None,
            {"type": "string", "pattern": "^a$", "maxLength": 3},
        ),
        (int, {"type": "integer", "format": "int64"}),
        (Annotated[int, Field(le=100)], {"type": "integer", "format": "int32", "maximum": 100}),
        (
            Annotated[int, Field(gt=0, lt=5)],
            {
                "type": "integer",
                "format": "int32",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 5,
                "exclusiveMaximum": True,
            },
        ),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (datetime, {"type": "string", "format": "date-time"}),
        (
            int | Annotated[str, Field(max_length=9)],
            {"x-kubernetes-int-or-string": True, "maxLength": 9},
        ),
        (
            Annotated[dict[str, int], Field(max_length=2)],
            {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "integer", "format": "int64"}},
        ),
        (
            Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})],
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        ),
        (
            Inner,
            {
                "description": "An object inside.",
                "type": "object",
                "properties": {
                    "number": {
                        "description": "A number. Default: 1.",
                        "type": "integer",
                        "format": "int32",
                        "minimum": 1,
                        "maximum": 9,
                        "default": 1,
                    },
                    "text": {"type": "string"},
                },
            },
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value)[:40],
)
def test_types_of_python_become_structural_schemas(annotation, schema):
    assert rendered(annotation) == schema


def test_keys_of_a_map_become_a_rule_with_their_description_as_its_message():
    key = Annotated[str, Field(max_length=5, pattern=r"^a\.b$", description="keys look like a.b; correct the key")]
    assert rendered(dict[key, str]) == {
        "type": "object",
        "x-kubernetes-validations": [
            {
                "rule": r"self.all(key, key.size() <= 5 && key.matches('^a\\.b$'))",
                "message": "keys look like a.b; correct the key",
            }
        ],
        "additionalProperties": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("default", "kept"),
    [(Inner(), {}), (Inner(number=2), {"number": 2}), (Inner(text="a"), {"text": "a"})],
    ids=["all inside", "another number", "more than inside"],
)
def test_the_default_of_an_object_holds_what_its_fields_do_not_fill_in(default, kept):
    assert rendered(Inner, default)["default"] == kept


def test_an_object_that_fills_in_nothing_has_no_default():
    class Empty(BaseModel):
        text: str | None = None

    assert "default" not in rendered(Empty, Empty())


class Endless(BaseModel):
    again: "Endless | None" = None


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Annotated[float, Field(multiple_of=0.5)], "field: a CRD has no counterpart for the keyword multipleOf"),
        (int | bool, "field: a structural schema has no choice between types"),
        (dict[str, Any], "field: nothing is said about its values"),
        (dict[Annotated[str, Field(pattern="^a$")], str], "field: keys need one pattern, maxLength and a description"),
        (tuple[int, str], "field: a CRD has no counterpart for the keyword prefixItems"),
        (set[str], "field: a CRD has no counterpart for the keyword uniqueItems"),
        (Endless, "a structural schema cannot contain itself"),
    ],
    ids=["keyword", "choice", "open map", "keys", "tuple", "set", "recursion"],
)
def test_what_a_crd_cannot_say_is_an_error_with_its_path(annotation, why):
    with pytest.raises(ValueError, match=r"^field") as caught:
        rendered(annotation)
    assert why in str(caught.value)


def test_conditions_of_the_types_render_alone():
    assert rendered(Conditions)["x-kubernetes-list-type"] == "map"


# --- YAML ------------------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.text(max_size=20)
    | st.booleans()
    | st.integers()
    | st.sampled_from(["yes", "No", "1", "1.0", "~", "null", "- a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_written_as_yaml_is_read_back(data):
    assert yaml.safe_load(to_yaml(data)) == data


def test_yaml_is_in_block_style_and_quotes_only_what_needs_it():
    data = {"a": {"b": ["plain text", {"c": "it: depends", "d": True}], "e": {}, "f": []}, "g": 1}
    assert to_yaml(data) == ('a:\n  b:\n  - plain text\n  - c: "it: depends"\n    d: true\n  e: {}\n  f: []\ng: 1\n')
