"""Real Redis servers, one a test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from kafka.certificates import Authority, new_authority
from kafka.jars import MissingPart
from redis_server import RedisServer, TLSFront

if TYPE_CHECKING:
    from redis_tenants import Operator


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers with the arguments of `RedisServer`; each is gone after the test."""
    with ExitStack() as servers:

        def start(**arguments: Any) -> RedisServer:
            return servers.enter_context(RedisServer(tmp_path_factory.mktemp("redis"), **arguments))

        yield start


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A running server that forgets its users at a restart."""
    return start_redis()


@pytest.fixture(scope="session")
def redis_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for servers that speak TLS. Without openssl, a test that needs it is skipped; in CI it fails."""
    try:
        return new_authority(tmp_path_factory.mktemp("redis-authority"))
    except MissingPart as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def redis_over_tls(redis_server: RedisServer, redis_authority: Authority) -> Iterator[TLSFront]:
    """The server of `redis_server`, on a port where it answers over TLS with a certificate for 127.0.0.1."""
    with TLSFront(redis_server, redis_authority.issue("redis")) as front:
        yield front


@pytest.fixture
async def redis_operator(redis_server: RedisServer) -> AsyncIterator[Operator]:
    """Passes over tenants of `redis_server`."""
    from redis_tenants import Operator  # takes the driver with it, which other suites do not need

    operator = Operator(redis_server.connection)
    yield operator
    await operator.backend.close()
