"""The main job on a real node: images, manifests, two resources, memories; restarts, a failover, and the end.

Each test finds two operators and MemoryNamespace team-a/research with two API processes, or makes it so.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from installation import steady_client
from installation.cluster import MANIFESTS, OPERATOR, SYSTEM, Cluster, kill_pod
from installation.manifests import BINDING, NAME, TEAM, client_pod
from installation.pod_postgres import query
from kube import eventually

from memory_operator.local.postgres_server import PostgresServer

API = "app.kubernetes.io/component=api"
REPLICA = "app.kubernetes.io/name=memory-operator"
OURS = ("-l", "app.kubernetes.io/managed-by=memory-operator", "-o", "name")
SENTENCE = "the orchard behind the school is watered on Tuesdays"
TAKEOVER_SECONDS = 20.0
# Of all tenants; the operator's own ledger stays, for claims of data that a policy Retain has left behind.
LEFT_OVER = """
select 'schema ' || nspname from pg_namespace where nspname like 'mem\\_%'
union all select 'role ' || rolname from pg_roles where rolname like 'mem\\_%'
union all select 'claim ' || tenant from memory_operator.tenants
"""
Note = Callable[[str], None]


def test_a_memory_stored_inside_is_recalled_inside_and_outside(memories: Cluster) -> None:
    service = f"--url http://{NAME}-api.{TEAM}.svc:9595 --token-file {BINDING}/token"
    store = f"""soma store {service} --coord 1,2 --payload '{{"text": "{SENTENCE}"}}'"""
    recall = f"soma recall {service} --output json when is the orchard watered"

    said = run(memories, "neighbour", f"{store} >/dev/null && {recall}")

    assert said["matches"][0]["payload"]["text"] == SENTENCE
    with memories.forwarded(f"service/{NAME}-api", TEAM, 9595) as url:
        question = {"query": "when is the orchard watered"}
        answer = httpx.post(f"{url}/recall", json=question, headers=bearer(memories), trust_env=False, timeout=30)
        assert answer.raise_for_status().json()["matches"][0]["payload"]["text"] == SENTENCE
        assert httpx.post(f"{url}/recall", json=question, trust_env=False).status_code == 401
    logged = memories.kubectl("-n", SYSTEM, "logs", "-l", REPLICA, "--tail=-1").splitlines()
    assert [line for line in logged if '"level": "error"' in line or '"level": "critical"' in line] == []


def test_an_edit_restarts_every_process_without_a_failed_request(memories: Cluster, steady: Steady, note: Note) -> None:
    before = set(memories.pods(TEAM, API))

    edit_log_level(memories)

    eventually(lambda: not before & set(memories.pods(TEAM, API)), 120, lambda: "no new pods")
    memories.rolled_out(f"deployment/{NAME}-api", TEAM)
    eventually(lambda: len(memories.get("pods", TEAM, "-l", API)["items"]) == 2, 60, lambda: "old pods stay")
    steady.goes_on(50)
    assert steady.progress["failures"] == []
    note(f"rolling restart: {2 * steady.progress['acknowledged']} requests meanwhile, none failed")


def test_a_deleted_pod_costs_no_request(memories: Cluster, steady: Steady) -> None:
    """As when a node is drained."""
    victim = min(memories.pods(TEAM, API))

    memories.kubectl("-n", TEAM, "delete", "pod", victim)

    memories.rolled_out(f"deployment/{NAME}-api", TEAM)
    steady.goes_on(50)
    assert steady.progress["failures"] == []


def test_a_killed_process_loses_nothing_that_was_acknowledged(
    memories: Cluster, steady: Steady, postgres: PostgresServer, note: Note
) -> None:
    """Requests fail until the Service no longer names the pod; sent again with the same key they succeed."""
    victim = min(memories.pods(TEAM, API))

    kill_pod(memories.pods(TEAM, API)[victim])

    eventually(lambda: restarts(memories, victim), 60, lambda: "the kubelet does not restart it")
    memories.wait("condition=Ready", f"pod/{victim}", TEAM)
    steady.goes_on(50)
    progress = steady.progress
    assert not [each for each in progress["failures"] if "not recalled" in each]
    note(
        f"killed API process: {len(progress['failures'])} of {2 * progress['acknowledged']} requests had to be repeated"
    )
    schema = memories.get(f"memns/{NAME}", TEAM)["status"]["external"]["postgres"]["schema"]
    (stored,) = query(postgres, f"select count(*) from {schema}.memories where coord[1] = {progress['run']}")
    assert stored >= progress["acknowledged"]


def test_another_replica_takes_over_from_a_killed_leader(memories: Cluster, note: Note) -> None:
    memories.rolled_out(OPERATOR, SYSTEM)
    victim = eventually(lambda: memories.leader() or None, 60, lambda: "nobody leads")

    began = time.monotonic()
    kill_pod(memories.pods(SYSTEM, REPLICA)[victim])
    memories.kubectl("-n", SYSTEM, "delete", "pod", victim, "--grace-period=0", "--force")
    generation = edit_log_level(memories)

    eventually(lambda: memories.leader() not in {"", victim}, 60, lambda: "nobody takes over", every=0.2)
    took = time.monotonic() - began
    memories.wait(f"jsonpath={{.status.observedGeneration}}={generation}", f"memns/{NAME}", TEAM)
    acknowledged = time.monotonic() - began
    note(f"killed leader: takeover after {took:.1f} s, an edit acknowledged after {acknowledged:.1f} s")
    assert took <= TAKEOVER_SECONDS
    memories.wait("condition=Ready", f"memns/{NAME}", TEAM)


def test_a_leader_that_is_told_to_stop_hands_over_at_once(memories: Cluster) -> None:
    memories.rolled_out(OPERATOR, SYSTEM)
    victim = eventually(lambda: memories.leader() or None, 60, lambda: "nobody leads")

    memories.kubectl("-n", SYSTEM, "delete", "pod", victim, "--wait=false")

    # Less than a Lease lasts, so it must have been released.
    eventually(lambda: memories.leader() not in {"", victim}, 10, lambda: "nobody takes over", every=0.2)


def test_deleting_everything_leaves_nothing(memories: Cluster, postgres: PostgresServer) -> None:
    kinds = "deployments,replicasets,pods,services,configmaps,secrets,serviceaccounts,pdb,networkpolicies,hpa"
    assert memories.kubectl("-n", TEAM, "get", kinds, *OURS)

    for kind in ("memns", "memc"):
        memories.kubectl("delete", kind, "--all", "--all-namespaces")
    eventually(lambda: memories.kubectl("-n", TEAM, "get", kinds, *OURS) == "", 60, lambda: "children stay")
    memories.kubectl("delete", *MANIFESTS)

    everything = memories.kubectl("get", "crds,clusterroles,clusterrolebindings,namespaces", "-o", "name")
    assert [each for each in everything.splitlines() if "memory" in each] == []
    assert query(postgres, LEFT_OVER) == []


class Steady:
    """The client that runs in a pod."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def progress(self) -> dict[str, Any]:
        """What it has said last."""
        lines = self._cluster.kubectl("-n", TEAM, "logs", "steady", "--tail=1", check=False).splitlines()
        progress: dict[str, Any] = json.loads(lines[-1]) if lines else {"acknowledged": 0, "failures": []}
        return progress

    def goes_on(self, rounds: int) -> None:
        """Wait for so many rounds more."""
        goal = self.progress["acknowledged"] + rounds
        eventually(
            lambda: self.progress["acknowledged"] >= goal, 60, lambda: f"stands still: {self.progress}", every=0.5
        )


@pytest.fixture
def steady(memories: Cluster) -> Iterator[Steady]:
    """A client in the cluster that stores and recalls all the time."""
    script = Path(steady_client.__file__)
    in_team = ("-n", TEAM)
    memories.kubectl(*in_team, "create", "configmap", "steady", f"--from-file={script}")
    try:
        memories.apply(client_pod("steady", ["python", f"/script/{script.name}", BINDING], script="steady"))
        client = Steady(memories)
        client.goes_on(20)
        yield client
    finally:
        memories.kubectl(*in_team, "delete", "pod/steady", "configmap/steady", "--ignore-not-found")


def run(cluster: Cluster, name: str, command: str) -> Any:
    """Run a shell command in a pod of its own; return the JSON that it prints."""
    cluster.apply(client_pod(name, ["sh", "-ec", command]))
    try:
        cluster.wait("jsonpath={.status.phase}=Succeeded", f"pod/{name}", TEAM, 60)
        return json.loads(cluster.kubectl("-n", TEAM, "logs", name))
    finally:
        cluster.kubectl("-n", TEAM, "delete", f"pod/{name}")


def bearer(cluster: Cluster) -> dict[str, str]:
    token = base64.b64decode(cluster.get(f"secret/{NAME}-binding", TEAM)["data"]["token"]).decode()
    return {"Authorization": f"Bearer {token}"}


def edit_log_level(cluster: Cluster) -> int:
    """Change how much the processes log, which replaces them all; return the generation."""
    now = cluster.get(f"configmap/{NAME}-api", TEAM)["data"].get("SOMA_LOG_LEVEL", "info")
    patch = {"spec": {"api": {"logLevel": "info" if now == "warning" else "warning"}}}
    cluster.kubectl("-n", TEAM, "patch", f"memns/{NAME}", "--type=merge", f"--patch={json.dumps(patch)}")
    return int(cluster.get(f"memns/{NAME}", TEAM)["metadata"]["generation"])


def restarts(cluster: Cluster, pod: str) -> int:
    return int(cluster.get(f"pod/{pod}", TEAM)["status"]["containerStatuses"][0]["restartCount"])
