"""`soma remember`: files and folders of text become memories."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memory_contracts.errors import PlatformError, Rejected
from memory_runtime.cli.documents import Document, read_document
from memory_runtime.cli.files import STDIN, Found, find_files, read_bytes, read_stream, size_of
from memory_runtime.cli.ingest import Ingest, Summary
from memory_runtime.cli.options import MEMORY_TYPES, data_command

if TYPE_CHECKING:
    from memory_runtime.cli.client import Client
    from memory_runtime.cli.output import Output

EPILOG = """
\b
Examples:
  soma remember notes/ README.md
  soma remember --type episodic diary.jsonl
  git log --format=%B -n 20 | soma remember -

Running it again updates: a passage is known by its file, as named from the current folder, and its number; passages a
file no longer has are deleted. Text from "-" is known by its content.

A line of JSON Lines is a string or an object, of which coord, type and importance are taken out and the rest is the
payload. Other types of file, hidden files and links to folders are skipped inside a folder.
"""


@click.command(epilog=EPILOG)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--type", "memory_type", type=MEMORY_TYPES, default="semantic", show_default=True, help="Events, or facts."
)
@data_command
def remember(client: Client, output: Output, paths: tuple[Path, ...], memory_type: str) -> None:
    """Remember text (.txt), Markdown (.md, .markdown) and JSON Lines (.jsonl), passage by passage.

    PATH is a file, a folder, or - for text from standard input. A file that cannot be read is reported and left out;
    the others are stored, and the exit code is 1.
    """
    started = time.monotonic()
    found = find_files(paths, Path.cwd())
    summary = _ingest(client, output, found, memory_type)
    _report(output, summary, found.skipped, time.monotonic() - started)
    if summary.failed:
        click.get_current_context().exit(1)


def _ingest(client: Client, output: Output, found: Found, memory_type: str) -> Summary:
    summary = Summary(failed=dict(found.unreadable))
    with output.progress() as progress:
        task = progress.add_task("remembering", total=None)
        ingest = Ingest(client, summary, lambda size: progress.advance(task, size))
        progress.update(task, total=sum(map(size_of, found.files.values())))
        try:
            ingest.run(_documents(found, memory_type, summary))
        except PlatformError as error:
            note = f"{summary.passages} passages were stored before; the same command goes on from there"
            error.detail = f"{error.detail} ({note})" if summary.passages else error.detail
            raise
    return summary


def _documents(found: Found, memory_type: str, summary: Summary) -> Iterator[Document]:
    """Yield the documents of the files that can be read, and note the others in `summary`."""
    for source, path in found.files.items():
        try:
            content = read_stream(sys.stdin.buffer) if path == STDIN else read_bytes(path)
            yield read_document(source, content, path.suffix.lower(), memory_type)
        except Rejected as error:
            summary.failed[source] = error.detail


def _report(output: Output, summary: Summary, skipped: int, seconds: float) -> None:
    for source, reason in summary.failed.items():
        output.remark(f"{source}: {reason}")
    if output.as_json:
        output.json(_as_json(summary, skipped, seconds))
        return
    extras = [
        f"{_count(number, *nouns)} {what}"
        for number, nouns, what in (
            (summary.removed, ("stale passage", "stale passages"), "deleted"),
            (skipped, ("file of another type", "files of other types"), "skipped"),
        )
        if number
    ]
    files, passages = _count(summary.files, "file", "files"), _count(summary.passages, "passage", "passages")
    stored = f"Remembered {files}, {passages} in {seconds:.1f} s"
    output.line(f"{'; '.join([stored, *extras])}.")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _as_json(summary: Summary, skipped: int, seconds: float) -> dict[str, Any]:
    return {
        "files": summary.files,
        "passages": summary.passages,
        "removed": summary.removed,
        "skipped": skipped,
        "failed": [{"source": source, "detail": reason} for source, reason in summary.failed.items()],
        "seconds": round(seconds, 3),
    }
