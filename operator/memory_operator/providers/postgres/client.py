"""Observes and applies in Postgres; the only module of the operator that knows the driver.

One pass over a tenant is one transaction under a lock of the tenant's: concurrent passes wait for one another, and a
crash leaves either everything or nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from memory_contracts.database.migrations import applied_migrations, migrate
from memory_contracts.errors import Conflict, PlatformError, Rejected, Unavailable
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.plan import (
    DEFAULT_EXTENSION_SCHEMA,
    SET_OPTION_VERSION,
    DesiredTenant,
    Execute,
    Migrate,
    ObservedRole,
    ObservedSchema,
    ObservedTenant,
    SetPassword,
    Step,
)
from memory_operator.providers.postgres.sql import Literal, query, statement

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
# A migration may rewrite or index a large table.
MIGRATION_SECONDS = 600.0
SCRAM_ITERATIONS = 4096

logger = logging.getLogger(__name__)


class PostgresClient:
    """The Postgres provider of the reconcile. Stateless: every pass opens its own connection."""

    @asynccontextmanager
    async def session(self, address: PostgresAddress, desired: DesiredTenant) -> AsyncIterator[PostgresSession]:
        """Open the one transaction in which the tenant is observed and changed; commits unless an error leaves it."""
        where = f"Postgres at {address.host}:{address.port}"
        with _translated(where):
            connection = await _connect(address, address.user, address.password)
            try:
                async with connection.transaction():
                    await _lock(connection, desired.schema)
                    yield PostgresSession(connection, address)
            finally:
                await _close(connection)


class PostgresSession:
    """The open transaction on one tenant."""

    def __init__(self, connection: asyncpg.Connection[Any], address: PostgresAddress) -> None:
        self._connection = connection
        self._address = address

    async def observe(self, desired: DesiredTenant) -> ObservedTenant:
        """Return what Postgres holds for the tenant; changes nothing."""
        server = await self._row("server")
        assert server is not None
        login = await self._role(desired.login_role)
        owner = await self._role(desired.owner_role)
        may_be_owner = server["superuser"] or await self._may_become(desired.owner_role, server["version"])
        extension_schema = server["extension_schema"] or DEFAULT_EXTENSION_SCHEMA
        roles = (desired.owner_role, desired.login_role)
        return ObservedTenant(
            version=server["version"],
            database=server["database"],
            extension_schema=server["extension_schema"],
            owner=owner,
            login=login,
            schema=await self._schema(desired, may_be_owner),
            admin_may_be_owner=may_be_owner,
            password_works=login is not None and await self._password_works(desired),
            login_may_connect=bool(await self._value("may_connect", desired.login_role)),
            extension_usable={
                role: bool(await self._value("may_use_schema", role, extension_schema)) for role in roles
            },
        )

    async def apply(self, desired: DesiredTenant, steps: Sequence[Step]) -> None:
        """Carry out the steps, in order."""
        for step in steps:
            with _naming(step):
                await self._apply(desired, step)
            logger.info(step.summary, extra={"event": "postgres.step", "tenant": desired.tenant})

    async def _apply(self, desired: DesiredTenant, step: Step) -> None:
        match step:
            case Execute(sql=sql, as_owner=True):
                async with self._acting_as(desired.owner_role):
                    await self._execute(sql)
            case Execute(sql=sql):
                await self._execute(sql)
            case SetPassword(role):
                verifier = Literal(scram_verifier(desired.password, os.urandom(16)))
                await self._execute(statement("set_password", role=role, verifier=verifier))
            case Migrate(schema, extension_schema):
                async with self._acting_as(desired.owner_role), asyncio.timeout(MIGRATION_SECONDS):
                    await self._execute(statement("set_path", schema=schema, extension_schema=extension_schema))
                    await migrate(self._connection, schema)

    @asynccontextmanager
    async def _acting_as(self, role: str) -> AsyncIterator[None]:
        await self._execute(statement("assume_role", role=role))
        yield
        await self._execute(statement("reset_role"))  # after an error the transaction is over anyway

    async def _role(self, name: str) -> ObservedRole | None:
        row = await self._row("role", name)
        if row is None:
            return None
        return ObservedRole(
            comment=row["comment"],
            can_login=row["can_login"],
            privileged=row["privileged"],
            connection_limit=row["connection_limit"],
            settings=dict(each.split("=", 1) for each in row["settings"]),
            member_of=tuple(row["member_of"]),
        )

    async def _schema(self, desired: DesiredTenant, may_be_owner: bool) -> ObservedSchema | None:
        row = await self._row("schema", desired.schema, desired.login_role)
        if row is None:
            return None
        relations = await self._rows("relations", desired.schema, desired.login_role)
        lacking = [each["is_sequence"] for each in relations if not each["login_may"]]
        defaults = await self._rows("default_privileges", desired.schema, desired.owner_role, desired.login_role)
        ours = row["owner"] == desired.owner_role
        return ObservedSchema(
            comment=row["comment"],
            owner=row["owner"],
            login_usage=row["login_usage"],
            login_create=row["login_create"],
            open_to_public=row["open_to_public"] or any(each["open_to_public"] for each in relations),
            tables_lacking=lacking.count(False),
            sequences_lacking=lacking.count(True),
            default_tables=frozenset(each["privilege"] for each in defaults if each["kind"] == "r"),
            default_sequences=frozenset(each["privilege"] for each in defaults if each["kind"] == "S"),
            applied=await self._applied(desired) if ours and may_be_owner else None,
        )

    async def _applied(self, desired: DesiredTenant) -> Mapping[int, str]:
        if not await self._value("migrations_table", desired.schema):
            return {}
        async with self._acting_as(desired.owner_role):
            await self._execute(statement("set_path", schema=desired.schema, extension_schema=DEFAULT_EXTENSION_SCHEMA))
            return await applied_migrations(self._connection)

    async def _may_become(self, role: str, version: int) -> bool:
        name = "may_become_set" if version >= SET_OPTION_VERSION else "may_become_member"
        return bool(await self._value(name, role))

    async def _password_works(self, desired: DesiredTenant) -> bool:
        """Log in with it: what is stored about a password proves nothing."""
        try:
            connection = await _connect(self._address, desired.login_role, desired.password)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
            return False
        except asyncpg.InsufficientPrivilegeError:
            return True  # the password was right, only CONNECT is missing; a step of its own
        await _close(connection)
        return True

    async def _execute(self, sql: str) -> None:
        await self._connection.execute(sql, timeout=COMMAND_SECONDS)

    async def _rows(self, name: str, *parameters: object) -> list[Any]:
        return await self._connection.fetch(query(name), *parameters, timeout=COMMAND_SECONDS)

    async def _row(self, name: str, *parameters: object) -> Any | None:
        return await self._connection.fetchrow(query(name), *parameters, timeout=COMMAND_SECONDS)

    async def _value(self, name: str, *parameters: object) -> object:
        return await self._connection.fetchval(query(name), *parameters, timeout=COMMAND_SECONDS)


def scram_verifier(password: str, salt: bytes) -> str:
    """Return what Postgres stores for `password` (RFC 5803), which must be ASCII, so that SASLprep changes nothing."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key, server_key = hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(each).decode() for each in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"


async def _connect(address: PostgresAddress, user: str, password: str) -> asyncpg.Connection[Any]:
    async with asyncio.timeout(CONNECT_SECONDS):
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            database=address.database,
            user=user,
            password=password,
            ssl=address.ssl_mode,
            server_settings={"application_name": "memory-operator"},
        )


async def _lock(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Wait for other passes over the same tenant; the lock ends with the transaction."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended($1, 0))", f"memory operator {schema}", timeout=COMMAND_SECONDS
    )


async def _close(connection: asyncpg.Connection[Any]) -> None:
    try:
        await connection.close(timeout=CONNECT_SECONDS)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


@contextlib.contextmanager
def _naming(step: Step) -> Iterator[None]:
    """Say in the error which step failed."""
    try:
        yield
    except PlatformError as error:
        raise type(error)(f"{step.summary}: {error.detail}") from error
    except asyncpg.PostgresError as error:
        raise _meaning(error, step.summary) from error


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(f"{where} does not answer in time") from error
    except OSError as error:
        raise Unavailable(f"{where} cannot be reached: {error.strerror or error}") from error
    except asyncpg.PostgresError as error:
        raise _meaning(error, where) from error
    except asyncpg.InterfaceError as error:
        raise Unavailable(f"{where}: {error}") from error


# SQLSTATE classes: connection, resources, operator intervention, system. And what a concurrent pass can cause.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
_CONFLICT_STATES = ("23505", "42710", "42P06", "55P03", "XX000")  # XX000: "tuple concurrently updated"


def _meaning(error: asyncpg.PostgresError, what: str) -> PlatformError:
    """Return the error class that a driver error stands for."""
    state, detail = error.sqlstate or "", f"{what}: {error}"
    if state.startswith(_UNAVAILABLE_CLASSES):
        return Unavailable(detail)
    if state in _CONFLICT_STATES or state.startswith("40"):
        return Conflict(detail)
    return Rejected(detail)
