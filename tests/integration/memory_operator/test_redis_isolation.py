"""What a tenant may do in Redis, and what it tries in vain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import exceptions
from redis.asyncio import Redis
from redis_server import RedisServer
from redis_tenants import (
    BACKEND,
    Operator,
    admin,
    as_tenant,
    keys,
    logged_in,
    new_tenant,
)
from tenants import CREDENTIALS, tenant

from memory_operator.shares import RedisShare

LIMITER = """
local used = redis.call('incr', KEYS[1])
if used == 1 then redis.call('pexpire', KEYS[1], ARGV[1]) end
return used
"""


async def test_a_tenant_caches_limits_locks_and_listens_without_one_refusal(redis_server, redis_operator):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    own = tenant.prefix

    async with as_tenant(redis_server, tenant) as client:
        await client.set(f"{own}answer", "42", ex=60)
        assert await client.get(f"{own}answer") == "42"
        assert await client.register_script(LIMITER)(keys=[f"{own}limit"], args=[1000]) == 1
        assert 0 < await client.pttl(f"{own}limit") <= 1000
        async with client.lock(f"{own}lock", timeout=10):
            assert not await client.lock(f"{own}lock", timeout=10, blocking=False).acquire()
        async with client.pipeline(transaction=True) as transaction:
            assert await transaction.hset(f"{own}hash", "a", "1").hgetall(f"{own}hash").execute() == [1, {"a": "1"}]
        async with client.pubsub() as listener:
            await listener.subscribe(f"{own}news")
            await listener.psubscribe(f"{own}*")
            assert await client.publish(f"{own}news", "hello") == 2

    assert await admin(redis_server, "ACL", "LOG") == []


async def test_a_read_only_tenant_reads_and_listens_but_changes_nothing(redis_server, redis_operator):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    async with as_tenant(redis_server, tenant) as client:
        await client.set(f"{tenant.prefix}kept", "1")

        assert await redis_operator.converge(replace(tenant, read_only=True))

        assert await client.get(f"{tenant.prefix}kept") == "1"
        for write in (
            client.set(f"{tenant.prefix}kept", "2"),
            client.delete(f"{tenant.prefix}kept"),
            client.eval("return redis.call('del', KEYS[1])", 1, f"{tenant.prefix}kept"),
            client.publish(f"{tenant.prefix}news", "x"),
        ):
            with pytest.raises(exceptions.NoPermissionError):
                await write
    assert await keys(redis_server) == {f"{tenant.prefix}kept"}
    assert await redis_operator.converge(replace(tenant, read_only=True)) == []


@pytest.mark.parametrize(
    ("state", "may", "says"),
    [
        ("Active", {"read", "write"}, "may use keys"),
        ("ReadOnly", {"read"}, "may read keys"),
        ("Fenced", set(), "may do nothing"),
        ("Hibernated", {"read", "write"}, "may use keys"),
    ],
)
async def test_the_state_of_a_namespace_is_what_its_user_may_do(redis_server, redis_operator, state, may, says):
    share = share_of("Active", redis_operator)
    await share.converge(correct=True)
    async with as_tenant(redis_server, share.desired) as client:
        key = f"{share.desired.prefix}kept"
        await client.set(key, "1")

        await (there := share_of(state, redis_operator)).converge(correct=True)

        assert await allowed(client, key) == may
        assert says in there.provisioned
        assert await there.converge(correct=True) == []
        await share.converge(correct=True)
        assert await allowed(client, key) == {"read", "write"}


def share_of(state: str, operator: Operator) -> RedisShare:
    credentials = replace(CREDENTIALS, redis_password="the-password-of-the-cache")
    return RedisShare(operator.backend, tenant(credentials, state=state), operator.ledger, BACKEND, frozenset())


async def allowed(client: Redis, key: str) -> set[str]:
    """What a connection that is open may do now."""
    found = set()
    for name, work in {"read": lambda: client.get(key), "write": lambda: client.set(key, "2")}.items():
        with contextlib.suppress(exceptions.NoPermissionError):
            await work()
            found.add(name)
    return found


async def test_a_fenced_tenant_can_do_nothing_on_a_connection_that_was_open(redis_server, redis_operator):
    tenant = new_tenant()
    fenced = replace(tenant, enabled=False)
    await redis_operator.converge(tenant)
    async with as_tenant(redis_server, tenant) as client:
        await client.set(f"{tenant.prefix}kept", "1")

        await redis_operator.converge(fenced)

        with pytest.raises(exceptions.NoPermissionError):
            await client.get(f"{tenant.prefix}kept")
    async with as_tenant(redis_server, tenant) as client:
        with pytest.raises(exceptions.AuthenticationError):
            await client.ping()
    assert await redis_operator.converge(fenced) == []
    assert await redis_operator.converge(tenant)
    async with as_tenant(redis_server, tenant) as client:
        assert await client.get(f"{tenant.prefix}kept") == "1"


# What a tenant tries against another; THEIRS is the other's prefix, MINE its own.
ATTACKS = """
    GET THEIRSsecret
    SET THEIRSsecret stolen
    DEL THEIRSsecret
    UNLINK THEIRSsecret
    EXISTS THEIRSsecret
    TYPE THEIRSsecret
    TTL THEIRSsecret
    EXPIRE THEIRSsecret 0
    MGET MINEa THEIRSsecret
    MSET MINEa 1 THEIRSsecret stolen
    RENAME THEIRSsecret MINEa
    RENAME MINEa THEIRSsecret
    COPY THEIRSsecret MINEa
    WATCH THEIRSsecret
    EVAL return(redis.call('get',KEYS[1])) 1 THEIRSsecret
    EVAL return(redis.call('get','THEIRSsecret')) 0
    EVAL return(redis.call('keys','*')) 0
    EVAL_RO return(redis.call('get','THEIRSsecret')) 0
    EVAL return(redis.call('publish','THEIRSnews','x')) 0
    SORT MINEa BY nosort GET THEIRSsecret
    SCAN 0
    SCAN 0 MATCH MINE*
    KEYS *
    RANDOMKEY
    DBSIZE
    OBJECT ENCODING THEIRSsecret
    MEMORY USAGE THEIRSsecret
    DUMP THEIRSsecret
    RESTORE THEIRSsecret 0 x
    MIGRATE 127.0.0.1 1 THEIRSsecret 0 1
    MOVE THEIRSsecret 1
    SELECT 1
    SWAPDB 0 1
    FLUSHDB
    FLUSHALL
    PUBLISH THEIRSnews x
    SPUBLISH THEIRSnews x
    SUBSCRIBE THEIRSnews
    SSUBSCRIBE THEIRSnews
    PSUBSCRIBE *
    PSUBSCRIBE MINE?
    SUBSCRIBE __keyspace@0__:THEIRSsecret
    PUBSUB CHANNELS
    CLIENT TRACKING on BCAST
    CLIENT LIST
    CLIENT KILL TYPE normal
    CLIENT PAUSE 1000
    MONITOR
    SLOWLOG GET
    LATENCY LATEST
    INFO
    COMMAND
    CONFIG GET *
    CONFIG SET maxmemory 1
    ACL LIST
    ACL GETUSER admin
    ACL SETUSER MYSELF allkeys
    ACL SETUSER friend on nopass allkeys +@all
    ACL DELUSER admin
    SCRIPT FLUSH
    SCRIPT KILL
    FUNCTION LIST
    FUNCTION FLUSH
    FCALL x 0
    SAVE
    BGREWRITEAOF
    REPLICAOF 127.0.0.1 1
    MODULE LIST
    SHUTDOWN NOSAVE
    BLPOP MINElist 0
    WAIT 1 1000
"""


@pytest.fixture(scope="module")
def attacked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all attacks, as long as each leaves it as it was."""
    with RedisServer(tmp_path_factory.mktemp("attacked")) as server:
        yield server


@pytest.mark.parametrize("attack", [line.strip() for line in ATTACKS.strip().splitlines()])
async def test_a_tenant_reaches_nothing_of_another_nor_of_the_server(attacked_server, attack):
    mine, theirs = new_tenant("mine", uid="1"), new_tenant("theirs", uid="2")
    operator = Operator(attacked_server.connection)
    await operator.converge(mine)
    await operator.converge(theirs)
    await operator.backend.close()
    await admin(attacked_server, "SET", f"{theirs.prefix}secret", "precious")
    before = await admin(attacked_server, "ACL", "LIST")

    words = attack.replace("MINE", mine.prefix).replace("THEIRS", theirs.prefix).replace("MYSELF", mine.user)
    async with as_tenant(attacked_server, mine) as client:
        with pytest.raises(exceptions.ResponseError) as refusal:
            await client.execute_command(*words.split())

    # A script's own refusal arrives as an error of the script.
    assert isinstance(refusal.value, exceptions.NoPermissionError) or "ACL failure in script" in str(refusal.value)
    assert await keys(attacked_server) == {f"{theirs.prefix}secret"}
    assert await admin(attacked_server, "GET", f"{theirs.prefix}secret") == "precious"
    assert await admin(attacked_server, "PTTL", f"{theirs.prefix}secret") == -1
    assert await admin(attacked_server, "ACL", "LIST") == before


async def test_a_tenant_cannot_log_in_as_another(redis_server, redis_operator):
    mine, theirs = new_tenant("mine"), new_tenant("theirs")
    await redis_operator.converge(mine)
    await redis_operator.converge(theirs)

    for user, password in ((theirs.user, mine.password), ("admin", mine.password), ("default", ""), (mine.user, "")):
        async with logged_in(redis_server, user, password) as client:
            with pytest.raises(exceptions.AuthenticationError):
                await client.ping()
