"""Finds the files that `soma remember` takes, and reads their bytes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from memory_contracts.errors import Rejected

MARKDOWN, TEXT, JSONL = (".md", ".markdown"), (".txt",), (".jsonl",)
SUFFIXES = (*TEXT, *MARKDOWN, *JSONL)
STDIN = Path("-")
MAX_FILE_BYTES = 64 * 2**20


@dataclass(slots=True)
class Found:
    """Files by source, how many others the folders held, and folders that could not be read."""

    files: dict[str, Path] = field(default_factory=dict)
    skipped: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def find_files(paths: tuple[Path, ...], directory: Path) -> Found:
    """Return the files named by `paths` and, sorted, those inside the folders among them; each file once.

    Hidden files and folders inside a folder are left out, and links to folders are not followed: they may lead in
    circles. Raises `Rejected` for a path that does not exist or whose type is unknown.
    """
    found = Found()
    for path in paths:
        if path == STDIN:
            found.files["stdin"] = STDIN
        elif _is_folder(path):
            _walk(path, directory, found)
        else:
            _check_named(path)
            found.files[source_of(path, directory)] = path
    return found


def source_of(path: Path, directory: Path) -> str:
    """Return how a file is named in memories: relative to `directory` when it lies below it, with forward slashes."""
    absolute = directory / path
    return (absolute.relative_to(directory) if absolute.is_relative_to(directory) else path).as_posix()


def read_bytes(path: Path) -> bytes:
    """Return a file's content; raises `Rejected` when it cannot be read, is no regular file or is too big."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise Rejected("not a regular file")
        with path.open("rb") as stream:
            return read_stream(stream)
    except OSError as error:
        raise Rejected(error.strerror or type(error).__name__) from None


def read_stream(stream: BinaryIO) -> bytes:
    """Return all that `stream` holds; raises `Rejected` when it is too much for one document."""
    content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise Rejected(f"larger than {MAX_FILE_BYTES // 2**20} MiB; split it")
    return content


def size_of(path: Path) -> int:
    """Return a file's number of bytes, 0 when nobody can tell."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder above that nobody may enter
        return False


def _walk(folder: Path, directory: Path, found: Found) -> None:
    def note(error: OSError) -> None:
        found.unreadable[source_of(Path(error.filename), directory)] = error.strerror or "unreadable"

    for root, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(root, name) for name in sorted(names) if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                found.files[source_of(path, directory)] = path
            else:
                found.skipped += 1


def _check_named(path: Path) -> None:
    # lexists: a file that cannot be looked at is reported when it is read, and the others still go.
    if not os.path.lexists(path):
        raise Rejected(
            f"{str(path)[:200]!r} does not exist; to remember a sentence: echo '…' | soma remember -", field="PATH"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise Rejected(
            f"{str(path)!r} is not one of {' '.join(SUFFIXES)}; for text in other files, pipe it to -", field="PATH"
        )
