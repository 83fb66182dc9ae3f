"""The command line of each component: a pure function of the layout."""

from __future__ import annotations

from controlplane.layout import NODE_ADDRESS, Layout

SERVICES = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
# Certificates say who is who: (user, group).
IDENTITIES = {
    "kube-controller-manager": ("system:kube-controller-manager", "system:kube-controller-manager"),
    "kube-scheduler": ("system:kube-scheduler", "system:kube-scheduler"),
}
API_SERVER_NAMES = (
    *("DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"),
    *("IP:127.0.0.1", f"IP:{NODE_ADDRESS}", f"IP:{FIRST_SERVICE}"),
)


def arguments(layout: Layout, component: str) -> list[str]:
    """Return the arguments of a component of the control plane.

    Raises:
        KeyError: there is no such component.
    """
    return {
        "etcd": etcd,
        "kube-apiserver": api_server,
        "kube-controller-manager": controller_manager,
        "kube-scheduler": scheduler,
    }[component](layout)


def etcd(layout: Layout) -> list[str]:
    """Without fsync: a test's data need not survive the machine."""
    peer = f"http://127.0.0.1:{layout.peer_port}"
    return [
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls={layout.etcd}",
        f"--advertise-client-urls={layout.etcd}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout) -> list[str]:
    """With the authorizers and admission plugins of a usual cluster; the caller's flags come last, so they win."""
    keys = layout.certificates
    return [
        f"--etcd-servers={layout.etcd}",
        f"--bind-address={layout.host}",
        f"--secure-port={layout.api_port}",
        f"--advertise-address={NODE_ADDRESS}",  # it may not be a loopback address, even where nobody will use it
        f"--service-cluster-ip-range={SERVICES}",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--tls-cert-file={keys / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={keys / 'kube-apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys / 'service-account.pub'}",
        f"--service-account-signing-key-file={keys / 'service-account.key'}",
        f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
        *audit_flags(layout),
        *layout.api_server_flags,
    ]


def audit_flags(layout: Layout) -> list[str]:
    """Each request is in the log when it is answered; the log is one file, however long."""
    if not layout.audit:
        return []
    return [
        f"--audit-policy-file={layout.directory / 'audit-policy.yaml'}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-maxsize=10000",
    ]


def controller_manager(layout: Layout) -> list[str]:
    """With a service account for each controller, as in production; without waiting for a lease."""
    keys = layout.certificates
    return [
        *client_flags(layout, "kube-controller-manager"),
        f"--service-account-private-key-file={keys / 'service-account.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        "--use-service-account-credentials",
        f"--service-cluster-ip-range={SERVICES}",
        "--controllers=*,-node-ipam-controller",  # with a node its pods' addresses come from CNI alone
        "--node-monitor-grace-period=5m",  # a node that cannot report while the API server is away is not dead
        "--kube-api-qps=200",  # the default of 20 makes a namespace with many objects slow to delete
        "--kube-api-burst=400",
    ]


def scheduler(layout: Layout) -> list[str]:
    """The default scheduler."""
    return client_flags(layout, "kube-scheduler")


def client_flags(layout: Layout, component: str) -> list[str]:
    """What every client of the API server needs; its own port is closed."""
    kubeconfig = layout.kubeconfig(component)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
    ]
