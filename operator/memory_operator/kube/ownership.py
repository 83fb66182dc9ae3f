"""What the server remembers of who wrote which field of a live object (``managedFields[].fieldsV1``). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memory_operator.kube.compare import EMPTY, MERGE_KEYS

# What the server adds to what has one owner as a whole.
_DEFAULTS = {"protocol": "TCP", "apiVersion": "v1", "divisor": "0"}
# What it keeps no owner of.
_IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.uid")


def leftovers(desired: Any, owned: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each field that was applied before and that `desired` has no longer.

    `owned` is what the server remembers of the former apply: the next one removes it.
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
            if where not in _IDENTITY and value not in EMPTY:
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
        added = {key: value for key, value in live.items() if key not in desired and value not in EMPTY}
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
    return next((item[key] for key in MERGE_KEYS if key in item), index) if isinstance(item, Mapping) else index


def _item_with(keys: Mapping[str, Any], items: Sequence[Any]) -> Any:
    """Return the item that the server knows by these keys; one that the item does not give has its default."""
    matching = (each for each in items if all(each.get(key, value) == value for key, value in keys.items()))
    return next(matching, None)
