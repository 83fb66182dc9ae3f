"""Files of the state directory: written whole or not at all, read from the end, kept from growing for ever."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROTATE_BYTES = 10 * 1024 * 1024
TAIL_BYTES = 64 * 1024
PARTIAL = ".partial"


def write_atomically(path: Path, text: str, mode: int = 0o644, *, sync: bool = True) -> None:
    """Replace `path` by a file with this text; a reader sees the old text or the new one.

    With `sync` that holds across a power cut, too.
    """
    # Two commands may write the same file at once; each has a partial one of its own, and the later one wins.
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    partial.replace(path)


def write_once(path: Path, text: str) -> None:
    """Write `path` unless it is there; of several that do so at once, one wins, and what it wrote stays."""
    partial = path.with_name(f"{path.name}.once.{os.getpid()}{PARTIAL}")
    write_atomically(partial, text)
    with contextlib.suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a secret that only this user can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, text + "\n", mode=0o600)


def rotate(log: Path) -> None:
    """Make room before a process appends to `log`: a large file becomes ``NAME.1``, the one before that goes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > ROTATE_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def tail(log: Path, lines: int, offset: int = 0) -> str:
    """Return the last `lines` lines of what was written after byte `offset`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset if offset <= size else 0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
