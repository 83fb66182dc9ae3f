"""One level-triggered pass over one MemoryNamespace: the same in a cluster and on one machine.

It runs for every cause alike (create, edit, a process that died, drift, start-up) and never skips itself because the
generation is unchanged: the world may have changed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.errors import Conflict, PlatformError, Rejected
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import ExternalNames, MemoryCluster, MemoryNamespace, MemoryNamespaceStatus
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.plan import Blocked, DesiredTenant, desired_tenant, plan
from memory_operator.specs.environment import Credentials, tenant_names
from memory_operator.specs.workload import build_workload
from memory_operator.status import STAGES, StageResult, build_conditions, failed, held, passed
from memory_operator.world import Availability, World

logger = logging.getLogger(__name__)

# Someone else was faster: look again at once, but not for ever.
CONFLICT_ATTEMPTS = 3


async def reconcile(namespace: MemoryNamespace, cluster: MemoryCluster, world: World) -> MemoryNamespaceStatus:
    """Move the world towards `namespace` and return the status to be written.

    Errors of the three classes become conditions; anything else is a fault of this program and passes through.
    """
    results: list[StageResult] = []
    endpoints: list[str] = []
    try:
        async for result in _stages(namespace, cluster, world, endpoints):
            results.append(result)
    except PlatformError as error:
        results.append(failed(STAGES[len(results)], error))
        logger.warning(error.detail, extra={"event": "reconcile.failed", "stage": str(results[-1].stage)})
    names, before = tenant_names(namespace), namespace.status
    return MemoryNamespaceStatus(
        observed_generation=namespace.metadata.generation,
        endpoint=endpoints[-1] if endpoints else None,
        external=ExternalNames(postgres_schema=names.schema, postgres_role=names.login_role),
        conditions=build_conditions(
            results, before.conditions if before else [], namespace.metadata.generation, world.now()
        ),
    )


async def _stages(
    namespace: MemoryNamespace, cluster: MemoryCluster, world: World, endpoints: list[str]
) -> AsyncIterator[StageResult]:
    """Yield a result for each stage that was reached, in the order of STAGES; a stage that did not pass is the last."""
    names = tenant_names(namespace)

    address = await _accept_cluster(namespace, cluster, world)
    where = f"{address.host}:{address.port}/{address.database}"
    yield passed(ConditionType.CLUSTER_ACCEPTED, Reason.ACCEPTED, f"memories live in Postgres at {where}")

    credentials = await world.secrets.credentials(names)
    yield passed(ConditionType.CREDENTIALS_READY, Reason.PROVISIONED, "API token and database password are kept")

    desired = desired_tenant(names, credentials.postgres_password, namespace.spec.api.replicas)
    blocked = await _converge_postgres(address, desired, world)
    yield _schema_result(names, blocked)
    if blocked:
        return

    availability = await _run_api(namespace, cluster, world, credentials)
    endpoints.append(availability.endpoint)
    yield _api_result(availability)


async def _accept_cluster(namespace: MemoryNamespace, cluster: MemoryCluster, world: World) -> PostgresAddress:
    reference, found = namespace.spec.cluster_ref, cluster.metadata
    wanted = (reference.namespace or namespace.metadata.namespace, reference.name)
    if wanted != (found.namespace, found.name):
        raise Rejected(f"spec.clusterRef names {'/'.join(wanted)}, not {found.namespace}/{found.name}")
    administrator = await world.secrets.administrator(cluster)
    server = cluster.spec.postgres.external
    return PostgresAddress(
        server.host, server.port, server.database, server.ssl_mode, administrator.user, administrator.password
    )


async def _converge_postgres(address: PostgresAddress, desired: DesiredTenant, world: World) -> Blocked | None:
    for attempt in range(1, CONFLICT_ATTEMPTS + 1):
        try:
            async with world.postgres.session(address, desired) as session:
                steps = plan(desired, await session.observe(desired))
                if isinstance(steps, Blocked):
                    return steps
                await session.apply(desired, steps)
                return None
        except Conflict:
            if attempt == CONFLICT_ATTEMPTS:
                raise
    return None


async def _run_api(
    namespace: MemoryNamespace, cluster: MemoryCluster, world: World, credentials: Credentials
) -> Availability:
    listen = world.workloads.listen(tenant_names(namespace))
    workload = build_workload(namespace, cluster, listen, credentials)
    await world.workloads.apply(workload)
    return await world.workloads.availability(workload)


def _schema_result(names: TenantNames, blocked: Blocked | None) -> StageResult:
    if blocked:
        return held(ConditionType.SCHEMA_READY, blocked.reason, blocked.message)
    return passed(ConditionType.SCHEMA_READY, Reason.PROVISIONED, f"schema {names.schema} is up to date")


def _api_result(availability: Availability) -> StageResult:
    counted = f"{availability.ready} of {availability.wanted} ready"
    if availability.complete:
        return passed(ConditionType.API_AVAILABLE, Reason.AVAILABLE, f"{counted} at {availability.endpoint}")
    reason = Reason.BLOCKED if availability.failing else Reason.PROGRESSING
    detail = f"{counted}; {availability.detail}" if availability.detail else counted
    return held(ConditionType.API_AVAILABLE, reason, detail)
