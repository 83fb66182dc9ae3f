"""Where a server keeps its data: in its directory, or elsewhere when the account it runs as cannot reach that."""

from __future__ import annotations

from pathlib import Path

from memory_operator.local.postgres_place import recorded_elsewhere


def data_of(directory: Path) -> Path:
    """Return the data folder of the server that was started in `directory`."""
    return (recorded_elsewhere(directory) or directory) / "data"
