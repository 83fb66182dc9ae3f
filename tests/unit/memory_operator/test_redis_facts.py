"""Which Redis servers are taken, and what their errors mean."""

import ssl

import pytest
from redis import exceptions

from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError, Rejected, Unavailable
from memory_operator.providers.redis.facts import check_room, check_server, features, version_name
from memory_operator.providers.redis.failures import meaning

INFO = {"redis_version": "7.2.4", "redis_mode": "standalone", "role": "master"}


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (INFO, "Redis 7.2.4"),
        (INFO | {"redis_version": "10.1.0-rc1"}, "Redis 10.1.0-rc1"),
        (INFO | {"valkey_version": "9.1.2", "server_mode": "standalone"}, "Valkey 9.1.2"),
    ],
)
def test_single_servers_of_supported_versions_are_taken(info, name):
    check_server(info, "Redis at x")
    assert version_name(info) == name


@pytest.mark.parametrize(
    ("difference", "kind", "words"),
    [
        ({"redis_version": "7.0.15"}, Rejected, "7.2 or newer"),
        ({"redis_mode": "cluster"}, Rejected, "cluster mode"),
        ({"server_mode": "cluster"}, Rejected, "cluster mode"),
        ({"redis_mode": "sentinel"}, Rejected, "sentinel mode"),
        ({"role": "slave"}, Unavailable, "primary's address"),
    ],
)
def test_other_servers_are_refused_with_what_to_do(difference, kind, words):
    with pytest.raises(kind, match=words):
        check_server(INFO | difference, "Redis at x")


@pytest.mark.parametrize("used", [100, 200])
def test_a_server_that_can_neither_grow_nor_evict_is_full(used):
    with pytest.raises(Unavailable, match="maxmemory") as error:
        check_room(INFO | {"maxmemory_policy": "noeviction", "used_memory": used, "maxmemory": 100}, "Redis at x")
    assert error.value.reason is Reason.BACKEND_FULL


@pytest.mark.parametrize(("policy", "limit"), [("noeviction", 201), ("noeviction", 0), ("allkeys-lru", 100)])
def test_a_server_that_can_grow_or_evict_has_room(policy, limit):
    check_room(INFO | {"maxmemory_policy": policy, "used_memory": 200, "maxmemory": limit}, "Redis at x")


@pytest.mark.parametrize(
    ("info", "acl_file", "default_user", "expected"),
    [
        (INFO, False, {"off"}, ()),
        (INFO | {"aof_enabled": 1}, True, {"on"}, ("acl-file", "append-only-file")),
        (INFO | {"maxmemory_policy": "allkeys-lru"}, False, {"off", "nopass"}, ("maxmemory-policy=allkeys-lru",)),
        (INFO, False, {"on", "nopass", "~*"}, ("open-default-user",)),
    ],
)
def test_the_features_are_what_a_tenant_depends_on(info, acl_file, default_user, expected):
    assert features(info, acl_file, frozenset(default_user)) == expected


@pytest.mark.parametrize(
    ("error", "kind", "reason", "words"),
    [
        (exceptions.AuthenticationError("WRONGPASS"), Rejected, Reason.AUTHENTICATION_FAILED, "in the Secret"),
        (exceptions.NoPermissionError("no 'acl|list'"), Rejected, None, r"acl\|list.*needs the rules.*\+acl\|setuser"),
        (exceptions.OutOfMemoryError("no memory"), Unavailable, Reason.BACKEND_FULL, "no memory"),
        (exceptions.ReadOnlyError("a replica"), Unavailable, Reason.BACKEND_READ_ONLY, "a replica"),
        (exceptions.ResponseError("MISCONF no disk"), Unavailable, Reason.BACKEND_READ_ONLY, "no disk"),
        (exceptions.ResponseError("BUSY running a script"), Unavailable, None, "script"),
        (exceptions.ResponseError("There was an error trying to save the ACLs."), Unavailable, None, "save"),
        (exceptions.BusyLoadingError("LOADING"), Unavailable, None, "still loading"),
        (exceptions.TimeoutError("slow"), Unavailable, None, "in time"),
        (exceptions.ConnectionError("refused"), Unavailable, None, "cannot be reached: refused"),
        (exceptions.InvalidResponse("HTTP/1.1"), Rejected, None, "wants TLS"),
        (exceptions.ResponseError("unknown command"), Rejected, None, "unknown command"),
    ],
)
def test_each_answer_of_the_server_has_a_meaning(error, kind, reason, words):
    told = meaning(error, "Redis at db:6379", "set user x")

    assert type(told) is kind
    assert told.reason is reason
    with pytest.raises(PlatformError, match=words):
        raise told
    assert "db:6379" in str(told)


@pytest.mark.parametrize("cause", [ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), ssl.SSLCertVerificationError()])
def test_trouble_with_tls_is_told_from_a_server_that_is_down(cause):
    error = exceptions.ConnectionError("wrapped")
    error.__context__ = cause

    told = meaning(error, "Redis at db:6379", "facts")

    assert isinstance(told, Unavailable)
    assert told.reason is Reason.TLS_FAILED
