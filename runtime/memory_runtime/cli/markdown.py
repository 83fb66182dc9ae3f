"""Reads Markdown as a sequence of blocks: headings, fenced code, everything else by paragraphs.

As much of CommonMark (spec 0.31) as splitting needs: ATX and one-line setext headings, fences of any indentation (they
also stand in lists), YAML front matter as one block. All text is kept, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

HEADING_SEPARATOR = " > "
LONGEST_TITLE = 120

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_CLOSING_HASHES = re.compile(r"(?:^|[ \t])#+[ \t]*$")
# A list, quote or table above a line of dashes is no heading.
_SETEXT_TITLE = re.compile(r" {0,3}(?![-*+>|#]|\d+[.)])\S")
_SETEXT_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r"[ \t]*(`{3,}(?!.*`)|~{3,})")


class Kind(StrEnum):
    """What a block is."""

    HEADING = "heading"
    CODE = "code"
    PROSE = "prose"


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together; `line` counts from 1, `heading` is the path of titles above, " > " between them."""

    text: str
    line: int
    kind: Kind = Kind.PROSE
    heading: str | None = None


def read_markdown(text: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown text whose lines end in ``\\n``; blank lines between blocks are dropped."""
    lines = text.split("\n")
    titles: list[tuple[int, str]] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        kind, end = _extent(lines, at)
        if kind is Kind.HEADING:
            titles = _under(titles, lines[at:end])
        path = HEADING_SEPARATOR.join(title for _, title in titles if title)
        yield Block("\n".join(lines[at:end]), at + 1, kind, path or None)
        at = end


def read_plain(text: str) -> Iterator[Block]:
    """Yield the paragraphs of a plain text whose lines end in ``\\n``: what stands between blank lines."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and lines[end].strip():
            end += 1
        if end > at:
            yield Block("\n".join(lines[at:end]), at + 1)
        at = end + 1


def _extent(lines: Sequence[str], at: int) -> tuple[Kind, int]:
    """Return what begins at line `at`, and the line after its last."""
    if at == 0 and (end := _front_matter_end(lines)):
        return Kind.PROSE, end
    if fence := _FENCE.match(lines[at]):
        return Kind.CODE, _fence_end(lines, at, fence[1])
    if _ATX.match(lines[at]):
        return Kind.HEADING, at + 1
    if at + 1 < len(lines) and _SETEXT_TITLE.match(lines[at]) and _SETEXT_UNDERLINE.match(lines[at + 1]):
        return Kind.HEADING, at + 2
    return Kind.PROSE, _paragraph_end(lines, at)


def _front_matter_end(lines: Sequence[str]) -> int | None:
    if lines[0].rstrip() != "---":
        return None
    return next((at + 1 for at in range(1, len(lines)) if lines[at].rstrip() == "---"), None)


def _fence_end(lines: Sequence[str], at: int, fence: str) -> int:
    """Return the line after the closing fence; a fence that is never closed reaches to the end of the text."""
    for end in range(at + 1, len(lines)):
        line = lines[end].strip()
        if len(line) >= len(fence) and not line.strip(fence[0]):
            return end + 1
    return len(lines)


def _paragraph_end(lines: Sequence[str], at: int) -> int:
    end = at + 1
    while end < len(lines) and lines[end].strip() and not _ATX.match(lines[end]) and not _FENCE.match(lines[end]):
        end += 1
    return end


def _under(titles: list[tuple[int, str]], heading: Sequence[str]) -> list[tuple[int, str]]:
    """Return the titles above what follows `heading`: those of a higher level, and its own."""
    level, title = _parse_heading(heading)
    return [*(above for above in titles if above[0] < level), (level, title[:LONGEST_TITLE].strip())]


def _parse_heading(heading: Sequence[str]) -> tuple[int, str]:
    if len(heading) == 2:
        return (1 if heading[1].lstrip().startswith("=") else 2), heading[0].strip()
    match = _ATX.match(heading[0])
    assert match
    return len(match[1]), _CLOSING_HASHES.sub("", match[2] or "").strip()
