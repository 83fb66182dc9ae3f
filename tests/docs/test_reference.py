"""The pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.reference import EVENT_SCHEMA, event_schema, render
from memory_contracts.settings import RuntimeSettings
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_runtime.api.app import build_app
from memory_runtime.composition import compose

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_generated_parts_are_up_to_date(page: Path) -> None:
    assert render(page.read_text("utf-8")) == page.read_text("utf-8"), "run: make reference"


def test_the_event_schema_is_up_to_date() -> None:
    assert (ROOT / "docs" / EVENT_SCHEMA).read_text("utf-8") == event_schema(), "run: make reference"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_condition_and_reason_is_explained() -> None:
    text = (ROOT / "docs/conditions.md").read_text("utf-8")
    table = text.split("<!-- end -->")[1]
    for word in (*ConditionType, *Reason):
        assert f"`{word}`" in table, f"docs/conditions.md does not explain {word}"


def test_every_route_is_in_the_table_and_nothing_else() -> None:
    app = build_app(compose(RuntimeSettings(token="0123456789abcdef")))
    text = (ROOT / "docs/http.md").read_text("utf-8")
    documented = set(re.findall(r"`(GET|POST|DELETE) (/[^`]*)`", text))
    served = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert documented == served


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "examples").glob("*.yaml"))], ids=lambda page: page.name)
def test_every_resource_shown_is_valid(page: Path) -> None:
    text = page.read_text("utf-8")
    blocks = [text] if page.suffix == ".yaml" else re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        for resource in yaml.safe_load_all(block):
            MemoryNamespace.model_validate(resource)
