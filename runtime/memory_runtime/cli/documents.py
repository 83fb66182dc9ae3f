"""Reads the content of a file as the memories it holds. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from memory_contracts.errors import Rejected
from memory_contracts.identifiers import Coordinate, derive_coordinate
from memory_runtime.cli.files import JSONL, MARKDOWN
from memory_runtime.cli.jsonl import Record, read_records
from memory_runtime.cli.passages import Passage, split_markdown, split_text, unix_lines

# A line is at least one memory of JSON Lines, and has to fit into one request.
MAX_LINE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Document:
    """The memories of one file, ready to store; `identity` and a passage's number give its coordinate."""

    source: str
    identity: str
    memories: tuple[dict[str, Any], ...]
    size: int

    @property
    def may_have_tail(self) -> bool:
        """Tell whether an earlier, longer version may be stored: not for standard input, which is known by content."""
        return self.identity == self.source


def read_document(source: str, content: bytes, suffix: str, memory_type: str) -> Document:
    """Return the memories in `content`, a file of the given suffix; raises `Rejected` when it is not such a text."""
    _check_name(source)
    text = decode(content)
    identity = source if suffix else f"stdin:{hashlib.sha256(content).hexdigest()}"
    if suffix in JSONL:
        memories = [_from_record(record, source, n, memory_type) for n, record in enumerate(read_records(text))]
    else:
        split = split_markdown if suffix in MARKDOWN else split_text
        memories = [_from_passage(passage, source, identity, n, memory_type) for n, passage in enumerate(split(text))]
    return Document(source, identity, tuple(memories), len(content))


def decode(content: bytes) -> str:
    """Return the text of a file with ``\\n`` as line ends and without a byte order mark; raises `Rejected`."""
    if max(map(len, content.split(b"\n")), default=0) > MAX_LINE_BYTES:
        raise Rejected(f"a line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Rejected(f"not UTF-8 text (byte {error.start})") from None
    if "\0" in text:
        raise Rejected("not a text: it holds NUL characters")
    return unix_lines(text)


def passage_coordinate(identity: str, number: int) -> Coordinate:
    """Return where passage `number` of a document lives, the same in every run."""
    return derive_coordinate("passage", identity, str(number))


def _check_name(source: str) -> None:
    try:
        source.encode()
    except UnicodeEncodeError:
        raise Rejected("its name is not UTF-8") from None


def _from_passage(passage: Passage, source: str, identity: str, number: int, memory_type: str) -> dict[str, Any]:
    heading = {"heading": passage.heading} if passage.heading else {}
    payload = {"text": passage.text, "source": source, **heading, "line": passage.line, "passage": number}
    return {"coord": list(passage_coordinate(identity, number)), "payload": payload, "type": memory_type}


def _from_record(record: Record, source: str, number: int, memory_type: str) -> dict[str, Any]:
    origin = {} if record.is_whole else {"source": source, "line": record.line, "passage": number}
    memory = {
        "coord": list(record.coordinate or passage_coordinate(source, number)),
        "payload": origin | record.payload,
        "type": record.type or memory_type,
    }
    return memory if record.importance is None else memory | {"importance": record.importance}
