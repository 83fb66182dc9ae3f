"""The configuration of a node's components."""

from __future__ import annotations

import json
from pathlib import Path

from controlplane import network
from controlplane.layout import NODE_ADDRESS, Layout

CNI_NAME = "memory-test"
PAUSE_IMAGE = "localhost/pause:1"


def files(layout: Layout) -> dict[str, str]:
    """Return the configuration of containerd, its network, the kubelet and CoreDNS, by file name."""
    directory = layout.directory
    return {
        "containerd.toml": CONTAINERD.format(directory=directory, pause=PAUSE_IMAGE),
        "cni/10-memory-test.conflist": json.dumps(_pod_network(directory)),
        "kubelet.yaml": KUBELET.format(directory=directory, authority=layout.certificates / "ca.crt", dns=NODE_ADDRESS),
        "Corefile": COREFILE.format(kubeconfig=layout.kubeconfig("coredns"), address=NODE_ADDRESS),
    }


def _pod_network(directory: Path) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(directory / "addresses"),
        "ranges": [[{"subnet": network.PODS, "gateway": NODE_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": network.BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": CNI_NAME, "plugins": [bridge]}


# Everything that lives as long as the machine is up lies in containerd-run, network namespaces included, so that one
# sweep over one folder removes it.
CONTAINERD = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-run"
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{directory}/containerd-run/runc"
"""

KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{directory}/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
podLogsDir: {directory}/pod-logs
volumePluginDir: {directory}/volume-plugins
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {authority}}}
authorization: {{mode: Webhook}}
clusterDomain: cluster.local
clusterDNS: ["{dns}"]
evictionHard: {{memory.available: 50Mi}}
imageGCHighThresholdPercent: 100
enforceNodeAllocatable: []
resolvConf: /etc/resolv.conf
healthzPort: 0
syncFrequency: 10s
"""

COREFILE = """\
.:53 {{
    bind {address}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
    forward . /etc/resolv.conf
    cache 5
}}
"""
