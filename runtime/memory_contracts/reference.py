"""Renders ``crds/`` and the reference pages of ``docs/``; ``make reference`` writes them, tests compare them."""

from __future__ import annotations

import json
from pathlib import Path

from memory_contracts.conditions import ClusterConditionType, ConditionType, Reason
from memory_contracts.crd import RESOURCES, render_files
from memory_contracts.events import MemoryEvent
from memory_contracts.resource_reference import resource_page
from memory_contracts.settings import ENV_FILE_VARIABLE, FILE_VARIABLES, RuntimeSettings, environment_names

EVENT_SCHEMA = "docs/reference/memory.event.json"
BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"


def settings_table() -> str:
    """Return a Markdown table of every variable that the API process reads."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in RuntimeSettings.model_fields.items():
        preferred, *others = environment_names(name)
        names = f"`{preferred}`" + "".join(f", also `{other}`" for other in others)
        if preferred in FILE_VARIABLES:
            names += f", or `{preferred}_FILE`"
        rows.append(f"| {names} | {_default(field.default)} | {field.description} |")
    rows.append(f"| `{ENV_FILE_VARIABLE}` | none | A file of `NAME=value` lines; the environment wins over it. |")
    return "\n".join(rows)


def conditions_list() -> str:
    """Return the condition types and reasons that docs/conditions.md must explain, as one line each."""
    lines = {
        "Of a MemoryNamespace, in the order of the stages": ConditionType,
        "Of a MemoryCluster": ClusterConditionType,
        "Reasons": Reason,
    }
    return "\n\n".join(f"{title}: {', '.join(f'`{word}`' for word in words)}." for title, words in lines.items())


def event_schema() -> str:
    """Return the JSON Schema of `memory.event`."""
    return json.dumps(MemoryEvent.model_json_schema(mode="serialization"), indent=2) + "\n"


def render(text: str) -> str:
    """Return `text` with each generated part replaced by its present content."""
    for title, content in (("settings", settings_table()), ("conditions", conditions_list())):
        begin = BEGIN.format(title)
        if begin in text:
            head, _, rest = text.partition(begin)
            text = f"{head}{begin}\n\n{content}\n\n{END}{rest.partition(END)[2]}"
    return text


def whole_files() -> dict[str, str]:
    """Return the files that are rendered as a whole, by path from the root of the repository."""
    return {
        EVENT_SCHEMA: event_schema(),
        **{f"docs/reference/{each.kind.lower()}.md": resource_page(each) for each in RESOURCES},
        **{f"crds/{name}": text for name, text in render_files().items()},
    }


def write(root: Path) -> None:
    """Bring the generated files and parts of pages below `root` up to date."""
    for path, text in whole_files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    for page in sorted((root / "docs").rglob("*.md")):
        before = page.read_text("utf-8")
        if (after := render(before)) != before:
            page.write_text(after, "utf-8")


def _default(value: object) -> str:
    if value is None:
        return "none"
    shown = getattr(value, "get_secret_value", lambda: value)()
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


if __name__ == "__main__":
    write(Path())
