"""The API server away, etcd slow, and what nobody was told: deletions in the gap of an expired watch."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from controlplane.binaries import CONTROLLERS
from controlplane.fake_kubelet import FakeKubelet
from controlplane.plane import ControlPlane
from faults import DELETE, HEAL_SECONDS, SYSTEM, WATCH, Case, kubernetes_namespace, new_case, secret, twin
from kube import Kube, eventually
from kubernetes_fixtures import promised
from operator_process import OperatorProcess, running

from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE

ROOT = Path(__file__).parents[2]

# What the leader can do without: renew deadline and retry period of the lease.
LEASE_SECONDS = 12.0


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of these tests' own, for its parts need a minute to come to themselves again."""
    with ControlPlane(tmp_path_factory.mktemp("kubernetes") / "plane") as plane:
        with promised("a test on a real Kubernetes API"):
            plane.up()
            plane.require(*CONTROLLERS)
        with FakeKubelet(plane):
            yield plane


@pytest.fixture(scope="module")
def kube(plane: ControlPlane) -> Iterator[Kube]:
    with plane.client() as client:
        admin = Kube(client, plane.kubeconfig)
        for file in (
            *sorted(ROOT.glob("crds/*.yaml")),
            ROOT / "manifests/namespace.yaml",
            ROOT / "manifests/rbac.yaml",
        ):
            admin.apply(file.read_text("utf-8"), manager="installer")
        for kind in (MEMORY_CLUSTER, MEMORY_NAMESPACE):
            eventually(lambda kind=kind: client.get(kind.path()).is_success, 20, lambda kind=kind: kind.plural)
        yield admin


@pytest.fixture(scope="module")
def operator(kube: Kube, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    account = plane.service_account(SYSTEM, "memory-operator")
    with running(OperatorProcess(account, tmp_path_factory.mktemp("operator") / "operator.log")) as process:
        yield process


@pytest.fixture(scope="module")
def home(kube: Kube, backends, operator) -> Iterator[Case]:
    """A case that is Ready; `twin` makes others on the same MemoryCluster."""
    with kubernetes_namespace(kube, "apiserver") as name:
        case = new_case(kube, name, "home", backends).apply()
        case.wait()
        yield case


@pytest.fixture(scope="module")
def bystander(home: Case) -> Case:
    """A case that nobody touches."""
    case = twin(home, "bystander")
    case.apply_tenant()
    case.wait()
    case.wait("Synced")
    return case


@contextmanager
def away(plane: ControlPlane) -> Iterator[None]:
    """Take the API server away."""
    plane.kill("kube-apiserver")
    try:
        yield
    finally:
        plane.start("kube-apiserver")


@contextmanager
def unmoved(case: Case, operator: OperatorProcess) -> Iterator[None]:
    """Fail when Ready, however shortly, was anything but True, or the operator is another process afterwards."""
    before, pid = since_when_ready(case), operator.pid
    yield
    assert since_when_ready(case) == before
    assert (operator.ended, operator.pid) == (None, pid)


def since_when_ready(case: Case) -> str:
    conditions = case.kube.conditions("MemoryNamespace", case.namespace, case.name)
    assert conditions["Ready"]["status"] == "True"
    return str(conditions["Ready"]["lastTransitionTime"])


def log_level(case: Case) -> str:
    return str(case.child("ConfigMap")["data"].get("SOMA_LOG_LEVEL"))


def test_what_was_deleted_in_the_gap_of_a_watch_is_found(home, bystander, kube, plane, operator):
    """Deleted in etcd while the API server is away, and the history dropped: no watch can ever tell of it."""
    lost, robbed = twin(home, "lost"), twin(home, "robbed")
    lost.apply_tenant(deletion=DELETE)
    kube.apply(secret("robbed-token", home.namespace, WATCH, token="t" * 32))
    robbed.apply_tenant(api={"auth": {"tokenSecretRef": {"name": "robbed-token"}}})
    for case in (lost, robbed):
        case.wait()
        case.wait("Synced")
    before = robbed.child("Deployment")["metadata"]["uid"]

    with unmoved(bystander, operator):
        with away(plane):
            for path in ("deployments/{}/robbed-api", "configmaps/{}/robbed-api", "secrets/{}/robbed-token"):
                delete_from_etcd(plane, path.format(home.namespace))
            delete_from_etcd(plane, f"memory.somafractal.io/memorynamespaces/{home.namespace}/lost")
            plane.compact()

        robbed.wait("CredentialsReady", "False", reason="SecretNotFound", seconds=HEAL_SECONDS)
        kube.apply(secret("robbed-token", home.namespace, WATCH, token="u" * 32))
        for kind in ("ConfigMap", "Deployment"):
            eventually(lambda kind=kind: robbed.child(kind) is not None, HEAL_SECONDS, lambda kind=kind: kind)
        eventually(lambda: total(home) == 3, HEAL_SECONDS, lambda: f"{total(home)} namespaces are counted")
    assert robbed.child("Deployment")["metadata"]["uid"] != before
    # Who takes the name next finds what was left, or nothing, but is never in anybody's way.
    lost.apply_tenant(deletion=DELETE)
    lost.wait(seconds=HEAL_SECONDS)


def total(case: Case) -> int:
    found = case.kube.get("MemoryCluster", SYSTEM, case.name)
    assert found
    return int(found["status"]["namespaces"]["total"])


def delete_from_etcd(plane: ControlPlane, path: str) -> None:
    key = base64.b64encode(f"/registry/{path}".encode()).decode()
    with httpx.Client(base_url=plane.layout.etcd, trust_env=False, timeout=30) as etcd:
        answer = etcd.post("/v3/kv/deleterange", json={"key": key}).raise_for_status()
    assert answer.json().get("deleted") == "1", path


def test_a_short_absence_of_the_api_server_is_survived_and_leaves_no_trace(home, bystander, plane, operator):
    alive = []
    with unmoved(bystander, operator):
        with away(plane):
            end = time.monotonic() + LEASE_SECONDS / 4
            while time.monotonic() < end:
                alive.append(operator.get("/healthz").status_code)
                time.sleep(0.3)
        home.edit(api={"logLevel": "warning"})

        eventually(lambda: log_level(home) == "warning", HEAL_SECONDS)
    assert set(alive) == {200}


def test_a_slow_etcd_makes_all_slower_and_nothing_wrong(home, bystander, plane, operator):
    new = twin(home, "in-slow-motion")
    with unmoved(bystander, operator), plane.slowed("etcd", frozen=0.9, running=0.05):
        new.apply_tenant()
        home.kube.delete("Service", home.namespace, "home-api")
        home.edit(api={"logLevel": "error"})

        eventually(lambda: log_level(home) == "error", HEAL_SECONDS)
        eventually(lambda: home.child("Service") is not None, HEAL_SECONDS)
        eventually(lambda: new.child("Deployment") is not None, HEAL_SECONDS)


def test_after_a_minute_without_it_the_next_process_takes_over_and_leaves_no_trace(home, bystander, plane, operator):
    """Who cannot renew the lease must stop; the kubelet starts a process, which waits until there is an API again."""
    before = since_when_ready(bystander)
    with away(plane):
        back_at = time.monotonic() + 60
        eventually(lambda: operator.ended is not None, 3 * LEASE_SECONDS, lambda: "it goes on without a lease")
        assert operator.ended == 1
        operator.start(wait=False)
        eventually(lambda: operator.events("health.listening") or None, 30)
        time.sleep(max(1, back_at - time.monotonic()))
        alive = operator.get("/healthz").status_code
        assert operator.ended is None, operator.log.read_text()[-2000:]
    home.edit(api={"logLevel": "debug"})

    eventually(lambda: log_level(home) == "debug", HEAL_SECONDS)
    assert alive == 200
    assert operator.ended is None
    assert since_when_ready(bystander) == before
