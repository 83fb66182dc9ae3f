"""Observes and applies in Redis; with ``failures.py`` the only module of the operator that knows the driver."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from memory_operator.providers.redis.acl import parse_line, parse_user
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.providers.redis.facts import check_room, check_server, features, version_name
from memory_operator.providers.redis.failures import NO_ACL_FILE, translated
from memory_operator.providers.redis.plan import (
    DeleteKeys,
    DeleteUser,
    DesiredUser,
    ObservedUser,
    SetUser,
    Step,
    drifted_tenants,
)
from memory_operator.providers.shapes import BackendFacts, Claim, Ledger, Permit, Release, everything

Command: TypeAlias = tuple[str, ...]

POOL_SIZE = 4
SCAN_COUNT = 1000  # keys looked at in one go, which keeps the server busy for about a millisecond
SERVER: Command = ("INFO", "server", "replication")

logger = logging.getLogger(__name__)


class RedisBackend:
    """One server, shared by all passes over its tenants. Opens connections when they are needed."""

    def __init__(self, connection: RedisConnection, permit: Permit = everything) -> None:
        self._connection = connection
        self._permit = permit
        self._where = f"Redis at {connection.address}" + (" over TLS" if connection.tls else "")
        self._opened: Redis | None = None
        self._tls: ssl.SSLContext | None = None

    async def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        client, self._opened = self._opened, None
        if client is not None:
            await client.aclose(close_connection_pool=True)

    async def facts(self) -> BackendFacts:
        """Return what the server says about itself.

        The identity is the address: a server has no name of its own that outlives a restart.
        """
        with self._translated("facts of the server"):
            info, settings, default = await self._send(
                (*SERVER, "memory", "persistence"), ("CONFIG", "GET", "aclfile"), ("ACL", "GETUSER", "default")
            )
            _raise(info, default)
            check_server(info, self._where)
            check_room(info, self._where)
        acl_file = isinstance(settings, list) and any(settings[1::2])  # a hosted server may refuse to tell
        return BackendFacts(
            version=version_name(info),
            identity=self._connection.address,
            features=features(info, acl_file, parse_user(default)),
        )

    async def observe(self, desired: DesiredUser, claimed: Collection[str]) -> ObservedUser:
        """Return what Redis holds for the tenant, `claimed` being its names in the ledger; changes nothing."""
        with self._translated(f"user {desired.user}"):
            info, fields = await self._ask(SERVER, ("ACL", "GETUSER", desired.user))
            check_server(info, self._where)
            rules = None if fields is None else parse_user(fields)
            may_log_in = rules is not None and "on" in rules and bool(desired.password)
            return ObservedUser(
                rules=rules,
                password_works=may_log_in and await self._password_works(desired),
                claimed=desired.user in claimed,
            )

    async def apply(self, desired: DesiredUser, steps: Sequence[Step], ledger: Ledger, backend: str) -> None:
        """Carry out the steps, in order; `backend` is this server's name in the ledger."""
        for step in steps:
            with self._translated(step.summary):
                await self._apply(step, ledger, backend)
            logger.info(step.summary, extra={"event": "redis.step", "tenant": desired.tenant})

    async def drifted(self, all_desired: Collection[DesiredUser], claimed: Collection[str]) -> set[str]:
        """Return the tenants that need a pass, by one question for all; `claimed` are the names of all of them."""
        with self._translated("all users"):
            info, lines = await self._ask(SERVER, ("ACL", "LIST"))
            check_server(info, self._where)
        # About a tenth of a millisecond for each.
        return await asyncio.to_thread(drifted_tenants, tuple(all_desired), map(parse_line, lines), frozenset(claimed))

    async def _apply(self, step: Step, ledger: Ledger, backend: str) -> None:
        self._permit()
        match step:
            case Claim(objects):
                await ledger.claim(backend, objects)
            case SetUser(user=user, rules=rules):
                await self._change_users("ACL", "SETUSER", user, "reset", *rules)
            case DeleteUser(user):
                await self._change_users("ACL", "DELUSER", user)
            case DeleteKeys(prefix):
                await self._delete_keys(prefix)
            case Release(objects):
                await ledger.release(backend, objects)

    async def _change_users(self, *command: str) -> None:
        """Change users, and save them where there is a file for it, sent at once: no crash of ours comes between.

        Users of a server without such a file, or whose file could not be written, are gone after its next restart.
        That is drift, found and repaired like any other.
        """
        changed, saved = await self._send(command, ("ACL", "SAVE"))
        _raise(changed)
        if NO_ACL_FILE not in str(saved):
            _raise(saved)

    async def _delete_keys(self, prefix: str) -> None:
        """Look through all keys in small bites, and unlink: their memory is freed in the background."""
        client, cursor = await self._client(), 0
        while True:
            cursor, keys = await client.scan(cursor, match=f"{prefix}*", count=SCAN_COUNT)
            if keys:
                await client.unlink(*keys)
            if cursor == 0:
                return

    async def _password_works(self, desired: DesiredUser) -> bool:
        """Log in with it, on a connection of its own."""
        kind, arguments = await self._how_to_connect(desired.user, desired.password)
        connection = kind(**arguments, retry=Retry(NoBackoff(), 0))
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # the driver's types are incomplete
        except exceptions.AuthenticationError:
            return False
        finally:
            await connection.disconnect()
        return True

    async def _ask(self, *commands: Command) -> list[Any]:
        answers = await self._send(*commands)
        _raise(*answers)
        return answers

    async def _send(self, *commands: Command) -> list[Any]:
        """Send the commands in one go; an answer may be an exception.

        Raised by the driver, such an exception would quote its command, and so the hash of a password.
        """
        client = await self._client()
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

    async def _client(self) -> Redis:
        account = self._connection
        kind, arguments = await self._how_to_connect(account.username, account.password)
        if self._opened is None:
            # The server may have closed an idle connection.
            again = Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,))
            pool = BlockingConnectionPool(POOL_SIZE, account.command_timeout, kind, retry=again, **arguments)
            self._opened = Redis(connection_pool=pool)
        return self._opened

    async def _how_to_connect(self, username: str, password: str) -> tuple[type[Connection], dict[str, Any]]:
        account = self._connection
        arguments: dict[str, Any] = {
            "host": account.host,
            "port": account.port,
            "username": username,
            "password": password,
            "socket_connect_timeout": account.connect_timeout,
            "socket_timeout": account.command_timeout,
            "protocol": 2,
            "decode_responses": True,
            "encoding_errors": "surrogateescape",  # names of keys are bytes
            "driver_info": None,
        }
        if not account.tls:
            return Connection, arguments
        return _TLSConnection, {**arguments, "context": await self._tls_context()}

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:  # in a thread, since it reads the machine's authorities from files
            self._tls = await asyncio.to_thread(ssl.create_default_context, cadata=self._connection.ca_certificates)
        return self._tls

    def _translated(self, what: str) -> AbstractContextManager[None]:
        return translated(self._where, what)


class _TLSConnection(SSLConnection):
    """A connection with a context that is made once and trusts the given authorities only.

    The driver's own loads the machine's authorities for every connection, and trusts them beside the given ones.
    """

    def __init__(self, *, context: ssl.SSLContext, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ssl_context.context = context


def _raise(*answers: object) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
