"""Leader election on a real API server: hand-over, freezes, outages, rights."""

import asyncio
import contextlib
import json
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
from controlplane import audit
from controlplane.kubectl import kubectl
from controlplane.plane import ControlPlane
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from polling import until

from memory_operator.controller.elector import Elector
from memory_operator.controller.lease import LeaseTimes
from memory_operator.controller.lease_api import KubernetesLeaseApi
from memory_operator.controller.rest import RestClient

LEASE = "memory-operator"
CALM = LeaseTimes()
QUICK = LeaseTimes(lease_duration=5, renew_deadline=3.0, retry_period=0.5)
MASTERS = ["system:masters"]

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: elector}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [memory-operator], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: elector}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: elector}
subjects: [{kind: ServiceAccount, name: elector}]
"""


class Replica:
    """An elector with a connection of its own."""

    def __init__(self, kubeconfig: Path, namespace: str, name: str, times: LeaseTimes = CALM) -> None:
        self.kubeconfig, self.namespace, self.times = kubeconfig, namespace, times
        self.name = f"{name}_{uuid4()}"
        self.lost = 0
        self.stack = contextlib.AsyncExitStack()

    async def __aenter__(self):
        settings = Configuration()
        await config.load_kube_config(str(self.kubeconfig), None, settings)
        client = await self.stack.enter_async_context(RestClient(settings))
        api = KubernetesLeaseApi(client, self.namespace, LEASE)
        self.elector = await self.stack.enter_async_context(
            Elector(api, self.name, on_lost=self._on_lost, times=self.times)
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stack.aclose()

    def _on_lost(self) -> None:
        self.lost += 1


class ReplicaInAThread(threading.Thread):
    """A replica with an event loop of its own, which can be made to stand still, as a frozen process does."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(daemon=True)
        self.replica = replica
        self.leads = threading.Event()
        self.leading_when_it_woke: bool | None = None

    def run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self.loop, self.ending = asyncio.get_running_loop(), asyncio.Event()
        async with self.replica:
            await self.replica.elector.elected()
            self.leads.set()
            await self.ending.wait()

    def freeze(self, thaw: threading.Event) -> None:
        self.loop.call_soon_threadsafe(self._stand_still, thaw)

    def _stand_still(self, thaw: threading.Event) -> None:
        thaw.wait(120)
        self.leading_when_it_woke = self.replica.elector.is_leader

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.ending.set)
        self.join(30)


async def run_kubectl(plane: ControlPlane, *arguments: str, **options: str) -> str:
    """In a thread: the electors must go on."""
    return (await asyncio.to_thread(kubectl, plane.kubeconfig, *arguments, **options)).stdout


async def lease(plane: ControlPlane, namespace: str) -> dict:
    return json.loads(await run_kubectl(plane, "get", "lease", LEASE, "-n", namespace, "-o", "json"))


async def renewed(plane: ControlPlane, namespace: str) -> None:
    """Wait for one more renewal."""
    before = (await lease(plane, namespace))["spec"]["renewTime"]

    async def is_later() -> bool:
        return (await lease(plane, namespace))["spec"]["renewTime"] > before

    await until(is_later)


async def the_leader(*replicas: Replica) -> Replica:
    """The one that leads, once there is one."""
    return await until(lambda: next((each for each in replicas if each.elector.is_leader), None))


async def test_a_clean_exit_hands_over_at_once_and_the_lease_tells_who_and_how_often(control_plane, k8s_namespace):
    replicas = [Replica(control_plane.kubeconfig, k8s_namespace, name) for name in ("a", "b")]
    async with contextlib.AsyncExitStack() as stack:
        for each in replicas:
            await stack.enter_async_context(each)
        leader = await the_leader(*replicas)
        (follower,) = set(replicas) - {leader}
        spec = (await lease(control_plane, k8s_namespace))["spec"]
        assert spec["holderIdentity"] == leader.name
        assert spec["leaseTransitions"] == leader.elector.epoch == 1
        assert spec["leaseDurationSeconds"] == CALM.lease_duration
        await until(lambda: follower.elector.leader == leader.name)

        began = time.monotonic()
        await leader.stack.aclose()
        assert await follower.elector.elected() == 2

        assert time.monotonic() - began < CALM.renew_deadline, "it waited for the lease to expire"
        assert not leader.elector.is_leader
        assert leader.lost == 0
    assert "holderIdentity" not in (await lease(control_plane, k8s_namespace))["spec"]


async def test_a_frozen_leader_is_replaced_and_knows_it_when_it_wakes(control_plane, k8s_namespace):
    frozen_user = f"frozen-{uuid4().hex[:8]}"
    frozen = Replica(control_plane.user(frozen_user, MASTERS), k8s_namespace, "frozen", QUICK)
    process, thaw = ReplicaInAThread(frozen), threading.Event()
    process.start()
    await until(process.leads.is_set)
    async with Replica(control_plane.kubeconfig, k8s_namespace, "next", QUICK) as follower:
        await until(lambda: follower.elector.leader == frozen.name)
        process.freeze(thaw)
        began = time.monotonic()

        assert await follower.elector.elected() == 2

        assert time.monotonic() - began >= QUICK.lease_duration - QUICK.retry_period - 0.5
        mark = control_plane.audit_position()
        thaw.set()
        await until(lambda: frozen.lost)
        process.end()
        assert process.leading_when_it_woke is False
        assert frozen.lost == 1
        assert follower.elector.is_leader
        assert (await lease(control_plane, k8s_namespace))["spec"]["holderIdentity"] == follower.name
        assert control_plane.audit_events(user=frozen_user, verbs=audit.WRITES, since=mark) == []


async def test_an_api_server_that_is_down_for_less_than_the_renew_deadline_keeps_the_leader(new_control_plane):
    plane = new_control_plane(bare=True)
    # Long, since nobody knows how long an API server takes to start on a busy machine; the unit tests have the brief.
    times = LeaseTimes(lease_duration=150, renew_deadline=120.0, retry_period=0.5)
    async with Replica(plane.kubeconfig, "default", "a", times) as leader:
        assert await leader.elector.elected() == 1
        async with Replica(plane.kubeconfig, "default", "b", times) as follower:
            await asyncio.to_thread(plane.kill, "kube-apiserver")
            await asyncio.sleep(3)
            await asyncio.to_thread(plane.start, "kube-apiserver")
            await renewed(plane, "default")

            assert leader.elector.is_leader
            assert not follower.elector.is_leader
            assert leader.lost == 0
            assert (await lease(plane, "default"))["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_leader_gives_up_once_when_the_api_server_is_away_for_too_long(new_control_plane, fault):
    plane = new_control_plane(bare=True)
    async with Replica(plane.kubeconfig, "default", "a", QUICK) as leader:
        await leader.elector.elected()
        await asyncio.to_thread(getattr(plane, fault), "kube-apiserver")
        await until(lambda: leader.lost)
        assert not leader.elector.is_leader
        await asyncio.to_thread(plane.start if fault == "kill" else plane.resume, "kube-apiserver")
        await asyncio.sleep(1)

        assert leader.lost == 1
        assert not leader.elector.is_leader, "an elector never stands twice"
        async with Replica(plane.kubeconfig, "default", "b", QUICK) as next_one:
            assert await next_one.elector.elected() == 2


async def test_an_elector_without_rights_waits_for_them_and_needs_no_more(control_plane, k8s_namespace, caplog):
    await run_kubectl(control_plane, "create", "serviceaccount", "elector", "-n", k8s_namespace)
    kubeconfig = await asyncio.to_thread(control_plane.service_account, k8s_namespace, "elector")
    async with Replica(kubeconfig, k8s_namespace, "a") as replica:
        await until(lambda: "forbidden" in caplog.text)
        await run_kubectl(control_plane, "apply", "-n", k8s_namespace, "-f", "-", input=RIGHTS)

        assert await replica.elector.elected() == 1
        await renewed(control_plane, k8s_namespace)
        assert replica.elector.is_leader
    assert "holderIdentity" not in (await lease(control_plane, k8s_namespace))["spec"]


async def test_what_others_wrote_on_the_lease_stays(control_plane, k8s_namespace):
    async with Replica(control_plane.kubeconfig, k8s_namespace, "a", CALM) as replica:
        await replica.elector.elected()
        await run_kubectl(control_plane, "label", "lease", LEASE, "-n", k8s_namespace, "team=platform")
        await renewed(control_plane, k8s_namespace)

        assert replica.elector.is_leader
    assert (await lease(control_plane, k8s_namespace))["metadata"]["labels"] == {"team": "platform"}


async def test_a_deleted_lease_is_made_again_and_its_epoch_can_be_raised(control_plane, k8s_namespace):
    async with Replica(control_plane.kubeconfig, k8s_namespace, "a", CALM) as replica:
        await replica.elector.elected()
        assert await replica.elector.raise_epoch(above=40) == 41
        await run_kubectl(control_plane, "delete", "lease", LEASE, "-n", k8s_namespace)
        await until(lambda: run_kubectl(control_plane, "get", "leases", "-n", k8s_namespace, "-o", "name"))

        assert (await lease(control_plane, k8s_namespace))["spec"]["leaseTransitions"] == 41
        assert replica.elector.is_leader


async def test_of_many_replicas_exactly_one_leads(control_plane, k8s_namespace):
    replicas = [Replica(control_plane.kubeconfig, k8s_namespace, f"r{number}", QUICK) for number in range(8)]
    async with contextlib.AsyncExitStack() as stack:
        for each in replicas:
            await stack.enter_async_context(each)
        for epoch in range(1, 5):
            leader = await the_leader(*replicas)
            assert leader.elector.epoch == epoch
            assert [each for each in replicas if each.elector.is_leader] == [leader]
            await leader.stack.aclose()
            replicas.remove(leader)
