"""Driver errors in the platform's three classes, translated once."""

from __future__ import annotations

import asyncpg

from memory_contracts.errors import Conflict, PlatformError, Rejected, Unavailable

# What a Postgres that is starting, stopping, full, read-only or out of connections says (SQLSTATE classes, appendix A
# of its manual). The same statement may work later.
_TRANSIENT_CLASSES = {"08", "25", "28", "3D", "53", "55", "57", "58", "XX"}
_RACES = {"40001", "40P01", "23505"}
# Tables or rights that are missing come with an operator that has not finished; they are waited for as well.
_UNPREPARED = {"3F000", "42P01", "42501", "42703", "42883"}


def translate(error: Exception) -> PlatformError:
    """Return the platform error that `error` means."""
    if isinstance(error, asyncpg.PostgresError):
        return _translate_answer(error)
    if isinstance(error, TimeoutError):
        return Unavailable("the database did not answer in time")
    if isinstance(error, asyncpg.DataError | OverflowError | UnicodeError):
        return Rejected(f"the database cannot hold this value: {error}")
    return Unavailable(f"the database cannot be reached ({_brief(error)})")


def _translate_answer(error: asyncpg.PostgresError) -> PlatformError:
    code = error.sqlstate or ""
    if code in _RACES:
        return Conflict("another request changed the same memories at the same time; send this one again")
    if code[:2] in _TRANSIENT_CLASSES or code in _UNPREPARED:
        return Unavailable(f"the database refuses work for now ({_brief(error)})")
    if code[:2] == "22" or code in {"23514", "54000", "54001"}:
        return Rejected(f"the database cannot hold this value: {_brief(error)}")
    return Unavailable(f"the database failed unexpectedly ({code}: {_brief(error)})")


def _brief(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0][:200] if text and text[0] else type(error).__name__
