"""One pass over one tenant: observe it, then carry out the steps of a plan."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from memory_contracts.database.migrations import migrate
from memory_contracts.errors import PlatformError, Rejected
from memory_operator.providers.postgres.failures import meaning
from memory_operator.providers.postgres.observer import Observer
from memory_operator.providers.postgres.passwords import PasswordMemory
from memory_operator.providers.postgres.pool import COMMAND_SECONDS, SLOW_SECONDS
from memory_operator.providers.postgres.sql import Literal, query, statement
from memory_operator.providers.postgres.steps import EndSessions, Execute, Migrate, SetPassword, Step
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedTenant

if TYPE_CHECKING:
    from memory_operator.providers.postgres.pool import Connection

END_SESSION_MILLISECONDS = 2000

Statement: TypeAlias = Execute | SetPassword

logger = logging.getLogger(__name__)


class PostgresSession:
    """The open transaction on one tenant. `guard` is the statement that must not fail before anything is changed."""

    def __init__(
        self, connection: Connection, observer: Observer, passwords: PasswordMemory, opening: str, guard: str
    ) -> None:
        self._connection = connection
        self._observer = observer
        self._passwords = passwords
        self._opening = opening
        self._guard = guard

    async def observe(
        self, desired: DesiredTenant, *, for_deletion: bool = False, is_new: bool = False
    ) -> ObservedTenant:
        """Return what Postgres holds for the tenant; changes nothing.

        A deletion needs to know a little more. That there is nothing of a tenant that `is_new` is found out sooner.
        """
        return await self._observer.one(self._connection, desired, for_deletion=for_deletion, is_new=is_new)

    async def apply(self, desired: DesiredTenant, steps: Sequence[Step]) -> None:
        """Carry out the steps, in order; an error names the step that failed.

        Raises `Conflict` when another leader took over or another object holds the tenant.
        """
        if not steps:
            return
        await self._connection.execute(self._guard)
        for _, group in groupby(steps, key=_manner):
            await self._carry_out(desired, list(group))
        for step in steps:
            logger.info(step.summary, extra={"event": "postgres.step", "tenant": desired.tenant})

    async def _carry_out(self, desired: DesiredTenant, steps: list[Step]) -> None:
        match steps:
            case [Migrate() as step]:
                with _naming(step):
                    await self._migrate(desired, step)
            case [EndSessions(roles) as step]:
                with _naming(step):
                    await self._end_sessions(roles)
            case _:
                await self._run_at_once(desired, [step for step in steps if isinstance(step, Execute | SetPassword)])

    async def _run_at_once(self, desired: DesiredTenant, steps: Sequence[Statement]) -> None:
        """One round trip for all; when it fails, one by one, to learn which step it is."""
        seconds = SLOW_SECONDS if isinstance(steps[0], Execute) and steps[0].slow else COMMAND_SECONDS
        try:
            await self._connection.execute(f"savepoint steps;\n{self._script(desired, steps)}", timeout=seconds)
        except asyncpg.PostgresError as error:
            if not isinstance(meaning(error, ""), Rejected):
                raise meaning(error, _from_to(steps)) from error
            await self._connection.execute("rollback to savepoint steps")
            for step in steps:
                with _naming(step):
                    await self._connection.execute(self._script(desired, [step]), timeout=seconds)

    def _script(self, desired: DesiredTenant, steps: Iterable[Statement]) -> str:
        """Return the statements of `steps`, changing roles no oftener than needed."""
        return ";\n".join(
            statement
            for as_owner, group in groupby(steps, key=lambda step: isinstance(step, Execute) and step.as_owner)
            for statement in _as(desired.owner_role if as_owner else None, [self._sql(desired, step) for step in group])
        )

    def _sql(self, desired: DesiredTenant, step: Statement) -> str:
        match step:
            case Execute(sql=sql):
                return sql
            case SetPassword(role):
                password = next(slot.password for slot in desired.slots if slot.role == role)
                assert password is not None, "a plan sets only passwords that are wanted"
                verifier = Literal(self._passwords.new_verifier(role, password))
                return statement("set_password", role=role, verifier=verifier)

    async def _migrate(self, desired: DesiredTenant, step: Migrate) -> None:
        path = statement("set_path", schema=step.schema, extension_schema=step.extension_schema)
        await self._connection.execute(f"{statement('assume_role', role=desired.owner_role)};\n{path}")
        waiting = _OpenTransaction(self._connection)
        await migrate(waiting, desired.migrations, old_code_gone=step.old_code_gone)
        await self._connection.execute(f"{statement('reset_role')};\n{statement('reset_path')}")

    async def _end_sessions(self, roles: Sequence[str]) -> None:
        await self._connection.execute("commit")
        await self._connection.fetch(query("end_sessions"), roles, END_SESSION_MILLISECONDS)
        await self._connection.execute(f"{self._opening};\n{self._guard}")


class _OpenTransaction:
    """A connection whose transaction has begun: what the migrations do becomes part of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, query: str, *args: Any) -> str:
        return await self._connection.execute(query, *args, timeout=SLOW_SECONDS)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        return await self._connection.fetch(query, *args)

    def transaction(self) -> Any:
        return nullcontext()


def _manner(step: Step) -> object:
    """Statements that take as long go together, everything else goes alone."""
    match step:
        case Execute(slow=slow):
            return slow
        case SetPassword():
            return False
        case _:
            return step


def _from_to(steps: Sequence[Step]) -> str:
    return steps[0].summary if len(steps) == 1 else f"from '{steps[0].summary}' to '{steps[-1].summary}'"


def _as(role: str | None, statements: list[str]) -> list[str]:
    if role is None:
        return statements
    return [statement("assume_role", role=role), *statements, statement("reset_role")]


@contextlib.contextmanager
def _naming(step: Step) -> Iterator[None]:
    """Say in the error which step failed."""
    try:
        yield
    except PlatformError as error:
        raise type(error)(f"{step.summary}: {error.detail}", reason=error.reason) from error
    except asyncpg.PostgresError as error:
        raise meaning(error, step.summary) from error
