"""Helpers of the operator's integration tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from polling import until
from postgres_tenants import address_of

from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresBackend


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """Wait until a condition (plain or async) holds, and return its value; fails after a deadline."""
    return until


@pytest.fixture
def address(database: str) -> PostgresAddress:
    """The administrator's way into the test's database."""
    return address_of(database)


@pytest.fixture
async def backend(address: PostgresAddress) -> AsyncIterator[PostgresBackend]:
    """The provider on it, without a claimant."""
    async with PostgresBackend(address) as opened:
        yield opened
