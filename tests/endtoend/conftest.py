"""One empty folder a test, and nothing left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from soma_command import Soma, free_port


@pytest.fixture
def soma(tmp_path: Path) -> Iterator[Soma]:
    """An empty folder to run `soma` in; whatever runs at the end is stopped and its data deleted."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    service = Soma(folder, free_port())
    yield service
    service.run("down", "--purge", check=False)
