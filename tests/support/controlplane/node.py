"""A real node on this machine: containerd, kubelet, kube-proxy and CoreDNS, for one plane at a time.

Pods get addresses of 10.244.0.0/24 on a bridge; Services, NodePorts (on 127.0.0.1 too) and cluster DNS work. Not there:
enforcement of NetworkPolicies, storage provisioning, a registry (images are loaded), a second node.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
from controlplane import binaries, network, packages, remains
from controlplane.archive import static_program, write_archive
from controlplane.claim import Claim
from controlplane.layout import NODE_ADDRESS, Layout
from controlplane.missing import Missing
from controlplane.node_files import CNI_NAME, PAUSE_IMAGE, files
from controlplane.processes import AT_ONCE, Processes

NAME = "node-1"
COMPONENTS = ("containerd", "kubelet", "kube-proxy", "coredns")
# Programs that components start and that outlive them.
HELPERS = ("containerd-shim-runc-v2",)
IDENTITIES = {
    "kubelet": (f"system:node:{NAME}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", "system:node-proxier"),
    "coredns": ("coredns", "system:masters"),
}
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
    "gcc": "gcc",
    "/usr/include/stdlib.h": "libc6-dev",
}
PAUSE = """\
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
static void stop(int number) { exit(0); }
int main(void) {
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  signal(SIGCHLD, SIG_IGN);
  for (;;) pause();
}
"""
# Names of Unix sockets end at 107 bytes; the longest is the kubelet's for a plugin.
LONGEST_DIRECTORY = 60
IMPORT_SECONDS = 300


def ensure_node_packages() -> None:
    """Make sure that the machine has what a node is made of.

    Raises:
        Missing: something is absent and may not be installed, or this is not root.
    """
    if os.geteuid() != 0:
        raise Missing("a node needs root: run the tests as root in a container or a machine of their own")
    packages.ensure("a node", PACKAGES)


def ensure_possible(directory: Path) -> None:
    """Find out before anything is started whether a node can live here, and get its programs."""
    if len(str(directory)) > LONGEST_DIRECTORY:
        raise ValueError(
            f"{directory} is too long a name for a node's sockets: use one of {LONGEST_DIRECTORY} characters"
        )
    if os.environ.get("KUBEBUILDER_ASSETS"):
        raise Missing("a node needs the kubelet, which KUBEBUILDER_ASSETS does not hold: unset it")
    ensure_node_packages()
    binaries.locate(binaries.NODE)


def prepare(layout: Layout) -> None:
    """Take the machine for this plane, write the components' files and make the network."""
    Claim(layout.directory).take(bury)
    if network.foreign_kubernetes() or remains.pods_present():
        Claim(layout.directory).release()
        raise Missing("another Kubernetes already has its pods or firewall rules on this machine: stop that one")
    for name, text in files(layout).items():
        target = layout.directory / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, "utf-8")
    network.prepare(layout.directory / "sysctl.json")


def bury(directory: Path) -> None:
    """Remove all that is left of a plane that died together with its owner and its guard."""
    processes = Processes(directory)
    for record in directory.glob("*.pid"):
        processes.stop(record.stem, AT_ONCE)
    processes.stop_strays({*binaries.ESSENTIAL, *binaries.CONTROLLERS, *COMPONENTS, *HELPERS})
    clear_machine(directory)


def clear_machine(directory: Path) -> None:
    """Remove what the node of this plane left, when all its components are stopped."""
    remains.kill_pods()
    remains.clear(directory / "containerd-run", CNI_NAME)
    network.clean(directory / "sysctl.json")


def remove(layout: Layout) -> None:
    """Remove what this node put into the machine, and let others have it."""
    claim = Claim(layout.directory)
    if claim.is_ours():
        clear_machine(layout.directory)
        claim.release()


def command(layout: Layout, component: str) -> list[str]:
    """Return the command of one of the node's components."""
    directory, kubeconfig = layout.directory, f"--kubeconfig={layout.kubeconfig(component)}"
    match component:
        case "containerd":
            return ["containerd", "--config", str(directory / "containerd.toml")]
        case "kubelet":
            own = [f"--config={directory / 'kubelet.yaml'}", f"--hostname-override={NAME}", f"--node-ip={NODE_ADDRESS}"]
            return [_program("kubelet"), kubeconfig, *own, f"--root-dir={directory / 'kubelet'}"]
        case "kube-proxy":
            return [_program("kube-proxy"), kubeconfig, *_proxy_flags(layout)]
        case "coredns":
            return [_program("coredns"), "-conf", str(directory / "Corefile")]
    raise ValueError(f"a node has no {component}")


def _program(name: str) -> str:
    return str(binaries.locate([name])[name])


def _proxy_flags(layout: Layout) -> list[str]:
    return [
        f"--hostname-override={NAME}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={network.PODS}",
        f"--nodeport-addresses=127.0.0.0/8,{network.PODS}",
        # Zero leaves the machine's limits as they are.
        *(
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ),
        "--oom-score-adj=0",
        f"--healthz-bind-address=127.0.0.1:{layout.proxy_port}",
        "--metrics-bind-address=",
    ]


def containerd_answers(layout: Layout) -> bool:
    """Whether containerd serves."""
    return subprocess.run(_ctr(layout, "version"), capture_output=True, timeout=30, check=False).returncode == 0


def is_ready(client: httpx.Client) -> bool:
    """Whether the node may get pods."""
    response = client.get(f"/api/v1/nodes/{NAME}")
    conditions = response.json()["status"].get("conditions", []) if response.is_success else []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def load_image(layout: Layout, archive: Path) -> None:
    """Import an archive of `docker save`."""
    if not layout.node:
        raise ValueError(f"the plane in {layout.directory} has no node that could take {archive}")
    done = subprocess.run(
        _ctr(layout, "--namespace=k8s.io", "images", "import", str(archive)),
        capture_output=True,
        text=True,
        timeout=IMPORT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"containerd refused {archive}: {done.stderr.strip()}")


def load_pause_image(layout: Layout) -> None:
    """Give containerd the image of the process that holds a pod's network."""
    program = static_program(PAUSE, layout.directory / "pause")
    load_image(layout, write_archive(layout.directory / "pause.tar", PAUSE_IMAGE, [program], "/pause"))


def _ctr(layout: Layout, *arguments: str) -> list[str]:
    return ["ctr", "--address", str(layout.directory / "containerd.sock"), *arguments]
