"""Pods without a node: what a kubelet would report, reported by a thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Any, Self

import httpx
from controlplane.access import Refused, answer
from controlplane.plane import ControlPlane
from controlplane.pod_status import Behaviour, Pod, report

MERGE = {"Content-Type": "application/merge-patch+json"}
HOST = "10.200.255.1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
READY = [{"type": "Ready", "status": "True", "reason": "Fake", "message": "a thread reports its pods"}]
# As long as it takes to notice the end; far shorter than the 40 s after which Kubernetes gives a silent node up.
ROUND_SECONDS = 1
RETRY_SECONDS = 0.2


class FakeKubelet:
    """Registers a Node and reports its pods as running, so that Deployments become available without a real node.

    Real are scheduling, ReplicaSets, EndpointSlices, disruption budgets and deletion: the plane's own controllers do
    them. Fake is everything that a machine does: no container is started, no image is looked at, no probe is sent, no
    volume is mounted (so a missing Secret goes unnoticed), and nobody answers on a pod's address. A pod is Ready the
    moment it is scheduled, and gone the moment it is deleted, without its grace period; `behave` says otherwise.
    It works with a node's own certificate and rights.
    """

    def __init__(self, plane: ControlPlane, name: str = "fake-node-1") -> None:
        self.name = name
        self._plane = plane
        self._mine = {"fieldSelector": f"spec.nodeName={name}"}
        self._rules: list[tuple[str, Mapping[str, str], Behaviour]] = []
        self._pods: dict[str, Pod] = {}
        self._reported: dict[str, Behaviour] = {}
        self._addresses: dict[str, str] = {}
        self._numbers = count(1)
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kubelet of {name}", daemon=True)

    def __enter__(self) -> Self:
        """Register the Node and start reporting."""
        self._client = self._plane.client(self._plane.user(f"system:node:{self.name}", ["system:nodes"]))
        self._register()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop reporting and remove the Node; its pods are then Kubernetes' to clear away."""
        self._ending.set()
        self._thread.join(ROUND_SECONDS + 5)
        self._client.close()
        with self._plane.client() as admin:
            admin.delete(f"/api/v1/nodes/{self.name}")

    def behave(self, behaviour: Behaviour, namespace: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Let the pods of a namespace (empty: of all) with these labels fare so, those there and those to come.

        A later call wins over an earlier one.
        """
        with self._lock:
            self._rules.append((namespace, dict(labels or {}), behaviour))
            self._play_all()

    def reset(self) -> None:
        """Forget what `behave` was told: every pod is Ready."""
        with self._lock:
            self._rules.clear()
            self._play_all()

    def _behaviour(self, pod: Pod) -> Behaviour:
        metadata = pod["metadata"]
        for namespace, labels, behaviour in reversed(self._rules):
            if namespace in {"", metadata["namespace"]} and labels.items() <= metadata.get("labels", {}).items():
                return behaviour
        return Behaviour.READY

    # The node.

    def _register(self) -> None:
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        resources = {"cpu": "1000", "memory": "4000Gi", "ephemeral-storage": "4000Gi", "pods": "10000"}
        status = {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [{"type": "InternalIP", "address": HOST}, {"type": "Hostname", "address": self.name}],
            "conditions": READY,
        }
        body = {"metadata": {"name": self.name, "labels": labels}}
        answer(self._client.post("/api/v1/nodes", json={"apiVersion": "v1", "kind": "Node", **body}))
        patch = json.dumps({"status": status})
        answer(self._client.patch(f"/api/v1/nodes/{self.name}/status", content=patch, headers=MERGE))

    def _beat(self) -> None:
        """Say that the node lives, as kubelets do, by its Lease."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {"spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now}}
        renewed = self._client.patch(f"{LEASES}/{self.name}", content=json.dumps(lease), headers=MERGE)
        if renewed.status_code == httpx.codes.NOT_FOUND:
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}}
            self._client.post(LEASES, json={**kind, **lease})
        # After a long absence of the API server Kubernetes has given the node up, and only the node can correct that.
        ready = json.dumps({"status": {"conditions": READY}})
        self._client.patch(f"/api/v1/nodes/{self.name}/status", content=ready, headers=MERGE)

    # Its pods.

    def _run(self) -> None:
        position = ""
        while not self._ending.is_set():
            try:
                self._beat()
                position = self._follow(position or self._relist())
            except (httpx.TransportError, Refused):  # the API server is away, or does not serve yet
                position = ""
                self._ending.wait(RETRY_SECONDS)

    def _relist(self) -> str:
        """Take in everything there is; the answer's position is where a watch goes on."""
        listed = answer(self._client.get("/api/v1/pods", params=self._mine))
        with self._lock:
            self._pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
            self._play_all()
        return str(listed["metadata"]["resourceVersion"])

    def _follow(self, position: str) -> str:
        """Take in what changes for a moment; return where to go on, or nothing when the position is too old."""
        watch = {"watch": "true", "resourceVersion": position, "timeoutSeconds": str(ROUND_SECONDS)}
        for event in self._events({**self._mine, **watch}):
            if event["type"] == "ERROR":
                return ""
            self._take(event["type"], event["object"])
            position = event["object"]["metadata"]["resourceVersion"]
        return position

    def _events(self, parameters: dict[str, str]) -> Iterator[dict[str, Any]]:
        with self._client.stream("GET", "/api/v1/pods", params=parameters) as response:
            if response.is_error:
                raise Refused(f"watching the pods of {self.name}: {response.status_code}")
            for line in response.iter_lines():
                yield json.loads(line)

    def _take(self, kind: str, pod: Pod) -> None:
        with self._lock:
            if kind == "DELETED":
                self._forget(pod["metadata"]["uid"])
            else:
                self._pods[pod["metadata"]["uid"]] = pod
                self._play(pod)

    def _forget(self, uid: str) -> None:
        for known in (self._pods, self._reported, self._addresses):
            known.pop(uid, None)

    def _play_all(self) -> None:
        for pod in list(self._pods.values()):
            self._play(pod)

    def _play(self, pod: Pod) -> None:
        metadata, behaviour = pod["metadata"], self._behaviour(pod)
        where = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        sure = {"uid": metadata["uid"]}
        if "deletionTimestamp" in metadata:
            at_once = json.dumps({"gracePeriodSeconds": 0, "preconditions": sure})
            self._client.request("DELETE", where, content=at_once, headers={"Content-Type": "application/json"})
        elif self._reported.get(metadata["uid"]) is not behaviour:
            status = report(pod, behaviour, self._address(metadata["uid"]), HOST)
            patch = json.dumps({"metadata": sure, "status": status})
            if self._client.patch(f"{where}/status", content=patch, headers=MERGE).is_success:
                self._reported[metadata["uid"]] = behaviour

    def _address(self, uid: str) -> str:
        """Return the pod's address: made up, and its alone."""
        if uid not in self._addresses:
            number = next(self._numbers)
            self._addresses[uid] = f"10.200.{number // 250 % 250}.{number % 250 + 1}"
        return self._addresses[uid]
