"""The NetworkPolicy: who comes in, what is reached, and nothing else."""

import pytest
from tenants import LISTEN, workload


def policy(**wanted):
    return workload(**wanted).network_policy["spec"]


def test_both_directions_are_closed_but_for_what_is_named():
    assert policy()["policyTypes"] == ["Ingress", "Egress"]


def test_pods_of_the_same_kubernetes_namespace_reach_the_api_and_only_the_api():
    (rule,) = policy()["ingress"]

    assert rule["from"] == [{"podSelector": {}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": LISTEN.port}]


PEERS = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    {"podSelector": {}, "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
]


@pytest.mark.parametrize("peer", PEERS, ids=["namespace", "pods of namespaces", "addresses"])
def test_further_peers_are_let_in_as_they_were_written(peer):
    (rule,) = policy(networkPolicy={"allowFrom": [peer]})["ingress"]

    assert rule["from"] == [{"podSelector": {}}, peer]


def test_names_can_be_resolved():
    dns = policy()["egress"][0]

    assert {"protocol": "UDP", "port": 53} in dns["ports"]
    assert {"protocol": "TCP", "port": 53} in dns["ports"]
    assert {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}} in dns["to"]


@pytest.mark.parametrize(
    ("host", "to"),
    [
        ("10.0.0.5", [{"ipBlock": {"cidr": "10.0.0.5/32"}}]),
        ("fd00::1", [{"ipBlock": {"cidr": "fd00::1/128"}}]),
        ("FD00:0::1", [{"ipBlock": {"cidr": "fd00::1/128"}}]),
        ("db.example.com", None),
        ("postgres.data.svc", None),
    ],
)
def test_postgres_is_reached_at_its_address_or_where_only_a_name_is_known_at_its_port(host, to):
    server = policy(host=host)["egress"][1]

    assert server["ports"] == [{"protocol": "TCP", "port": 5432}]
    assert server.get("to") == to


def test_nothing_but_dns_and_postgres_is_reached():
    assert len(policy()["egress"]) == 2
