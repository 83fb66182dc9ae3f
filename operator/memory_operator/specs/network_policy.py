"""The NetworkPolicy: who reaches the API's pods, and what they reach.

Limits, which are those of NetworkPolicy itself:

- A policy knows addresses and pods, no host names. To a backend named by host the port is open to every address; one
  named by address is reached at that address only.
- It is applied to the address of the pod or server, after a Service has been resolved. A backend must be given by name
  or by an address of its own, not by the ClusterIP of a Service; and its Service must have the port of its pods.
- DNS is let through to pods labelled ``k8s-app: kube-dns`` and to the node-local cache, on port 53.
- A scraper of ``/metrics`` in another namespace is a peer like any other: name it in ``spec.networkPolicy.allowFrom``.
  Probes come from the node, which network plug-ins let through.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from memory_contracts.v1alpha1 import MemoryClusterSpec
from memory_operator.specs.labels import API_COMPONENT, Manifest, build_metadata, selector_labels
from memory_operator.specs.tenant import Tenant

DNS_PORTS: Final = ({"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53})
# Where NodeLocal DNSCache listens unless told otherwise; it uses the node's network, so no pod selector finds it.
NODE_LOCAL_DNS: Final = "169.254.20.10/32"


def build_network_policy(tenant: Tenant) -> Manifest:
    """Return the policy of ``mode: Strict``: what it does not name is refused, in both directions."""
    names = tenant.names
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": build_metadata(tenant.namespace, names.api, API_COMPONENT),
        "spec": {
            "podSelector": {"matchLabels": selector_labels(names, API_COMPONENT)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [_callers(tenant)],
            "egress": [_dns(), *(_server(host, port) for host, port in backends(tenant.cluster.spec))],
        },
    }


def backends(cluster: MemoryClusterSpec) -> list[tuple[str, int]]:
    """Return host and port of the backends that an API process connects to: Postgres, and no other so far."""
    server = cluster.postgres.external
    return [(server.host, server.port)]


def _callers(tenant: Tenant) -> Manifest:
    further = tenant.namespace.spec.network_policy.allow_from
    return {
        "from": [{"podSelector": {}}, *(peer.model_dump(by_alias=True, exclude_none=True) for peer in further)],
        "ports": [{"protocol": "TCP", "port": tenant.listen.port}],
    }


def _dns() -> Manifest:
    pods = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    return {"to": [pods, {"ipBlock": {"cidr": NODE_LOCAL_DNS}}], "ports": [dict(each) for each in DNS_PORTS]}


def _server(host: str, port: int) -> Manifest:
    ports = [{"protocol": "TCP", "port": port}]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return {"ports": ports}
    return {"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], "ports": ports}
