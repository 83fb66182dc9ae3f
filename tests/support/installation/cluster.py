"""A cluster with a node, used as its administrator uses it: by kubectl."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controlplane import remains
from controlplane.kubectl import find, kubectl
from controlplane.plane import ControlPlane

from memory_operator.local.processes import tethered

ROOT = Path(__file__).parents[3]
SYSTEM = "memory-system"
OPERATOR = "deployment/memory-operator"
MANIFESTS = ("-f", str(ROOT / "crds"), "-f", str(ROOT / "manifests"))
WAIT_SECONDS = 120.0


class Cluster:
    """Runs kubectl; `tell` says what the cluster looks like when something is not as expected."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True, seconds: float = 200.0) -> str:
        """Return what kubectl prints; a failure is an AssertionError with its words."""
        return kubectl(self.plane.kubeconfig, *arguments, input=input, check=check, seconds=seconds).stdout

    def apply(self, manifests: str) -> None:
        """Apply YAML."""
        self.kubectl("apply", "-f", "-", input=manifests)

    def get(self, what: str, namespace: str, *arguments: str) -> dict[str, Any]:
        """Return an object, or a list of objects."""
        found: dict[str, Any] = json.loads(self.kubectl("-n", namespace, "get", what, *arguments, "-o", "json"))
        return found

    def wait(self, condition: str, what: str, namespace: str, seconds: float = WAIT_SECONDS) -> None:
        """Run ``kubectl wait --for=condition``."""
        self.kubectl("-n", namespace, "wait", f"--for={condition}", what, f"--timeout={seconds:.0f}s")

    def rolled_out(self, deployment: str, namespace: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until all pods of a Deployment are those of its present template."""
        self.kubectl("-n", namespace, "rollout", "status", deployment, f"--timeout={seconds:.0f}s")

    def install(self) -> None:
        """Do what the documentation says; harmless when it is done already."""
        self.kubectl("apply", *MANIFESTS)
        self.rolled_out(OPERATOR, SYSTEM)

    def pods(self, namespace: str, selector: str) -> dict[str, dict[str, Any]]:
        """Return the pods that are not being deleted, by name."""
        items = self.get("pods", namespace, "-l", selector)["items"]
        return {each["metadata"]["name"]: each for each in items if "deletionTimestamp" not in each["metadata"]}

    def leader(self) -> str:
        """Return the pod that leads, by the Lease; empty when none does."""
        holder = self.kubectl("-n", SYSTEM, "get", "lease/memory-operator", "-o=jsonpath={.spec.holderIdentity}")
        return holder.rpartition("-")[0]

    @contextmanager
    def forwarded(self, service: str, namespace: str, port: int) -> Iterator[str]:
        """Forward a free port of this machine to a Service, as a person does; the value is its URL."""
        command = [str(find()), "-n", namespace, "port-forward", service, f":{port}"]
        environment = {**os.environ, "KUBECONFIG": str(self.plane.kubeconfig)}
        with subprocess.Popen(
            tethered(command, signal.SIGKILL), env=environment, stdout=subprocess.PIPE, text=True
        ) as forwarding:
            try:
                assert forwarding.stdout
                yield f"http://{forwarding.stdout.readline().split()[2]}"  # Forwarding from 127.0.0.1:40000 -> 9595
            finally:
                forwarding.terminate()

    def tell(self) -> str:
        """Return pods, conditions, events and the operator's last words."""
        questions = (
            ("get", "pods,memc,memns", "-A", "-o", "wide"),
            (
                "get",
                "memns",
                "-A",
                "-o=jsonpath={range .items[*].status.conditions[*]}{.type}={.status} {.message}\n{end}",
            ),
            ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            ("-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=memory-operator", "--tail=40", "--prefix"),
        )
        return "\n\n".join(self.kubectl(*each, check=False)[-6000:] for each in questions)


def kill_pod(pod: dict[str, Any]) -> None:
    """SIGKILL the processes of a pod's containers, as the kernel does when memory runs out."""
    uid = pod["metadata"]["uid"]
    killed = set()
    for group in remains.CGROUPS.rglob(f"pod{uid}*"):
        for file in group.rglob("cgroup.procs"):
            killed |= {pid for pid in map(int, file.read_text("ascii").split()) if _program(pid) != "/pause"}
    assert killed, f"pod {pod['metadata']['name']} has no processes"
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    return ""
