"""The world of one machine: the targets of the reconcile, kept for the life of a supervisor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.backends.registry import BackendRegistry
from memory_operator.local.secrets import LocalSecretStore, new_secret
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.world import WorkloadTarget, World

# All machines claim in one name, so that a tenant which one of them gave up is open to the next. Two that want the same
# one at once are kept apart by the uid, which is each state directory's own.
CLAIMANT: Final = Claimant("soma")


class OwnConsent:
    """The person at the machine owns the database and the namespace."""

    async def check(self, namespace: MemoryNamespace, cluster: MemoryCluster) -> None:
        """Agree."""


@asynccontextmanager
async def open_world(secrets: LocalSecretStore, workloads: WorkloadTarget) -> AsyncIterator[World]:
    """Keep the connections to the database open for as many passes as there are, and close them at the end."""
    backends = BackendRegistry(secrets, CLAIMANT)
    try:
        yield World(
            consent=OwnConsent(),
            secrets=secrets,
            backends=backends,
            workloads=workloads,
            now=now,
            new_secret=new_secret,
        )
    finally:
        await backends.close()


def now() -> datetime:
    """Return the time as status fields hold it, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
