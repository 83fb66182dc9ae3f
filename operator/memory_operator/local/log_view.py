"""Showing logs at the shell: the end of each, then what is added."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from memory_operator.local.files import tail

POLL_SECONDS = 0.2


def show_ends(logs: Mapping[str, Path], lines: int, echo: Callable[[str], object]) -> dict[str, int]:
    """Show the last `lines` lines of each log, under its name when there are several; return how far each was read."""
    for name, log in logs.items():
        if text := tail(log, lines) if lines else "":
            echo(f"==> {name} <==\n{text}" if len(logs) > 1 else text)
    return {name: log.stat().st_size for name, log in logs.items()}


def show_growth(logs: Mapping[str, Path], offsets: dict[str, int], echo: Callable[[str], object]) -> None:
    """Show for ever what is added, each line after the name of its log when there are several."""
    while True:
        time.sleep(POLL_SECONDS)
        for name, log in logs.items():
            text, offsets[name] = _added(log, offsets[name])
            for line in text.splitlines():
                echo(f"{name}: {line}" if len(logs) > 1 else line)


def _added(log: Path, offset: int) -> tuple[str, int]:
    size = log.stat().st_size if log.exists() else 0
    if size == offset:
        return "", size
    with log.open("rb") as file:
        file.seek(offset if offset < size else 0)  # shorter than before: it was rotated
        return file.read().decode(errors="replace"), file.tell()
