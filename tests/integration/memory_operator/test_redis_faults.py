"""The Redis provider when the server is down, full, read-only, of the wrong kind, or refuses the administrator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis_server import RedisServer
from redis_tenants import (
    Operator,
    admin,
    as_admin,
    keys,
    new_tenant,
    refusal,
    users,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.providers.redis.failures import ADMIN_RULES


async def test_an_acl_file_that_cannot_be_written_is_told(start_redis: Callable[..., RedisServer]):
    server = start_redis(acl_file=True)
    operator = Operator(server.connection)
    (server.directory / "users.acl").unlink()
    (server.directory / "users.acl").mkdir()

    with pytest.raises(Unavailable, match="save the ACLs"):
        await operator.converge(new_tenant())
    await operator.backend.close()


async def test_a_full_server_says_so(redis_server, redis_operator):
    await admin(redis_server, "CONFIG", "SET", "maxmemory", "1")

    with pytest.raises(Unavailable, match="raise it") as error:
        await redis_operator.backend.facts()
    assert error.value.reason is Reason.BACKEND_FULL


async def test_a_server_that_cannot_write_its_snapshot_keeps_the_keys_and_the_claim(
    redis_server, redis_operator, eventually
):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    await admin(redis_server, "CONFIG", "SET", "save", "3600 1")
    await admin(redis_server, "SET", f"{tenant.prefix}a", "1")
    in_the_way = redis_server.directory / "dump.rdb"
    in_the_way.mkdir()
    await eventually(lambda: snapshot_ends(redis_server, "err"))

    with pytest.raises(Unavailable, match="delete the keys") as error:
        await redis_operator.delete(tenant)
    assert error.value.reason is Reason.BACKEND_READ_ONLY
    assert redis_operator.ledger.names == {tenant.user}

    in_the_way.rmdir()
    await eventually(lambda: snapshot_ends(redis_server, "ok"))
    await redis_operator.delete(tenant)
    assert await keys(redis_server) == set()


async def snapshot_ends(server: RedisServer, status: str) -> bool:
    async with as_admin(server) as client:
        persistence = await client.info("persistence")
        if not persistence["rdb_bgsave_in_progress"] and persistence["rdb_last_bgsave_status"] != status:
            await client.bgsave()
        return bool(persistence["rdb_last_bgsave_status"] == status)


async def test_a_replica_is_not_taken_for_the_primary(redis_server, redis_operator, start_redis):
    primary = start_redis()
    await admin(redis_server, "REPLICAOF", "127.0.0.1", primary.port)

    for question in (
        redis_operator.backend.facts(),
        redis_operator.converge(new_tenant()),
        redis_operator.backend.drifted([new_tenant()], ()),
    ):
        with pytest.raises(Unavailable, match="is a replica") as error:
            await question
        assert error.value.reason is Reason.BACKEND_READ_ONLY


@pytest.mark.parametrize(
    "account", [{"password": "wrong-password"}, {"username": "nobody"}, {"username": "default", "password": "x"}]
)
async def test_a_wrong_account_of_the_administrator_is_told(redis_server, account):
    error = await refusal(replace(redis_server.connection, **account))

    assert isinstance(error, Rejected)
    assert error.reason is Reason.AUTHENTICATION_FAILED
    assert "Secret" in str(error)


async def test_an_administrator_without_the_rights_is_told_which(redis_server):
    await admin(redis_server, "ACL", "SETUSER", "weak", "on", ">weak-password", "+info", "+acl|getuser", "+ping")

    operator = Operator(replace(redis_server.connection, username="weak", password="weak-password"))

    with pytest.raises(Rejected, match=r"run the 'acl\|setuser' command.*needs the rules"):
        await operator.converge(new_tenant())
    await operator.backend.close()
    assert await users(redis_server) == {"weak"}


async def test_an_administrator_with_just_the_rights_that_the_error_names_can_do_everything(redis_server):
    await admin(redis_server, "ACL", "SETUSER", "enough", "on", ">enough-password", *ADMIN_RULES.split())
    operator = Operator(replace(redis_server.connection, username="enough", password="enough-password"))
    tenant = new_tenant()

    assert await operator.converge(tenant)
    assert await operator.backend.drifted([tenant], operator.ledger.names) == set()
    assert await operator.backend.facts()
    await admin(redis_server, "SET", f"{tenant.prefix}a", "1")
    await operator.delete(tenant)

    assert await keys(redis_server) == set()
    assert await users(redis_server) == {"enough"}
    await operator.backend.close()


async def test_an_unknown_host_is_told():
    error = await refusal(RedisConnection("no-such-host.invalid", 6379, "admin", "password-of-admin"))

    assert isinstance(error, Unavailable)
    assert "no-such-host.invalid" in str(error)


async def test_a_host_that_takes_connections_and_never_answers_is_given_up():
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(RedisConnection("127.0.0.1", port, "admin", "a-password", command_timeout=0.2))

    assert isinstance(error, Unavailable)
    assert "in time" in str(error)


async def test_something_else_on_the_port_is_told():
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(RedisConnection("127.0.0.1", port, "admin", "a-password"))

    assert isinstance(error, Rejected)
    assert "protocol of Redis" in str(error)


async def test_a_server_that_was_down_is_used_again_when_it_is_back(redis_server, redis_operator):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    redis_server.kill()

    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot be reached"):
            await redis_operator.converge(tenant)
    with pytest.raises(Unavailable):
        await redis_operator.backend.drifted([tenant], redis_operator.ledger.names)

    redis_server.start()
    assert await redis_operator.converge(tenant)
    assert await redis_operator.converge(tenant) == []
