"""What errors of the driver mean to the platform; those that a test can provoke are shown on a real server too."""

import socket
import ssl

import asyncpg
import pytest

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, PlatformError, Rejected, Unavailable
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.failures import translate, translated

ADDRESS = PostgresAddress("db.example", 5432, "soma", "verify-full", "admin", "hunter2", ca_certificates="PEM")


def server_error(state: str, message: str = "no") -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": message, "S": "ERROR"})


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (server_error("28P01"), Rejected, Reason.AUTHENTICATION_FAILED),
        (server_error("28000"), Rejected, Reason.AUTHENTICATION_FAILED),
        (server_error("53100"), Unavailable, Reason.BACKEND_FULL),
        (server_error("25006"), Unavailable, Reason.BACKEND_READ_ONLY),
        (server_error("53300"), Unavailable, None),
        (server_error("25P03"), Unavailable, None),
        (server_error("57P01"), Unavailable, None),
        (server_error("08006"), Unavailable, None),
        (server_error("3D000"), Rejected, None),
        (server_error("42501"), Rejected, None),
        (server_error("40P01"), Conflict, None),
        (server_error("55P03"), Conflict, None),
        (server_error("42710"), Conflict, None),
        (server_error("XX000"), Conflict, None),
        (server_error("MO001"), Conflict, None),
        (server_error("MO002"), Conflict, None),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), Rejected, Reason.TLS_FAILED),
        (ssl.SSLError(1, "wrong version number"), Rejected, Reason.TLS_FAILED),
        (ConnectionError("PostgreSQL server at 'x' rejected SSL upgrade"), Rejected, Reason.TLS_FAILED),
        (socket.gaierror(-2, "Name or service not known"), Unavailable, None),
        (ConnectionRefusedError(111, "Connection refused"), Unavailable, None),
        (TimeoutError(), Unavailable, None),
        (asyncpg.InterfaceError("pool is closing"), Unavailable, None),
        (asyncpg.InternalClientError("another operation is in progress"), Unavailable, None),
        (EOFError(), Unavailable, None),
    ],
    ids=lambda value: getattr(value, "sqlstate", None) or getattr(type(value), "__name__", str(value)),
)
def test_each_error_has_one_meaning(error, kind, reason):
    meant = translate(error, ADDRESS)

    assert (type(meant), meant.reason) == (kind, reason)
    assert "db.example" in meant.detail


def test_errors_of_the_platform_pass_unchanged():
    with pytest.raises(Conflict) as raised, translated(ADDRESS):
        raise Conflict("as it was")

    assert raised.value.detail == "as it was"


def test_an_error_of_ours_is_not_hidden():
    with pytest.raises(KeyError), translated(ADDRESS):
        raise KeyError("a defect")


def test_the_driver_error_is_kept_as_the_cause():
    cause = server_error("53100", "could not extend file")
    with pytest.raises(PlatformError) as raised, translated(ADDRESS):
        raise cause

    assert raised.value.__cause__ is cause


@pytest.mark.parametrize(
    ("mode", "authorities", "meaning"),
    [
        ("disable", "PEM", "disable"),
        ("prefer", "PEM", "prefer"),
        ("require", None, "require"),
        ("verify-ca", None, (ssl.CERT_REQUIRED, False)),
        ("verify-full", None, (ssl.CERT_REQUIRED, True)),
    ],
)
def test_each_tls_mode_means_what_libpq_means(mode, authorities, meaning):
    address = PostgresAddress("h", 1, "d", mode, "u", "p", authorities)

    found = address.encryption()

    assert (found if isinstance(found, str) else (found.verify_mode, found.check_hostname)) == meaning


def test_an_address_shows_neither_password_nor_authorities():
    assert "hunter2" not in repr(ADDRESS) + str(ADDRESS)
    assert "PEM" not in repr(ADDRESS)
