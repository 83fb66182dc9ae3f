"""Does a live object hold what its manifest says? Pure; what the server and others added does not count."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from memory_contracts.api.scalars import parse_quantity

_SERVER_SIDE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
# What the items of a list are merged by, where they have it.
_MERGE_KEYS = ("uid", "name")
_EMPTY: tuple[Any, ...] = ({}, [], None)  # the server drops it
# What the server adds to what has one owner as a whole.
_DEFAULTS = {"protocol": "TCP", "apiVersion": "v1", "divisor": "0"}
# What it keeps no owner of.
_IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.uid")
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


def leftovers(desired: Any, owned: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each field that was applied before and that `desired` has no longer.

    `owned` is what the server remembers of the former apply (``managedFields[].fieldsV1``): the next one removes it.
    """
    for name, inner in owned.items():
        kind, _, what = name.partition(":")
        if kind == "f" and isinstance(desired, Mapping):
            where = f"{path}.{what}" if path else what
            yield from leftovers(desired[what], inner, where) if what in desired else [where]
        elif kind == "k" and isinstance(desired, list):
            keys = json.loads(what)
            where, item = f"{path}[{'/'.join(map(str, keys.values()))}]", _item_with(keys, desired)
            yield from leftovers(item, inner, where) if item is not None else [where]


def takeovers(desired: Any, owned: Mapping[str, Any], live: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each field that we do not own any more, or that we own as a whole and that holds more.

    Whoever writes to a selector, to a rule, to a list without keys takes over all of it, and may leave every value of
    `desired` where it was. What we ourselves want less of there is still in `live`, too.
    """
    if isinstance(desired, Mapping):
        for key, value in desired.items():
            where = f"{path}.{key}" if path else key
            if where not in _IDENTITY and value not in _EMPTY:
                yield from _takeover(value, owned.get(f"f:{key}"), _part(live, key), where)
    elif isinstance(desired, list):
        for index, item in enumerate(desired):
            inner, found = _owned_item(item, owned, live)
            yield from _takeover(item, inner, found, f"{path}[{_called(item, index)}]")


def _takeover(value: Any, owned: Mapping[str, Any] | None, live: Any, path: str) -> Iterator[str]:
    whole = owned is not None and not owned.keys() - {"."}
    if owned is None or (whole and _holds_more(live, value)):
        yield path
    elif not whole:
        yield from takeovers(value, owned, live, path)


def _holds_more(live: Any, desired: Any) -> bool:
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        added = {key: value for key, value in live.items() if key not in desired and value not in _EMPTY}
        return any(_DEFAULTS.get(key) != value for key, value in added.items()) or any(
            _holds_more(live[key], value) for key, value in desired.items() if key in live
        )
    both = isinstance(live, list) and isinstance(desired, list)
    return both and any(_holds_more(*pair) for pair in zip(live, desired, strict=False))


def _part(live: Any, key: str) -> Any:
    return live.get(key) if isinstance(live, Mapping) else None


def _owned_item(item: Any, owned: Mapping[str, Any], live: Any) -> tuple[Mapping[str, Any] | None, Any]:
    """Return what is owned of an item, and it itself; the server knows it by its keys (k:) or by its value (v:)."""
    for name, inner in owned.items():
        kind, _, what = name.partition(":")
        if kind == "k" and _item_with(keys := json.loads(what), [item]):
            return inner, _item_with(keys, live if isinstance(live, list) else ())
        if kind == "v" and json.loads(what) == item:
            return inner, item
    return None, None


def _called(item: Any, index: int) -> Any:
    return next((item[key] for key in _MERGE_KEYS if key in item), index) if isinstance(item, Mapping) else index


def _item_with(keys: Mapping[str, Any], items: Sequence[Any]) -> Any:
    """Return the item that the server knows by these keys; one that the item does not give has its default."""
    matching = (each for each in items if all(each.get(key, value) == value for key, value in keys.items()))
    return next(matching, None)


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
    return value in _EMPTY or (value == "" and bool(_OPTIONAL_TEXTS.search(path)))


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
    for key in _MERGE_KEYS:
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
