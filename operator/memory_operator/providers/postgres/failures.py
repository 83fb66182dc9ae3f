"""Driver errors in the platform's three classes, translated once."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import asyncpg

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, PlatformError, Rejected, Unavailable
from memory_operator.providers.postgres.address import PostgresAddress

# SQLSTATE (appendix A of the manual). Classes: connection, resources, operator intervention, system.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
# A read-only server, and a transaction that lay idle for too long.
_UNAVAILABLE_STATES = ("25006", "25P03")
# What a concurrent pass can cause: duplicates of every kind, a lock that was not free, "tuple concurrently updated";
# and what the ledger's own functions raise.
_CONFLICT_STATES = ("23505", "42710", "42P06", "42P07", "55P03", "XX000", "MO001", "MO002")
_MISSING_LEDGER_STATES = ("3F000", "42883", "42P01")
_REASONS = {
    "28000": Reason.AUTHENTICATION_FAILED,
    "28P01": Reason.AUTHENTICATION_FAILED,
    "53100": Reason.BACKEND_FULL,
    "25006": Reason.BACKEND_READ_ONLY,
}
_REMEDIES = {
    "28P01": "correct the Secret, or the password of the role",
    "28000": "let the role in: pg_hba.conf, LOGIN",
    "3D000": "create it, or correct its name",
    "42501": "give the administrator what it lacks: CREATEROLE, and CREATE on the database",
    "53100": "make room on the server's disk",
    "25006": "it is a standby, or was set so: point to the primary, or allow writing",
    "53300": "raise max_connections, or the limit of the role",
}
# Beside those of the server: of the socket beneath, of TLS, and of a connection that ended while it lay idle.
DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    EOFError,
)


@contextlib.contextmanager
def translated(address: PostgresAddress) -> Iterator[None]:
    """Turn driver errors of the block into platform errors that name the server."""
    try:
        yield
    except PlatformError:
        raise
    except DRIVER_ERRORS as error:
        raise translate(error, address) from error


def translate(error: Exception, address: PostgresAddress) -> PlatformError:
    """Return the platform error that `error` means at this server."""
    match error:
        case asyncpg.PostgresError():
            return meaning(error, str(address))
        case TimeoutError():
            return Unavailable(f"{address} does not answer in time")
        case OSError():
            return _unreached(error, address)
        case _:
            return Unavailable(f"{address}: {error}")


def _unreached(error: OSError, address: PostgresAddress) -> PlatformError:
    if isinstance(error, ssl.SSLCertVerificationError):
        verdict = getattr(error, "verify_message", "") or str(error)
        remedy = "renew its certificate, or name the authority that signed it"
        return Rejected(f"{address} does not prove who it is: {verdict}; {remedy}", reason=Reason.TLS_FAILED)
    if isinstance(error, ssl.SSLError):
        return Rejected(f"{address} and this process find no common TLS: {error}", reason=Reason.TLS_FAILED)
    if "rejected SSL upgrade" in str(error):
        remedy = "enable ssl on the server, or set the TLS mode to disable"
        return Rejected(f"{address} speaks no TLS; {remedy}", reason=Reason.TLS_FAILED)
    if isinstance(error, socket.gaierror):
        return Unavailable(f"host {address.host} of the Postgres server is unknown; correct it, or its DNS record")
    return Unavailable(f"{address} cannot be reached: {os.strerror(error.errno) if error.errno else error}")


def meaning(error: asyncpg.PostgresError, what: str) -> PlatformError:
    """Return the error class that a server's error stands for; `what` begins the sentence."""
    state = error.sqlstate or ""
    detail = f"{what}: {error}" + (f"; {_REMEDIES[state]}" if state in _REMEDIES else "")
    reason = _REASONS.get(state)
    if state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE_STATES:
        return Unavailable(detail, reason=reason)
    if state in _CONFLICT_STATES or state.startswith("40"):
        return Conflict(detail)
    return Rejected(detail, reason=reason)


def remembered_epoch(error: asyncpg.PostgresError) -> int:
    """Return the epoch of the newer leader that the ledger knows of; 0 when the error is about something else."""
    return int(error.detail or 0) if error.sqlstate == "MO001" else 0


def ledger_is_missing(error: BaseException) -> bool:
    """Return whether the ledger's schema, or something in it, is not there (any more)."""
    return (
        isinstance(error, asyncpg.PostgresError)
        and error.sqlstate in _MISSING_LEDGER_STATES
        and "memory_operator" in str(error)
    )
