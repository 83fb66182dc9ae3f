"""The real node that cluster tests stand on: pods run, Services answer, and the machine is as before afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from controlplane import network
from controlplane import node as real_node
from controlplane.archive import static_program, write_archive
from controlplane.kubectl import kubectl
from controlplane.layout import NODE_ADDRESS
from controlplane.plane import ControlPlane
from kubernetes_fixtures import promised

# `/web` serves its one page on port 8080; `/web ADDRESS` prints what port 80 there serves.
WEB = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *page = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
static const char *request = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";

static int fetch(const char *address) {
  char text[4096];
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
  int peer = socket(AF_INET, SOCK_STREAM, 0);
  inet_pton(AF_INET, address, &to.sin_addr);
  if (connect(peer, (struct sockaddr *)&to, sizeof to)) return perror("connect"), 1;
  write(peer, request, strlen(request));
  for (ssize_t n; (n = read(peer, text, sizeof text)) > 0;) write(1, text, n);
  return 0;
}

int main(int count, char **arguments) {
  if (count > 1) return fetch(arguments[1]);
  char text[4096];
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8080)};
  int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 64)) return perror("listen"), 1;
  for (;;) {
    int peer = accept(server, 0, 0);
    read(peer, text, sizeof text);
    write(peer, page, strlen(page));
    close(peer);
  }
}
"""
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: localhost/web:1
          imagePullPolicy: IfNotPresent
          command: [/web]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          resources: {limits: {memory: 32Mi, cpu: 100m}}
          securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      terminationGracePeriodSeconds: 1
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for a plane with a node, where that is possible; its name is short, as a node's sockets need it."""
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        directory = Path(folder) / "plane"
        with promised("a test on a real node"):
            real_node.ensure_possible(directory)
        yield directory


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.1)
    return value


def machine(directory: Path) -> dict[str, object]:
    """What a node could leave behind."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    commands = [each.read_text("utf-8") for each in Path("/proc").glob("[0-9]*/cmdline") if each.exists()]
    return {
        "rules": sorted(
            line for line in network.run("iptables-save").splitlines() if line.startswith("-") or "KUBE" in line
        ),
        "interfaces": sorted(each.name for each in Path("/sys/class/net").iterdir()),
        "namespaces": sorted(Path("/run/netns").glob("*")),
        "groups": sorted(Path("/sys/fs/cgroup").glob("**/kubepods")),
        "mounts": sorted(each for each in mounts if Path(each).is_relative_to(directory)),
        "processes": sorted(each for each in commands if str(directory) in each and "guard" not in each),
        "loopback routing": Path("/proc/sys/net/ipv4/conf/all/route_localnet").read_text("ascii"),
    }


def ask_dns(name: str) -> str:
    """Return the address that the cluster's DNS gives for a name (RFC 1035: one question, one answer)."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
        dns.settimeout(5)
        dns.sendto(query, (NODE_ADDRESS, 53))
        return socket.inet_ntoa(dns.recv(512)[-4:])


def test_pods_run_answer_through_a_service_and_leave_no_trace(place: Path) -> None:
    before = machine(place)
    with ControlPlane(place) as plane:
        plane.up(node=True)
        program = static_program(WEB, place / "web")
        plane.load(write_archive(place / "web.tar", "localhost/web:1", [program], "/web"))
        here = (plane.kubeconfig, "-n", "default")
        kubectl(*here, "apply", "-f", "-", input=MANIFEST)
        kubectl(*here, "wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
        address, port = kubectl(
            *here, "get", "service", "web", "-o=jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}"
        ).stdout.split()
        inside = ("exec", "deployment/web", "--", "/web", address)
        # Until the node knows the Service, its address is anybody's.
        assert eventually(lambda: kubectl(*here, *inside, check=False).stdout.endswith("hello"))
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text == "hello"
        assert ask_dns("web.default.svc.cluster.local") == address

        plane.down()
        assert machine(place) == before
        plane.up()
        kubectl(*here, "wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
        assert eventually(lambda: kubectl(*here, *inside, check=False).stdout.endswith("hello"))
    assert machine(place) == before
    assert not place.exists()


def test_a_killed_test_run_leaves_no_trace_of_its_node(place: Path) -> None:
    before = machine(place)
    script = f"""\
import pathlib, time
from controlplane.kubectl import kubectl
from controlplane.plane import ControlPlane
with ControlPlane(pathlib.Path({str(place)!r})) as plane:
    plane.up(node=True)
    kubectl(plane.kubeconfig, "run", "idle", "--image=localhost/pause:1", "--image-pull-policy=IfNotPresent")
    kubectl(plane.kubeconfig, "wait", "--for=condition=Ready", "pod/idle", "--timeout=60s")
    print("ready", flush=True)
    time.sleep(600)
"""
    support = str(Path(network.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": support}, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        assert machine(place) != before
        run.send_signal(signal.SIGKILL)
    eventually(lambda: not place.exists())
    assert machine(place) == before
