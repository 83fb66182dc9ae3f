"""What the answer to INFO means: whether tenants can live on the server, what it offers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_operator.providers.redis.acl import OLDEST_VERSION


def check_server(info: Mapping[str, Any], where: str) -> None:
    """Raise `Rejected` or `Unavailable` for a server that tenants cannot live on."""
    major, minor = str(info["redis_version"]).split(".")[:2]
    if (int(major), int(minor)) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise Rejected(f"{where} is version {major}.{minor}; tenants need Redis {oldest} or newer, or Valkey")
    if (mode := info.get("server_mode") or info.get("redis_mode")) != "standalone":
        raise Rejected(f"{where} runs in {mode} mode, where each node has users of its own; give a single server")
    if info.get("role") == "slave":
        detail = f"{where} is a replica, and what is done to its users never reaches the primary"
        raise Unavailable(f"{detail}; give the primary's address", reason=Reason.BACKEND_READ_ONLY)


def check_room(info: Mapping[str, Any], where: str) -> None:
    """Raise `Unavailable` where the next write would be refused for lack of memory."""
    limit = info.get("maxmemory", 0)
    if info.get("maxmemory_policy") == "noeviction" and 0 < limit <= info.get("used_memory", 0):
        detail = f"{where} uses all of its maxmemory, {limit} bytes, and with the policy noeviction refuses writes"
        raise Unavailable(f"{detail}; raise it, or choose allkeys-lru", reason=Reason.BACKEND_FULL)


def version_name(info: Mapping[str, Any]) -> str:
    """Return the product and its own version."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"


def features(info: Mapping[str, Any], acl_file: bool, default_user: frozenset[str]) -> tuple[str, ...]:
    """Return what is worth knowing about the server; `default_user` are the rules of that user.

    ``acl-file``: users survive a restart. ``append-only-file``: so do keys. ``open-default-user`` is a warning: whoever
    reaches the server can log in without a password, and may do what that user may.
    """
    known = {
        "acl-file": acl_file,
        "append-only-file": bool(info.get("aof_enabled")),
        f"maxmemory-policy={info.get('maxmemory_policy')}": "maxmemory_policy" in info,
        "open-default-user": default_user >= {"on", "nopass"},
    }
    return tuple(name for name, present in known.items() if present)
