"""Does a live object hold what its manifest says? Pure; what the server and others added does not count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from memory_contracts.api.scalars import parse_quantity

_SERVER_SIDE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
# What the items of a list are merged by, where they have it.
MERGE_KEYS = ("uid", "name")
EMPTY: tuple[Any, ...] = ({}, [], None)  # the server drops it
# Where a number is meant, however it is written; elsewhere, as in a ConfigMap, 1.0 and 1 are not the same.
_QUANTITIES = re.compile(r"\]\.resources\.(?:limits|requests)\.[^\]]+$")
# Texts that the server drops when they are empty; in a map of texts, as labels are, it keeps such a one.
_OPTIONAL_TEXTS = re.compile(r"\.tolerations\[\d+\]\.(?:key|operator|value|effect)$")


def content_digest(live: Mapping[str, Any]) -> str:
    """Return a hash of what somebody may have written; status and bookkeeping of the server do not move it."""
    metadata = {key: value for key, value in live.get("metadata", {}).items() if key not in _SERVER_SIDE}
    content = {key: value for key, value in live.items() if key not in ("status", "metadata")} | {"metadata": metadata}
    return manifest_digest(content)


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Return a hash of a manifest."""
    return hashlib.blake2b(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS), digest_size=12).hexdigest()


def differences(desired: Any, live: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each field of `desired` that `live` does not hold.

    Lists of named items are compared by name, as the API server merges them; others item by item.
    """
    if isinstance(desired, Mapping):
        yield from _mapping_differences(desired, live, path)
    elif isinstance(desired, list):
        yield from _list_differences(desired, live, path)
    elif not _same(desired, live, path):
        yield path


def _mapping_differences(desired: Mapping[str, Any], live: Any, path: str) -> Iterator[str]:
    if not isinstance(live, Mapping):
        if desired or live is not None:
            yield path
        return
    for key, value in desired.items():
        where = f"{path}.{key}" if path else key
        if key in live:
            yield from differences(value, live[key], where)
        elif not _is_dropped(value, where):
            yield where


def _is_dropped(value: Any, path: str) -> bool:
    """Return whether the server does not keep the value, since it is empty."""
    return value in EMPTY or (value == "" and bool(_OPTIONAL_TEXTS.search(path)))


def _list_differences(desired: Sequence[Any], live: Any, path: str) -> Iterator[str]:
    if not isinstance(live, list):
        if desired or live is not None:
            yield path
    elif key := _merge_key(desired):
        yield from _item_differences(desired, live, path, key)
    elif len(desired) != len(live):
        yield path
    else:
        for index, (ours, theirs) in enumerate(zip(desired, live, strict=True)):
            yield from differences(ours, theirs, f"{path}[{index}]")


def _merge_key(items: Sequence[Any]) -> str | None:
    """Return what the items are told apart by; None when they have only their place."""
    for key in MERGE_KEYS:
        if items and all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None


def _item_differences(desired: Sequence[Any], live: Sequence[Any], path: str, key: str) -> Iterator[str]:
    found = {item.get(key): item for item in live if isinstance(item, Mapping)}
    for item in desired:
        where = f"{path}[{item[key]}]"
        if item[key] in found:
            yield from differences(item, found[item[key]], where)
        else:
            yield where


def _same(desired: Any, live: Any, path: str) -> bool:
    if desired == live:
        return True
    if not _QUANTITIES.search(path):
        return False
    try:  # the server writes 1000m back as 1
        return parse_quantity(desired) == parse_quantity(live)
    except ValueError:
        return False
