"""How a command finds the service that runs on this machine: a small file that the supervisor keeps in ``.soma/``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

STATE_DIRECTORY = ".soma"
ENDPOINT_FILE = "endpoint.json"


class LocalEndpoint(BaseModel):
    """Where the namespace served from a state directory answers."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    endpoint: str
    token_file: Path
    namespace: str


def write_endpoint(state: Path, found: LocalEndpoint) -> None:
    """Publish `found` in the state directory; readers see the old file or the new one, never half of it."""
    partial = state / f"{ENDPOINT_FILE}.partial"
    partial.write_text(found.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    partial.replace(state / ENDPOINT_FILE)


def read_endpoint(state: Path) -> LocalEndpoint | None:
    """Return what the state directory says, or None when nothing was served from it."""
    try:
        return LocalEndpoint.model_validate_json((state / ENDPOINT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def find_state_directory(start: Path) -> Path | None:
    """Return the nearest ``.soma`` that has served something, looking in `start` and the folders above it."""
    for folder in (start, *start.parents):
        if (folder / STATE_DIRECTORY / ENDPOINT_FILE).is_file():
            return folder / STATE_DIRECTORY
    return None
