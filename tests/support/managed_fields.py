"""What an API server remembers of who applied an object of the operator (``managedFields[].fieldsV1``)."""

from __future__ import annotations

import json
from typing import Any

# Whoever writes to one of these owns all of it.
ATOMIC = (
    *("selector", "labelSelector", "podSelector", "nodeSelector", "configMapKeyRef", "secretKeyRef"),
    *("command", "drop", "egress", "ingress", "items", "metrics", "policies", "policyTypes", "tolerations"),
)
IDENTITY = ("apiVersion", "kind")
NAMING = ("name", "namespace", "uid")
MERGE_KEYS = (
    *({"uid"}, {"mountPath"}, {"containerPort", "protocol"}, {"port", "protocol"}),
    *({"topologyKey", "whenUnsatisfiable"}, {"name"}),
)


def fields_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what one manager owns that has applied the whole of `manifest`."""
    content = {key: value for key, value in manifest.items() if key not in IDENTITY}
    content["metadata"] = {key: value for key, value in manifest["metadata"].items() if key not in NAMING}
    return _fields(content)


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"f:{key}": {} if key in ATOMIC else _fields(each) for key, each in value.items()}
    if isinstance(value, list) and (keys := _keys_of(value)):
        return {_key_of(item, keys): {".": {}} | _fields(item) for item in value}
    return {}


def _keys_of(items: list[Any]) -> set[str]:
    each = [item for item in items if isinstance(item, dict)]
    return next((keys for keys in MERGE_KEYS if each and all(keys <= item.keys() for item in each)), set())


def _key_of(item: dict[str, Any], keys: set[str]) -> str:
    return f"k:{json.dumps({key: item[key] for key in sorted(keys)}, separators=(',', ':'))}"
