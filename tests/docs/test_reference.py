"""The pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from memory_contracts.api.scalars import FORMS
from memory_contracts.conditions import ClusterConditionType, ConditionType, Reason
from memory_contracts.crd import RESOURCES, Resource, object_schema
from memory_contracts.reference import render, whole_files, write
from memory_contracts.settings import RuntimeSettings
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_runtime.api.app import build_app
from memory_runtime.composition import compose

ROOT = Path(__file__).parents[2]
KINDS = {each.__name__: each for each in (MemoryCluster, MemoryNamespace)}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_generated_parts_are_up_to_date(page: Path) -> None:
    assert render(page.read_text("utf-8")) == page.read_text("utf-8"), "run: make reference"


@pytest.mark.parametrize("path", whole_files())
def test_generated_files_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == whole_files()[path], "run: make reference"


def test_crds_holds_nothing_but_what_is_rendered() -> None:
    assert {f"crds/{each.name}" for each in (ROOT / "crds").iterdir()} < set(whole_files())


def test_make_reference_writes_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/conditions.md").write_text("# Mine\n\n<!-- generated: conditions -->\n<!-- end -->\n\nThe end.\n")
    write(tmp_path)
    assert all((tmp_path / path).read_text("utf-8") == text for path, text in whole_files().items())
    page = (tmp_path / "docs/conditions.md").read_text("utf-8")
    assert page.startswith("# Mine\n")
    assert page.endswith("<!-- end -->\n\nThe end.\n")
    assert "`ClaimedByAnother`" in page


def paths(schema: dict[str, Any], path: str) -> list[str]:
    """Return the path of every field below the object at `path`, as the headings of the page write it."""
    found = []
    for name, each in schema.get("properties", {}).items():
        inner, inside = (each["items"], f"{path}.{name}[]") if "items" in each else (each, f"{path}.{name}")
        found += [f"{path}.{name}", *paths(inner, inside)]
    return found


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)
def test_the_page_of_a_resource_has_a_row_for_every_field(resource: Resource) -> None:
    page = (ROOT / f"docs/reference/{resource.kind.lower()}.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    rows = {f"{where}.{name}" for where, text in sections.items() for name in re.findall(r"^\| `(\S+)` ", text, re.M)}
    top = object_schema(resource)["properties"]
    assert rows == {field for name in ("spec", "status") for field in paths(top[name], name)}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)
def test_links_inside_the_page_of_a_resource_lead_to_a_heading(resource: Resource) -> None:
    page = (ROOT / f"docs/reference/{resource.kind.lower()}.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
    assert len(headings) == len(anchors)


@pytest.mark.parametrize(("pattern", "form"), FORMS.items(), ids=[name for name, _ in FORMS.values()])
def test_the_example_of_a_form_has_that_form(pattern: str, form: tuple[str, str]) -> None:
    assert re.search(pattern, form[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_condition_and_reason_is_explained() -> None:
    text = (ROOT / "docs/conditions.md").read_text("utf-8")
    table = text.split("<!-- end -->")[1]
    for word in (*ConditionType, *ClusterConditionType, *Reason):
        assert f"`{word}`" in table, f"docs/conditions.md does not explain {word}"


def test_every_reason_has_one_row_with_its_status_and_what_to_do() -> None:
    text = (ROOT / "docs/conditions.md").read_text("utf-8").split("## Reasons")[1]
    rows = [row.strip("|").split("|") for row in text.splitlines() if row.startswith("| `")]
    explained = [
        (reason, status, remedy) for reasons, status, remedy in rows for reason in re.findall(r"`(\w+)`", reasons)
    ]
    assert sorted(reason for reason, _, _ in explained) == sorted(Reason)
    for reason, status, remedy in explained:
        assert set(re.findall(r"\w+", status)) <= {"True", "False", "Unknown"}, reason
        assert len(remedy.split()) >= 1, reason


def test_every_route_is_in_the_table_and_nothing_else() -> None:
    app = build_app(compose(RuntimeSettings(token="0123456789abcdef")))
    text = (ROOT / "docs/http.md").read_text("utf-8")
    documented = set(re.findall(r"`(GET|POST|DELETE) (/[^`]*)`", text))
    served = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert documented == served


SHOWING = [page for page in PAGES if "apiVersion: memory.somafractal.io/" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", [*SHOWING, *sorted((ROOT / "examples").glob("*.yaml"))], ids=lambda page: page.name)
def test_every_resource_shown_is_valid(page: Path) -> None:
    text = page.read_text("utf-8")
    blocks = [text] if page.suffix == ".yaml" else re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    shown = [resource for block in blocks for resource in yaml.safe_load_all(block)]
    ours = [each for each in shown if each["apiVersion"].startswith("memory.somafractal.io/")]
    assert ours
    for resource in ours:
        KINDS[resource["kind"]].model_validate(resource)
