"""Which backends are open, for how long, and whose shares a sweep compares."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from fake_world import FakeSecrets
from tenants import cluster, tenant

from memory_contracts.conditions import ConditionType
from memory_contracts.errors import Rejected
from memory_operator.backends import registry as module
from memory_operator.backends.connected import ConnectedBackends
from memory_operator.backends.registry import BackendRegistry
from memory_operator.keys import Key, key_of
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.tenant import DesiredTenant
from memory_operator.specs.tenant import NO_CREDENTIALS

CLUSTER = key_of(cluster())
ADMIN = ("memory-system", "admin")


@pytest.fixture
def secrets() -> FakeSecrets:
    secrets = FakeSecrets()
    secrets.values[ADMIN] = {"username": "admin", "password": "first"}
    return secrets


@pytest.fixture
async def registry(secrets: FakeSecrets) -> AsyncIterator[BackendRegistry]:
    registry = BackendRegistry(secrets, Claimant("a-cluster"))
    yield registry
    await registry.close()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[PostgresBackend]:
    """The clients that were closed; nobody waits for that."""
    found: list[PostgresBackend] = []

    async def close(backend: PostgresBackend) -> None:
        found.append(backend)

    monkeypatch.setattr(PostgresBackend, "close", close)
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.0)
    return found


@pytest.fixture
def everything_drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that holds nothing of anybody."""

    async def drifted(_: PostgresBackend, wanted: Sequence[DesiredTenant]) -> set[str]:
        return {each.tenant for each in wanted}

    monkeypatch.setattr(PostgresBackend, "drifted", drifted)


def serve(backends: ConnectedBackends) -> None:
    """What a pass leaves behind of ``team-a/research``."""
    assert backends.share(ConditionType.SCHEMA_READY, tenant())


def nobody(_: Key) -> bool:
    return False


def everybody(_: Key) -> bool:
    return True


async def a_moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_backends_are_opened_once(registry: BackendRegistry):
    assert await registry.open(cluster()) is await registry.open(cluster())


async def test_another_password_opens_them_anew_and_closes_the_former(registry, secrets, closed):
    former = await registry.open(cluster())
    secrets.values[ADMIN] = {"username": "admin", "password": "second"}
    now = await registry.open(cluster())
    await a_moment()

    assert now is not former
    assert registry.last(CLUSTER) is now
    assert [each.address.password for each in closed] == ["first"]


async def test_a_missing_key_of_a_secret_is_named_with_the_backend_that_needs_it(registry, secrets):
    secrets.values[ADMIN] = {"username": "admin"}

    with pytest.raises(Rejected, match="Secret admin in namespace memory-system has no key password") as caught:
        await registry.open(cluster())
    assert caught.value.field == "postgres"


async def test_what_nobody_needs_is_closed_and_opened_anew_when_the_cluster_comes_back(registry, closed):
    former = await registry.open(cluster())
    registry.release(nobody)
    assert registry.last(CLUSTER) is None
    await a_moment()
    assert len(closed) == 1

    assert await registry.open(cluster()) is not former
    assert len(closed) == 1


async def test_a_pass_that_still_uses_released_backends_may_end_first(registry, closed, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 60.0)
    await registry.open(cluster())
    registry.release(nobody)
    await a_moment()
    assert closed == []

    await registry.close()
    assert len(closed) == 1, "the end of the process waits for nothing"


@pytest.mark.parametrize(
    ("is_needed", "served"), [(everybody, False), (nobody, True)], ids=["its users are there", "one is not forgotten"]
)
async def test_what_somebody_needs_stays_open(
    registry: BackendRegistry, closed: list[PostgresBackend], is_needed: Callable[[Key], bool], served: bool
):
    opened = await registry.open(cluster())
    if served:
        serve(opened)
    registry.release(is_needed)
    await a_moment()

    assert registry.last(CLUSTER) is opened
    assert closed == []


async def test_backends_are_released_after_their_last_tenant_is_forgotten(registry, closed):
    serve(await registry.open(cluster()))
    registry.release(nobody)
    assert closed == []
    registry.forget("team-a/research")
    registry.release(nobody)
    await a_moment()

    assert registry.last(CLUSTER) is None
    assert len(closed) == 1


@pytest.mark.usefixtures("everything_drifts")
async def test_a_sweep_looks_for_those_who_were_served_until_they_are_forgotten(registry):
    opened = await registry.open(cluster())
    serve(opened)
    assert await registry.drifted(CLUSTER) == {"team-a/research"}
    assert opened.tenants == {"team-a/research"}

    registry.forget("team-a/somebody-else")
    assert await registry.drifted(CLUSTER) == {"team-a/research"}
    registry.forget("team-a/research")
    assert await registry.drifted(CLUSTER) == set()
    assert opened.tenants == set()


@pytest.mark.usefixtures("everything_drifts")
async def test_nothing_is_found_missing_of_a_tenant_on_its_way_out(registry):
    opened = await registry.open(cluster())
    assert opened.share(ConditionType.SCHEMA_READY, tenant(NO_CREDENTIALS))

    assert await registry.drifted(CLUSTER) == set()
