"""Stores documents in bulk, and takes away what an earlier, longer version of a document left behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from memory_contracts.errors import NotFound, Rejected
from memory_contracts.identifiers import Coordinate
from memory_runtime.cli.documents import Document, passage_coordinate
from memory_runtime.cli.encoding import encode

MAX_ITEMS = 500
MAX_BYTES = 2 * 2**20
_ITEM_NUMBER = re.compile(r"\bitems\W{1,2}(\d+)")


class Service(Protocol):
    """What storing documents needs of the client."""

    def store_bulk(self, memories: list[dict[str, Any]], /) -> dict[str, Any]:
        """Store all or none."""
        ...

    def get(self, coordinate: Coordinate, /) -> dict[str, Any]:
        """Return a memory, or raise `NotFound`."""
        ...

    def forget(self, coordinate: Coordinate, /) -> dict[str, Any]:
        """Delete a memory, or raise `NotFound`."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One memory of a document on its way, and its number of bytes as JSON."""

    document: Document
    number: int
    size: int

    @property
    def memory(self) -> dict[str, Any]:
        """What is stored."""
        return self.document.memories[self.number]

    @property
    def is_last(self) -> bool:
        """Tell whether its document is complete with it."""
        return self.number == len(self.document.memories) - 1


@dataclass(slots=True)
class Summary:
    """What happened: passages stored, stale passages deleted, and why which file failed."""

    files: int = 0
    passages: int = 0
    removed: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Ingest:
    """One run over many documents; `advanced` is told how many bytes of the files are done."""

    def __init__(self, service: Service, summary: Summary, advanced: Callable[[float], None]) -> None:
        self._service = service
        self._summary = summary
        self._advanced = advanced

    def run(self, documents: Iterable[Document]) -> None:
        """Store `documents`, several in a request where they fit."""
        for batch in batches(self._entries(documents)):
            for entry in self._store(batch):
                self._summary.passages += 1
                if entry.is_last:
                    self._settle(entry.document)
            for entry in batch:
                self._advanced(entry.document.size / len(entry.document.memories))

    def _entries(self, documents: Iterable[Document]) -> Iterator[Entry]:
        for document in documents:
            if not document.memories:
                self._settle(document)
                self._advanced(document.size)
            for number, memory in enumerate(document.memories):
                yield Entry(document, number, len(encode(memory)))

    def _store(self, batch: list[Entry]) -> list[Entry]:
        """Store a batch and return what was stored: all but the documents the service rejects."""
        left = self._accepted(batch)
        while left:
            try:
                self._service.store_bulk([entry.memory for entry in left])
                break
            except Rejected as error:
                self._reject(left, error)
                left = self._accepted(left)
        return left

    def _accepted(self, entries: list[Entry]) -> list[Entry]:
        return [entry for entry in entries if entry.document.source not in self._summary.failed]

    def _reject(self, entries: list[Entry], error: Rejected) -> None:
        """Give up the document of the memory the error names, or all of them when it names none."""
        named = _ITEM_NUMBER.search(error.field or "")
        guilty = [entries[int(named[1])]] if named and int(named[1]) < len(entries) else entries
        for entry in guilty:
            where = f"passage {entry.number}: " if named else ""
            self._summary.failed.setdefault(entry.document.source, where + error.detail)

    def _settle(self, document: Document) -> None:
        self._summary.files += 1
        if document.may_have_tail:
            self._summary.removed += remove_tail(self._service, document.identity, len(document.memories))


def batches(entries: Iterable[Entry], max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> Iterator[list[Entry]]:
    """Yield lists of entries that fit into one request each; an entry too big for any goes alone."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == max_items or size + entry.size + 1 > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size + 1
    if batch:
        yield batch


def remove_tail(service: Service, identity: str, length: int) -> int:
    """Delete the passages from number `length` on, and return how many there were.

    Looks for the end first and deletes from there backwards: an interrupted run leaves no gap that would hide the rest
    from the next one.
    """
    end = length
    while _exists(service, passage_coordinate(identity, end)):
        end += 1
    for number in range(end - 1, length - 1, -1):
        _forget(service, passage_coordinate(identity, number))
    return end - length


def _exists(service: Service, coordinate: Coordinate) -> bool:
    try:
        service.get(coordinate)
    except NotFound:
        return False
    return True


def _forget(service: Service, coordinate: Coordinate) -> None:
    try:
        service.forget(coordinate)
    except NotFound:
        return
