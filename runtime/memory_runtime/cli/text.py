"""Text that is safe and short enough to show; pure, and free of slow imports."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

SNIPPET_LENGTH = 200
# Cc: control characters; Cs: lone surrogates; Cf: invisible marks, some of which reorder the line.
_UNSAFE = frozenset({"Cc", "Cs", "Cf"})


def snippet(text: str, length: int = SNIPPET_LENGTH) -> str:
    """Return the beginning of `text` on one line, at most `length` characters."""
    start = one_line(text[: 4 * length])
    return start if len(start) <= length and len(text) <= 4 * length else start[: length - 1].rstrip() + "…"


def one_line(text: str) -> str:
    """Return `text` with every run of white space as one space, and without characters that steer a terminal."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Return `text` with all characters that steer a terminal replaced, line ends excepted."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if char != "\n" and unicodedata.category(char) in _UNSAFE else char for char in text)


def compact(value: Any) -> str:
    """Return a value of an answer as a person reads it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
