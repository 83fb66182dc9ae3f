"""Named queries: ``sql/*.sql`` holds each under a line ``-- name: …``, followed by what it does."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def queries(module: str) -> dict[str, str]:
    """Return name → SQL of ``sql/<module>.sql``."""
    text = (files("memory_runtime.adapters.postgres") / "sql" / f"{module}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
