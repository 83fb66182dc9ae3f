"""Events on a real API server: what kubectl shows, series, terminating namespaces, rights, outages."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from controlplane.kubectl import kubectl
from controlplane.plane import ControlPlane
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from polling import until

from memory_contracts.conditions import Condition, ConditionStatus, ConditionType, Reason
from memory_operator.controller.correlator import Event, ObjectReference
from memory_operator.controller.event_api import KubernetesEventApi
from memory_operator.controller.recorder import Recorder
from memory_operator.controller.rest import RestClient

CONTROLLER = "example.org/operator"

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: recorder}
rules:
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: recorder}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: recorder}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: USER}]
"""


@contextlib.asynccontextmanager
async def recording(kubeconfig: Path, results: Counter[str], host: str = "") -> AsyncIterator[Recorder]:
    settings = Configuration()
    await config.load_kube_config(str(kubeconfig), None, settings)
    settings.host = host or settings.host
    async with RestClient(settings) as client:
        api = KubernetesEventApi(client, controller=CONTROLLER, instance="pod-1")
        async with Recorder(api, count=lambda result: results.update([result])) as recorder:
            yield recorder


@pytest.fixture
def results() -> Counter[str]:
    return Counter()


async def run_kubectl(plane: ControlPlane, *arguments: str, **options: str) -> str:
    return (await asyncio.to_thread(kubectl, plane.kubeconfig, *arguments, **options)).stdout


async def events(plane: ControlPlane, namespace: str) -> list[dict]:
    """In order of their reasons; those of other reporters left out."""
    found = json.loads(await run_kubectl(plane, "get", "events.events.k8s.io", "-n", namespace, "-o", "json"))["items"]
    return sorted(
        (each for each in found if each["reportingController"] == CONTROLLER), key=lambda each: each["reason"]
    )


@pytest.fixture
async def notes(control_plane, k8s_namespace) -> ObjectReference:
    """An object that Events can be about."""
    created = await run_kubectl(
        control_plane, "create", "configmap", "notes", "-n", k8s_namespace, "-o", "json", "--from-literal=a=b"
    )
    return ObjectReference("v1", "ConfigMap", k8s_namespace, "notes", json.loads(created)["metadata"]["uid"])


def schema(status: ConditionStatus, reason: Reason, message: str) -> Condition:
    return Condition(type=ConditionType.SCHEMA_READY, status=status, reason=reason, message=message)


async def test_a_transition_is_what_kubectl_describe_shows(control_plane, k8s_namespace, notes, results):
    up = schema(ConditionStatus.TRUE, Reason.PROVISIONED, "schema mem_a is up to date")
    down = schema(ConditionStatus.UNKNOWN, Reason.BACKEND_UNAVAILABLE, "db:5432 does not answer in time")
    async with recording(control_plane.kubeconfig, results) as recorder:
        for before, after in (([down], [up]), ([up], [up]), ([up], [down])):
            recorder.record_transitions(notes, before, after)

    assert results == {"created": 2}
    lost, found = await events(control_plane, k8s_namespace)
    assert (found["type"], found["reason"], found["note"]) == (
        "Normal",
        "Provisioned",
        "SchemaReady is True: schema mem_a is up to date",
    )
    assert (lost["type"], lost["reason"]) == ("Warning", "BackendUnavailable")
    assert lost["regarding"]["uid"] == notes.uid
    assert lost["reportingInstance"] == "pod-1"
    assert "series" not in lost
    described = await run_kubectl(control_plane, "describe", "configmap", "notes", "-n", k8s_namespace)
    assert "SchemaReady is Unknown: db:5432 does not answer in time" in described


async def test_repetitions_are_one_event_with_a_count(control_plane, k8s_namespace, notes, results):
    async with recording(control_plane.kubeconfig, results) as recorder:
        for _ in range(5):
            recorder.record(Event(notes, "Blocked", "schema mem_a is another's", warning=True))

    assert results == {"created": 1, "repeated": 4}
    (only,) = await events(control_plane, k8s_namespace)
    assert only["series"]["count"] == 5
    assert only["series"]["lastObservedTime"] >= only["eventTime"]


async def test_an_event_that_has_expired_is_written_anew(control_plane, k8s_namespace, notes, results):
    blocked = Event(notes, "Blocked", "schema mem_a is another's", warning=True)
    async with recording(control_plane.kubeconfig, results) as recorder:
        recorder.record(blocked)
        await until(lambda: results["created"])
        await run_kubectl(control_plane, "delete", "events.events.k8s.io", "--all", "-n", k8s_namespace)
        recorder.record(blocked)
        recorder.record(blocked)

    (only,) = await events(control_plane, k8s_namespace)
    assert only["series"]["count"] == 2


async def test_any_message_is_accepted(control_plane, k8s_namespace, notes, results):
    async with recording(control_plane.kubeconfig, results) as recorder:
        recorder.record(Event(notes, "Blocked", "größer als erlaubt 漢字 " * 500))

    assert results == {"created": 1}
    assert (await events(control_plane, k8s_namespace))[0]["note"].endswith("…")


async def test_a_namespace_that_is_terminating_refuses_events_and_nobody_minds(control_plane, notes, results):
    namespace = f"ending-{uuid4().hex[:8]}"
    await run_kubectl(control_plane, "create", "namespace", namespace)
    # What a finalizer holds keeps the namespace terminating.
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.org/held"]}}
    await run_kubectl(control_plane, "create", "-n", namespace, "-f", "-", input=json.dumps(held))
    await run_kubectl(control_plane, "delete", "namespace", namespace, "--wait=false")
    try:
        about = ObjectReference("v1", "ConfigMap", namespace, "held", str(uuid4()))
        async with recording(control_plane.kubeconfig, results) as recorder:
            for _ in range(3):
                recorder.record(Event(about, "Terminating", "waits for the consumers to end"))
            recorder.record(Event(notes, "Provisioned", "is there"))

        assert results == {"refused": 3, "created": 1}
    finally:
        release = '[{"op": "remove", "path": "/metadata/finalizers"}]'
        await run_kubectl(control_plane, "patch", "cm", "held", "-n", namespace, "--type=json", "-p", release)


async def test_the_rights_that_it_needs_are_these(control_plane, k8s_namespace, notes, results):
    user = f"recorder-{uuid4().hex[:8]}"
    kubeconfig, blocked = control_plane.user(user), Event(notes, "Blocked", "schema mem_a is another's")
    async with recording(kubeconfig, results) as recorder:
        recorder.record(blocked)
        await until(lambda: results["refused"])
        await run_kubectl(control_plane, "apply", "-n", k8s_namespace, "-f", "-", input=RIGHTS.replace("USER", user))

        async def accepted() -> int:
            recorder.record(blocked)
            return results["repeated"]

        await until(accepted, every=0.3)

    assert results["created"] == 1


async def test_an_api_server_that_is_away_costs_events_and_no_time(control_plane, notes, results):
    async with recording(control_plane.kubeconfig, results, host="https://127.0.0.1:1") as recorder:
        began = asyncio.get_running_loop().time()
        for number in range(2000):
            recorder.record(Event(notes, "Blocked", str(number)))
        assert asyncio.get_running_loop().time() - began < 5.0

    assert results["dropped"] >= 1990
    assert results.total() >= 1999  # one may have been under way
