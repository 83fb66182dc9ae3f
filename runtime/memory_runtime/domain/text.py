"""The text of a payload, which is embedded and searched; not its JSON, whose keys would drown the words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Fields that people put their text into. When a payload has any of them, the others are taken for metadata.
TEXT_FIELDS = (
    "title",
    "heading",
    "name",
    "text",
    "content",
    "message",
    "summary",
    "description",
    "question",
    "answer",
    "task",
    "fact",
)
MAX_CONTENT = 64 * 1024


def searchable_text(payload: Mapping[str, Any]) -> str:
    """Return the payload's text fields joined by newlines, else all its strings; at most `MAX_CONTENT` characters."""
    parts = [payload[field] for field in TEXT_FIELDS if isinstance(payload.get(field), str)]
    return "\n".join(parts or _strings(payload))[:MAX_CONTENT]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
