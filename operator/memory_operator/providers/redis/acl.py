"""What a tenant's user may do, in the rules that ``ACL SETUSER`` takes and ``ACL LIST`` prints. Pure.

Commands are allowed one by one, not by category. A category is what the server's version says it is: ``@read`` holds
KEYS and SCAN, which print other tenants' key names; ``@write`` holds FLUSHALL and SWAPDB; ``@scripting`` holds SCRIPT
FLUSH and FUNCTION DELETE, which take from everybody; a module adds commands that know no keys at all. The worst that a
list can do is lack something.

Left out on purpose, beside what administers a server:

- SCAN, KEYS, RANDOMKEY, DBSIZE, PUBSUB, MONITOR, SLOWLOG, CLIENT LIST: show what others store or do, or how much.
- CLIENT TRACKING: with BCAST it reports the names of all keys that change, whatever the key patterns say.
- SELECT, MOVE, COPY, SWAPDB: key patterns hold in every database, but a deletion looks into the first one only.
- SORT, OBJECT, MEMORY, DUMP, RESTORE, MIGRATE: read keys by pattern, or serve no cache.
- FUNCTION, FCALL, SCRIPT FLUSH, SCRIPT KILL: functions and the script cache belong to the whole server.
- Blocking commands (BLPOP, WAIT …): a cache, a limiter and a lock do not wait in the server.

AUTH, HELLO, RESET and QUIT need no permission. Redis limits neither memory nor time by user: a script that runs long
stops everybody, which only a server for each tenant would prevent.
"""

from __future__ import annotations

import hashlib

# The first that prints the rules as they were given; before, commands came back as categories and exceptions from them.
# Every command below exists in it. Valkey says it is 7.2.4.
OLDEST_VERSION = (7, 2)

_READ = """
    get mget strlen getrange getbit bitcount exists type touch ttl pttl expiretime pexpiretime
    hget hmget hgetall hexists hkeys hvals hlen hstrlen hscan
    lrange lindex llen lpos
    smembers sismember smismember scard sscan
    zrange zrangebyscore zrevrange zrevrangebyscore zscore zmscore zrank zrevrank zcard zcount zscan
    eval_ro evalsha_ro script|load script|exists
    multi exec discard watch unwatch
    subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe
    ping echo time client|id client|getname client|setname client|setinfo
"""
_WRITE = """
    set mset setnx msetnx setex psetex getset getdel getex append setrange setbit
    incr incrby incrbyfloat decr decrby
    del unlink rename renamenx expire pexpire expireat pexpireat persist
    hset hsetnx hdel hincrby hincrbyfloat
    lpush lpushx rpush rpushx lpop rpop lset lrem ltrim linsert
    sadd srem spop
    zadd zincrby zrem zpopmin zpopmax zremrangebyrank zremrangebyscore
    pfadd pfcount
    eval evalsha
    publish spublish
"""
_MAY_READ = tuple(f"+{command}" for command in _READ.split())
_MAY_WRITE = tuple(f"+{command}" for command in _WRITE.split())

# Printed by Redis for each user that was reset, never by Valkey.
_SAYS_NOTHING = frozenset({"sanitize-payload"})


def owner_mark(prefix: str, uid: str) -> str:
    """Return the rule that says whose the user is.

    An ACL user has no place for a comment. So it is a key pattern; it lies within those that the user has, so it grants
    nothing.
    """
    return f"%R~{prefix}owner:{uid}"


def full_rules(prefix: str, uid: str, password: str) -> tuple[str, ...]:
    """Return the rules of a user who reads and writes."""
    return ("on", hashed(password), f"~{prefix}*", *_common(prefix, uid), *_MAY_READ, *_MAY_WRITE)


def read_only_rules(prefix: str, uid: str, password: str) -> tuple[str, ...]:
    """Return the rules of a user who reads keys and listens to channels."""
    return ("on", hashed(password), f"%R~{prefix}*", *_common(prefix, uid), *_MAY_READ)


def disabled_rules(prefix: str, uid: str) -> tuple[str, ...]:
    """Return the rules of a user who can do nothing.

    ``off`` alone refuses only the next login; a connection that is open goes on with whatever commands are allowed.
    """
    return ("off", owner_mark(prefix, uid), "resetchannels", "-@all")


def _common(prefix: str, uid: str) -> tuple[str, ...]:
    return (owner_mark(prefix, uid), "resetchannels", f"&{prefix}*", "-@all")


def hashed(password: str) -> str:
    """Return the rule that gives a user this password, without showing it."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def parse_line(line: str) -> tuple[str, frozenset[str]]:
    """Return name and rules of one line of ``ACL LIST``.

    As a set, because a command that is taken away and given back moves to the end. That loses nothing against the rules
    above: they hold one ``-@all``, which the server always puts first, and after it single commands, in any order. Any
    other rule (a category, a selector in parentheses, ``nopass``) is a word that those sets do not hold.
    """
    _, name, *rules = line.split()
    return name, frozenset(rules) - _SAYS_NOTHING


def parse_user(fields: list[object]) -> frozenset[str]:
    """Return the rules in the answer of ``ACL GETUSER`` (names and values in turns), the same as in its line."""
    user = dict(zip(fields[::2], fields[1::2], strict=True))
    channels = str(user["channels"]).split()
    rules = [
        *map(str, _list(user["flags"])),
        *(f"#{each}" for each in _list(user["passwords"])),
        *str(user["keys"]).split(),
        *([] if "&*" in channels else ["resetchannels"]),
        *channels,
        *str(user["commands"]).split(),
        *(f"({each})" for each in _list(user.get("selectors", []))),
        *str(user.get("databases", "")).split(),
    ]
    return frozenset(rules) - _SAYS_NOTHING - {"alldbs"}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
