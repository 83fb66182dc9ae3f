"""Splits text and Markdown into passages that are short enough to be found by what they say.

Pure: text in, passages out. Nothing but white space is lost, nothing is said twice, and the order stays.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from memory_runtime.cli.markdown import Block, Kind, read_markdown, read_plain

TARGET = 800
# A block of code stays whole up to this multiple of the target.
CODE_FACTOR = 2.5

# After a sentence, before a list item, before a table row. A full stop after a digit may be that of "3." before an
# item; Chinese and Japanese put no space after a sentence.
_SENTENCE_ENDS = re.compile(
    r"(?<=[^\d\s][.!?…])[\"')\]»”\u2019]*\s+"
    r"|(?<=[。\uff01\uff1f])"
    r"|\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t])"
    r"|\n(?=\|)"
)
_LINE_ENDS = re.compile(r"\n")
_UP_TO_LAST_SPACE = re.compile(r".*\s", re.DOTALL)
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: its text, the line it starts on (from 1), and the titles above it."""

    text: str
    line: int
    heading: str | None = None


def split_text(text: str, target: int = TARGET) -> list[Passage]:
    """Return the passages of a plain text: whole paragraphs, as many as fit in `target` characters."""
    return list(_pack(read_plain(unix_lines(text)), target))


def split_markdown(text: str, target: int = TARGET) -> list[Passage]:
    """Return the passages of a Markdown text; a heading begins a new one and goes with what follows.

    A passage has at most `target` characters, plus half of that for the headings it begins with, and code up to
    `CODE_FACTOR` times the target stays whole.
    """
    return list(_pack(read_markdown(unix_lines(text)), target))


def unix_lines(text: str) -> str:
    """Return `text` with every line end as ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _pack(blocks: Iterable[Block], target: int) -> Iterator[Passage]:
    """Yield passages, each of as many blocks as belong together and fit."""
    current: list[Block] = []
    for block in itertools.chain.from_iterable(_fit(block, target) for block in blocks):
        if current and not _belongs(current, block, target):
            yield _passage(current)
            current = []
        current.append(block)
    if current:
        yield _passage(current)


def _belongs(current: list[Block], block: Block, target: int) -> bool:
    length = sum(len(member.text) + 2 for member in current) + len(block.text)
    if all(member.kind is Kind.HEADING for member in current):
        # Headings alone answer no question, so the first block below them always joins.
        return block.kind is not Kind.HEADING or length <= target // 2
    return block.kind is not Kind.HEADING and length <= target


def _passage(blocks: list[Block]) -> Passage:
    parts = [blocks[0].text]
    for before, after in itertools.pairwise(blocks):
        adjacent = after.line == before.line + before.text.count("\n") + 1
        parts.append(("\n" if adjacent else "\n\n") + after.text)
    return Passage("".join(parts).rstrip(), blocks[0].line, blocks[-1].heading)


def _fit(block: Block, target: int) -> Iterator[Block]:
    """Yield `block` itself, or pieces of it when it is too long for one passage."""
    longest = {Kind.HEADING: target // 2, Kind.PROSE: target, Kind.CODE: int(target * CODE_FACTOR)}
    if len(block.text) <= longest[block.kind]:
        yield block
        return
    kind = Kind.CODE if block.kind is Kind.CODE else Kind.PROSE
    line, counted = block.line, 0
    for start, end in _cuts(block.text, target, _LINE_ENDS if kind is Kind.CODE else _SENTENCE_ENDS):
        blank = _BLANK_LINES.match(block.text, start, end)
        start = blank.end() if blank else start  # noqa: PLW2901 - the piece really starts there
        line, counted = line + block.text.count("\n", counted, start), start
        if text := block.text[start:end].rstrip():
            yield replace(block, text=text, line=line, kind=kind)


def _cuts(text: str, target: int, ends: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield ranges that cover `text`, none longer than `target`: cut at `ends`, else between words, else anywhere."""
    start = last = 0
    for end in (*(match.end() for match in ends.finditer(text)), len(text)):
        if end - start > target and last > start:
            yield start, last
            start = last
        while end - start > target:
            cut = _word_end(text, start, start + target)
            yield start, cut
            start = cut
        last = end
    if start < len(text):
        yield start, len(text)


def _word_end(text: str, start: int, latest: int) -> int:
    found = _UP_TO_LAST_SPACE.match(text, start, latest)
    return found.end() if found and text[start : found.end()].strip() else latest
