"""The control plane that other tests stand on: it is real, its faults are real, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from controlplane import audit, binaries, network
from controlplane.access import answer, connect, write_kubeconfig
from controlplane.fake_kubelet import FakeKubelet
from controlplane.kubectl import kubectl
from controlplane.missing import Missing
from controlplane.plane import ControlPlane
from controlplane.pod_status import Behaviour
from controlplane.readiness import PlaneFailed
from kubernetes_fixtures import promised

SUPPORT = Path(binaries.__file__).parents[1]
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
READERS = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: readers}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: readers}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers+writers}]
"""


def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)
    return value


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"key": "value"}}


def maps_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_kubectl_reads_back_what_it_applied(control_plane: ControlPlane, k8s_namespace: str) -> None:
    kubectl(control_plane.kubeconfig, "create", "configmap", "kept", "--from-literal=key=value", "-n", k8s_namespace)
    found = kubectl(
        control_plane.kubeconfig, "get", "configmap", "kept", "-n", k8s_namespace, "-o=jsonpath={.data.key}"
    )
    assert found.stdout == "value"


def test_a_new_user_may_only_do_what_rbac_grants(control_plane: ControlPlane, k8s_namespace: str) -> None:
    alice = control_plane.user("alice/admin", ["readers+writers"])
    with control_plane.client(alice) as client:
        refused = client.get(maps_of(k8s_namespace))
        assert refused.status_code == httpx.codes.FORBIDDEN
        assert 'User "alice/admin" cannot list' in refused.json()["message"]
        kubectl(control_plane.kubeconfig, "apply", "-n", k8s_namespace, "-f", "-", input=READERS)
        eventually(lambda: client.get(maps_of(k8s_namespace)).is_success)
        assert client.post(maps_of(k8s_namespace), json=config_map("no")).status_code == httpx.codes.FORBIDDEN


def test_a_service_account_logs_in_with_its_token(control_plane: ControlPlane, k8s_namespace: str) -> None:
    with promised("a test with service accounts"):
        control_plane.require("kube-controller-manager")
    with control_plane.client() as admin:
        eventually(lambda: admin.get(f"/api/v1/namespaces/{k8s_namespace}/serviceaccounts/default").is_success)
    kubeconfig = control_plane.service_account(k8s_namespace, "default")
    who = kubectl(kubeconfig, "auth", "whoami", "-o=jsonpath={.status.userInfo.username}")
    assert who.stdout == f"system:serviceaccount:{k8s_namespace}:default"


def test_the_audit_log_names_who_wrote_and_who_only_read(control_plane: ControlPlane, k8s_namespace: str) -> None:
    reader = control_plane.user("reader", ["system:masters"])
    begin = control_plane.audit_position()
    with control_plane.client(reader) as client, control_plane.client() as admin:
        answer(client.get(maps_of(k8s_namespace)))
        answer(admin.post(maps_of(k8s_namespace), json=config_map("written")))
    writes = eventually(lambda: control_plane.audit_events(user="admin", since=begin))
    assert [(each.verb, each.resource, each.namespace, each.code) for each in writes] == [
        ("create", "configmaps", k8s_namespace, 201)
    ]
    assert control_plane.audit_events(user="reader", since=begin) == []
    reads = control_plane.audit_events(user="reader", verbs=audit.READS, since=begin)
    assert [(each.verb, each.resource) for each in reads] == [("list", "configmaps")]


def test_the_audit_log_tells_of_one_who_could_not_prove_to_be_anybody(
    control_plane: ControlPlane, k8s_namespace: str, tmp_path: Path
) -> None:
    begin = control_plane.audit_position()
    authority = control_plane.layout.certificates / "ca.crt"
    with connect(write_kubeconfig(tmp_path / "nobody", control_plane.server, authority, {"token": "none"})) as nobody:
        assert nobody.get(maps_of(k8s_namespace)).status_code == httpx.codes.UNAUTHORIZED
    recorded = eventually(lambda: control_plane.audit_events(user="", verbs=audit.READS, since=begin))
    assert [(each.verb, each.resource, each.code) for each in recorded] == [("list", "configmaps", 401)]


def test_deployments_live_and_fall_ill_on_a_fake_node(
    control_plane: ControlPlane, k8s_namespace: str, fake_kubelet: FakeKubelet
) -> None:
    here = (control_plane.kubeconfig, "-n", k8s_namespace)
    kubectl(*here, "apply", "-f", "-", input=DEPLOYMENT)
    kubectl(*here, "wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    slices = ("get", "endpointslices", "-l", "kubernetes.io/service-name=web")
    ready = (*slices, "-o=jsonpath={.items[*].endpoints[*].conditions.ready}")
    eventually(lambda: kubectl(*here, *ready).stdout == "true true")
    fake_kubelet.behave(Behaviour.CRASH_LOOPING, k8s_namespace, {"app": "web"})
    kubectl(*here, "wait", "--for=condition=Available=False", "deployment/web", "--timeout=30s")
    assert "CrashLoopBackOff" in kubectl(*here, "get", "pods").stdout
    fake_kubelet.reset()
    kubectl(*here, "wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    kubectl(*here, "delete", "deployment", "web")
    eventually(lambda: not kubectl(*here, "get", "pods", "-o=name").stdout)


def test_faults_of_a_plane_of_ones_own(new_control_plane: Callable[..., ControlPlane]) -> None:
    """One plane for four faults, since each costs seconds to start."""
    plane = new_control_plane(bare=True, api_server_flags=["--watch-cache=false"])
    with plane.client() as client:
        old = answer(client.post(maps_of("default"), json=config_map("kept")))["metadata"]["resourceVersion"]

        plane.kill("kube-apiserver")
        with pytest.raises(httpx.ConnectError):
            client.get("/readyz")
        plane.start("kube-apiserver")
        assert answer(client.get(f"{maps_of('default')}/kept"))["data"] == {"key": "value"}

        plane.pause("etcd")
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"{maps_of('default')}/kept", timeout=0.5)
        plane.resume("etcd")
        assert eventually(lambda: client.get(f"{maps_of('default')}/kept").is_success)

        with plane.slowed("etcd"):
            assert answer(client.get(f"{maps_of('default')}/kept"))["data"] == {"key": "value"}

        plane.compact()
        gone = client.get(maps_of("default"), params={"resourceVersion": old, "resourceVersionMatch": "Exact"})
        assert gone.status_code == httpx.codes.GONE


def processes_in(directory: Path) -> list[str]:
    def place(entry: Path) -> Path:
        try:
            return (entry / "cwd").readlink()
        except OSError:
            return Path("/")

    return [each.name for each in Path("/proc").glob("[0-9]*") if place(each).is_relative_to(directory)]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_killed_test_run_leaves_no_process_port_or_directory(tmp_path: Path, control_plane: ControlPlane) -> None:
    directory = tmp_path / "plane"
    script = f"""\
import pathlib, time
from controlplane.plane import ControlPlane
with ControlPlane(pathlib.Path({str(directory)!r})) as plane:
    plane.up(bare=True)
    print(plane.layout.api_port, plane.layout.etcd_port, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        ports = [int(port) for port in run.stdout.readline().split()]
        assert [answers(port) for port in ports] == [True, True]
        run.send_signal(signal.SIGKILL)
    assert eventually(lambda: not directory.exists())
    assert processes_in(directory) == []
    # A process that was killed has no directory any more a moment before its sockets close.
    assert eventually(lambda: not any(answers(port) for port in ports))


def test_a_plane_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, control_plane: ControlPlane) -> None:
    directory = tmp_path / "plane"
    with ControlPlane(directory) as plane, pytest.raises(PlaneFailed, match="unknown flag: --no-such-flag"):
        plane.up(bare=True, api_server_flags=["--no-such-flag"])
    assert not directory.exists()
    assert processes_in(directory) == []


def test_without_go_and_cache_the_missing_part_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMA_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(Missing, match=r"there is no etcd: install Go 1.24 or newer"):
        binaries.locate(binaries.ESSENTIAL)


def test_assets_of_envtest_are_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(Missing, match="holds no etcd and no kube-apiserver"):
        binaries.locate(binaries.ESSENTIAL)
    for name in binaries.ESSENTIAL:
        (tmp_path / name).touch()
    assert set(binaries.locate((*binaries.ESSENTIAL, *binaries.CONTROLLERS))) == set(binaries.ESSENTIAL)


def test_a_node_takes_only_its_own_firewall_rules_along() -> None:
    saved = """\
*nat
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -s 10.244.0.0/24 -m comment --comment memory-test-node -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-1
COMMIT
"""
    assert network.undo(saved) == [
        '-D POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-D POSTROUTING -s 10.244.0.0/24 -m comment --comment memory-test-node -j MASQUERADE",
        "-F KUBE-SERVICES",
        "-X KUBE-SERVICES",
    ]
