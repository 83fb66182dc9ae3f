"""One level-triggered pass over one MemoryNamespace: the same in a cluster and on one machine.

It runs for every cause alike (create, edit, a process that died, drift, start-up) and never skips itself because the
generation is unchanged: the world may have changed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from memory_contracts.conditions import ConditionStatus, ConditionType, Reason
from memory_contracts.database.migrations import all_migrations
from memory_contracts.errors import PlatformError, Rejected
from memory_contracts.settings import split_tokens
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace, MemoryNamespaceStatus
from memory_operator.controller.tasks import all_of
from memory_operator.outcome import Outcome, build_status, inputs_digest, listed
from memory_operator.providers.shapes import Blocked
from memory_operator.specs.tenant import Tenant, tenant_names
from memory_operator.specs.workload import Workload, build_workload
from memory_operator.status import StageResult, failed, held, passed
from memory_operator.world import Availability, Backends, World

logger = logging.getLogger(__name__)

_ABSENT = {
    ConditionType.COLLECTION_READY: "the MemoryCluster names no Qdrant: vectors are searched in memory only",
    ConditionType.TOPIC_READY: "the MemoryCluster names no Kafka: changes are not published",
    ConditionType.CACHE_READY: "the MemoryCluster names no Redis: each API process has limits and caches of its own",
}
# As little is known of a backend that does not let the operator in as of one that does not answer.
_NOT_LET_IN = (Reason.AUTHENTICATION_FAILED, Reason.TLS_FAILED)
BACKEND_STAGES = (ConditionType.SCHEMA_READY, *_ABSENT)


class Unwanted(Exception):
    """The object is gone, or is being deleted, since the pass began."""


async def reconcile(
    namespace: MemoryNamespace,
    cluster: MemoryCluster | None,
    world: World,
    wanted: Callable[[], bool] = lambda: True,
) -> MemoryNamespaceStatus:
    """Move the world towards `namespace` and return the status to be written.

    Errors of the three classes become conditions; anything else is a fault of this program and passes through. Raises
    `Unwanted` between two stages when the object is not `wanted` any more: to build on would be to drop it again.
    """
    return build_status(namespace, await survey(namespace, cluster, world, wanted), world.now())


async def survey(
    namespace: MemoryNamespace,
    cluster: MemoryCluster | None,
    world: World,
    wanted: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Go through the stages and return what each came to; in a dry world the steps are only named."""
    outcome = Outcome(tenant_names(namespace))
    try:
        await _Pass(namespace, cluster, world, outcome, wanted).run()
    except _Halt as halt:
        logger.info(
            halt.result.message,
            extra={"event": "reconcile.held", "stage": str(halt.result.stage), "tenant": outcome.names.qualified},
        )
    return outcome


class _Halt(Exception):
    """A stage did not pass."""

    def __init__(self, result: StageResult) -> None:
        super().__init__(result.message)
        self.result = result


class _Pass:
    """The stages, in the order in which they gate one another; each leaves its result in the outcome."""

    def __init__(
        self,
        namespace: MemoryNamespace,
        cluster: MemoryCluster | None,
        world: World,
        outcome: Outcome,
        wanted: Callable[[], bool],
    ) -> None:
        self._namespace = namespace
        self._cluster = cluster
        self._world = world
        self._outcome = outcome
        self._wanted = wanted
        before = namespace.status
        # Once it ran, a backend that cannot be asked is no reason to stop repairing the rest.
        self._ran_before = before is not None and before.endpoint is not None

    async def run(self) -> None:
        backends = await self._open_backends()
        await self._gate(ConditionType.CLAIMED, self._claim(backends))
        self._go_on()
        tenant, workload = await self._credentials(backends)
        if any(each.stage == "post" for each in all_migrations()):
            tenant = replace(tenant, old_code_gone=await self._rolled_out(workload))
        correct = self._note_inputs(tenant, workload)
        self._go_on()
        results = await all_of(
            *[_guarded(stage, self._converge(stage, backends, tenant, correct)) for stage in BACKEND_STAGES]
        )
        self._outcome.results.extend(results)
        self._check(results[0])  # a broken index or broker keeps nobody from storing; a broken schema does
        self._go_on()
        await self._gate(ConditionType.API_AVAILABLE, self._run_api(workload, correct))

    # --- stages -------------------------------------------------------------------------------------------------------

    async def _open_backends(self) -> Backends:
        try:
            cluster = await self._accepting_cluster()
            backends = await self._world.backends.open(cluster)
        except PlatformError as error:
            raise self._halted(failed(ConditionType.CLUSTER_ACCEPTED, error)) from error
        name = f"{cluster.metadata.namespace}/{cluster.metadata.name}"
        self._outcome.results.append(
            passed(ConditionType.CLUSTER_ACCEPTED, Reason.ACCEPTED, f"MemoryCluster {name} holds the memories")
        )
        return backends

    async def _accepting_cluster(self) -> MemoryCluster:
        reference = self._namespace.spec.cluster_ref
        if self._cluster is None:
            place = reference.namespace or self._namespace.metadata.namespace
            raise Rejected(
                f"spec.clusterRef names MemoryCluster {place}/{reference.name}, which does not exist; create it",
                field="spec.clusterRef",
                reason=Reason.CLUSTER_NOT_FOUND,
            )
        await self._world.consent.check(self._namespace, self._cluster)
        return self._cluster

    async def _claim(self, backends: Backends) -> StageResult:
        names = self._outcome.names
        blocked = await backends.claim(names, self._namespace.metadata.uid, dry=self._world.dry)
        if blocked:
            return held(ConditionType.CLAIMED, blocked.reason, blocked.message)
        return passed(ConditionType.CLAIMED, Reason.ACCEPTED, f"the data of {names.qualified} belongs to this object")

    async def _credentials(self, backends: Backends) -> tuple[Tenant, Workload]:
        try:
            tenant, workload, made = await self._complete_credentials(backends)
            if made and not self._world.dry:
                await self._world.secrets.keep(self._namespace, workload.secret)
        except PlatformError as error:
            raise self._halted(failed(ConditionType.CREDENTIALS_READY, error)) from error
        self._outcome.results.append(
            passed(ConditionType.CREDENTIALS_READY, Reason.PROVISIONED, f"Secret {tenant.names.credentials} keeps them")
        )
        return tenant, workload

    async def _complete_credentials(self, backends: Backends) -> tuple[Tenant, Workload, int]:
        assert self._cluster is not None
        made: list[str] = []

        def generate() -> str:
            made.append(self._world.new_secret())
            return made[-1]

        stored = await self._world.secrets.stored(self._namespace)
        tenant = Tenant(
            namespace=self._namespace,
            cluster=self._cluster,
            listen=self._world.workloads.listen(self._outcome.names),
            credentials=stored.complete(
                generate, tokens=await self._given_tokens(), redis=self._cluster.spec.redis is not None
            ),
            postgres_ca=backends.postgres_ca,
        )
        return tenant, build_workload(tenant), len(made)

    async def _given_tokens(self) -> str | None:
        reference = self._namespace.spec.api.auth.token_secret_ref
        if reference is None:
            return None
        values = await self._world.secrets.read(self._namespace.metadata.namespace, reference.name)
        source = f"key {reference.key} of Secret {reference.name} (spec.api.auth.tokenSecretRef)"
        if reference.key not in values:
            raise Rejected(f"{source} is missing; add it", reason=Reason.SECRET_NOT_FOUND)
        return "\n".join(split_tokens(values[reference.key], source))

    async def _converge(self, stage: ConditionType, backends: Backends, tenant: Tenant, correct: bool) -> StageResult:
        share = backends.share(stage, tenant)
        if share is None:
            return held(stage, Reason.NOT_CONFIGURED, _ABSENT[stage])
        steps = await share.converge(correct=correct)
        if isinstance(steps, Blocked):
            return held(stage, steps.reason, steps.message)
        summaries = [step.summary for step in steps]
        return passed(
            stage,
            Reason.PROVISIONED,
            share.provisioned if correct or not steps else f"drift that was not corrected: {listed(summaries)}",
            applied=summaries if correct else (),
            withheld=() if correct else summaries,
        )

    async def _rolled_out(self, workload: Workload) -> bool:
        """Return whether no process runs that an earlier manifest has started."""
        target = self._world.workloads
        if await target.plan(self._namespace, workload):
            return False
        found = await target.availability(self._namespace, workload)
        return found.rolled_out and not found.leaving

    async def _run_api(self, workload: Workload, correct: bool) -> StageResult:
        target = self._world.workloads
        steps = await target.plan(self._namespace, workload)
        if isinstance(steps, Blocked):
            return held(ConditionType.API_AVAILABLE, steps.reason, steps.message)
        if correct and steps:
            await target.apply(self._namespace, steps)
        self._outcome.availability = await target.availability(self._namespace, workload)
        summaries = tuple(step.summary for step in steps)
        return _api_result(
            self._namespace,
            self._outcome.availability,
            applied=summaries if correct else (),
            withheld=() if correct else summaries,
        )

    # --- gates --------------------------------------------------------------------------------------------------------

    async def _gate(self, stage: ConditionType, work: Awaitable[StageResult]) -> None:
        result = await _guarded(stage, work)
        self._outcome.results.append(result)
        self._check(result)

    def _check(self, result: StageResult) -> None:
        unanswered = result.status is ConditionStatus.UNKNOWN or result.reason in _NOT_LET_IN
        if not result.passed and not (unanswered and self._ran_before):
            raise _Halt(result)

    def _go_on(self) -> None:
        if not self._wanted():
            raise Unwanted

    def _halted(self, result: StageResult) -> _Halt:
        self._outcome.results.append(result)
        return _Halt(result)

    def _note_inputs(self, tenant: Tenant, workload: Workload) -> bool:
        """Return whether differences are to be corrected: always, unless they are drift that is only to be reported."""
        self._outcome.tenant = tenant
        self._outcome.inputs = inputs_digest(tenant, workload)
        status = self._namespace.status
        unchanged = status is not None and status.observed_inputs == self._outcome.inputs
        reported = unchanged and self._namespace.spec.drift_policy == "Report"
        return not (reported or self._world.dry)


async def _guarded(stage: ConditionType, work: Awaitable[StageResult]) -> StageResult:
    try:
        return await work
    except PlatformError as error:
        return failed(stage, error)


def _api_result(
    namespace: MemoryNamespace, found: Availability, *, applied: tuple[str, ...], withheld: tuple[str, ...]
) -> StageResult:
    stage, state = ConditionType.API_AVAILABLE, namespace.spec.state
    if state in ("Fenced", "Hibernated"):
        reason = Reason.FENCED if state == "Fenced" else Reason.HIBERNATED
        status, message = ConditionStatus.FALSE, f"spec.state is {state}: no process runs; set Active to go on"
    elif found.complete or _serves_as_before(namespace, found):
        reason = Reason.READ_ONLY if state == "ReadOnly" else Reason.AVAILABLE
        status, message = ConditionStatus.TRUE, f"{found.counted} at {found.endpoint}"
    else:
        reason, status = found.reason, ConditionStatus.FALSE
        message = f"{found.counted}; {found.detail}" if found.detail else found.counted
    return StageResult(stage, status, reason, message, applied, withheld)


def _serves_as_before(namespace: MemoryNamespace, found: Availability) -> bool:
    """Return whether no process is missing of those that served before: more are asked for, and are on their way."""
    before = namespace.status
    if before is None or before.api is None:
        return False
    served = any(
        each.type is ConditionType.API_AVAILABLE and each.status is ConditionStatus.TRUE for each in before.conditions
    )
    return served and found.ready >= max(1, before.api.ready)
