"""What is made once for a plane: its layout, certificates and kubeconfigs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from controlplane import audit, binaries, components
from controlplane import node as real_node
from controlplane.access import write_kubeconfig
from controlplane.certificates import Authority
from controlplane.layout import Layout, free_ports

ADMIN = "admin"


def create(directory: Path, *, node: bool, with_audit: bool, bare: bool, api_server_flags: Iterable[str]) -> Layout:
    """Make everything but processes; the administrator's kubeconfig comes last, so it says that all is there.

    Raises:
        Missing: a program is not here and cannot be made here.
    """
    present = binaries.locate((*binaries.ESSENTIAL, *(() if bare else binaries.CONTROLLERS)))
    if node:
        real_node.ensure_possible(directory)
    parts = (*present, *(real_node.COMPONENTS if node else ()))
    layout = Layout(directory, parts, node, with_audit, tuple(api_server_flags), *free_ports(4))
    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.save()
    (directory / "audit-policy.yaml").write_text(audit.POLICY, "utf-8")
    certify(layout)
    return layout


def certify(layout: Layout) -> None:
    """Make the authority, the API server's certificate and everyone's identity."""
    authority = Authority(layout.certificates)
    authority.create()
    authority.issue("kube-apiserver", "kube-apiserver", alternatives=components.API_SERVER_NAMES)
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
    others = {**components.IDENTITIES, **(real_node.IDENTITIES if layout.node else {})}
    for name, (user, group) in others.items():
        identify(layout, name, user, [group])
    identify(layout, ADMIN, ADMIN, ["system:masters"])


def identify(layout: Layout, name: str, user: str, groups: Iterable[str]) -> Path:
    """Return the kubeconfig `name` of a user whose certificate is made now."""
    authority = Authority(layout.certificates)
    authority.issue(name, user, groups)
    certificate, key = (authority.folder / f"{name}{suffix}" for suffix in (".crt", ".key"))
    entry = {"client-certificate": str(certificate), "client-key": str(key)}
    return write_kubeconfig(layout.kubeconfig(name), layout.server, authority.certificate, entry)
