"""TLS to Redis: only a server for which the given authority vouches, by name, sees the password."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kafka.certificates import new_authority
from redis_server import TLSFront
from redis_tenants import (
    Operator,
    new_tenant,
    refusal,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable


async def test_over_tls_with_the_authority_given(redis_over_tls: TLSFront, redis_authority):
    operator = Operator(redis_over_tls.connection(redis_authority.certificate))
    tenant = new_tenant()

    assert await operator.converge(tenant)
    assert await operator.converge(tenant) == []
    assert await operator.backend.drifted([tenant], operator.ledger.names) == set()
    await operator.backend.close()


@pytest.mark.parametrize("trusted", ["another authority", "those of this machine"])
async def test_a_server_that_nobody_vouches_for_is_not_logged_in_to(redis_over_tls, tmp_path: Path, trusted):
    authority = new_authority(tmp_path).certificate if trusted == "another authority" else None

    error = await refusal(redis_over_tls.connection(authority))

    assert isinstance(error, Unavailable)
    assert error.reason is Reason.TLS_FAILED
    assert "certificate" in str(error)


async def test_a_certificate_for_another_host_is_refused(redis_over_tls, redis_authority):
    # The same address, in a way of writing that the certificate does not name.
    error = await refusal(replace(redis_over_tls.connection(redis_authority.certificate), host="127.1"))

    assert isinstance(error, Unavailable)
    assert error.reason is Reason.TLS_FAILED
    assert "127.1" in str(error)


async def test_an_expired_certificate_is_refused_until_it_is_renewed(redis_server, redis_authority):
    with TLSFront(redis_server, redis_authority.issue("expired", days=-1)) as front:
        error = await refusal(front.connection(redis_authority.certificate))

    assert error.reason is Reason.TLS_FAILED
    assert "expired" in str(error)


async def test_authorities_that_are_no_pem_are_told(redis_over_tls):
    error = await refusal(replace(redis_over_tls.connection(None), ca_certificates="not a certificate"))

    assert isinstance(error, Rejected)
    assert error.reason is Reason.TLS_FAILED
    assert "PEM" in str(error)


async def test_tls_with_a_server_that_has_none_is_told(redis_server):
    error = await refusal(replace(redis_server.connection, tls=True, connect_timeout=0.5))

    assert isinstance(error, Unavailable)  # it waits for the end of what it takes for a command
    assert "over TLS does not answer" in str(error)


async def test_no_tls_with_a_server_that_asks_for_it_is_told(redis_over_tls, redis_authority):
    error = await refusal(replace(redis_over_tls.connection(redis_authority.certificate), tls=False))

    assert isinstance(error, (Unavailable, Rejected))
