"""The end of a namespace whose database is somebody else's: the same deletion as in a cluster, at once."""

from __future__ import annotations

import asyncio

from memory_contracts.errors import PlatformError, Rejected
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.deletion import Departure, depart
from memory_operator.local.database import Database, parse_admin_url
from memory_operator.local.process_target import ProcessTarget
from memory_operator.local.secrets import LocalSecretStore
from memory_operator.local.state import StateDirectory
from memory_operator.local.world import open_world
from memory_operator.specs.tenant import tenant_names

# Who purges wants it now; a database that does not answer keeps nobody.
AT_ONCE = {"grace_period": "0s", "timeout": "0s", "on_timeout": "Orphan"}


def leave_given_database(state: StateDirectory, url: str) -> str:
    """Do in the database what ``spec.deletion`` says, and return what became of the data there, as a sentence.

    Never fails: what cannot be done is said.
    """
    try:
        namespace = state.desired()
        if namespace is None:
            return "nothing was ever served from the given database"
        departure = asyncio.run(_depart(state, namespace, parse_admin_url(url)))
    except PlatformError as error:
        return f"nothing was changed in the given database: {error.detail}"
    return _told(namespace, departure)


async def _depart(state: StateDirectory, namespace: MemoryNamespace, database: Database) -> Departure:
    secrets = LocalSecretStore(state)
    secrets.administrator = database.administrator
    target = ProcessTarget(state.logs, state.path, 0, lambda: None)
    deletion = namespace.spec.deletion.model_copy(update=AT_ONCE)
    leaving = namespace.model_copy(update={"spec": namespace.spec.model_copy(update={"deletion": deletion})})
    cluster = database.cluster_for(namespace)
    async with open_world(secrets, target) as world:
        backends = await world.backends.open(cluster)
        if blocked := await backends.claim(tenant_names(namespace), namespace.metadata.uid):
            raise Rejected(blocked.message, reason=blocked.reason)
        return await depart(leaving, cluster, world, None)


def _told(namespace: MemoryNamespace, departure: Departure) -> str:
    schema = f"schema {tenant_names(namespace).schema} in the given database"
    if departure.left_behind:
        return f"{schema} stays, and stays claimed: {departure.left_behind}"
    if namespace.spec.deletion.policy == "Delete":
        return f"{schema} is dropped"
    return f"{schema} stays, for whoever serves {tenant_names(namespace).qualified} from it next"
