"""A second Kubernetes with an operator of its own, on the same four servers as the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.plane import ControlPlane
from kube import Kube, Object, eventually
from kubernetes_fixtures import promised
from operator_process import OperatorProcess, running

ROOT = Path(__file__).parents[2]
SYSTEM = "memory-system"
ACCOUNT = "memory-operator"


@dataclass(frozen=True)
class SecondCluster:
    """What a test uses of it."""

    plane: ControlPlane
    kube: Kube
    operator: OperatorProcess


@contextmanager
def second_cluster(directory: Path, first: Kube) -> Iterator[SecondCluster]:
    """Bring it up with the MemoryCluster ``default`` of the first. It has no controllers, so no pod ever runs there."""
    with ControlPlane(directory / "plane") as plane, promised("a test with two Kubernetes clusters"):
        plane.up(bare=True)
        with plane.client() as client:
            kube = Kube(client, plane.kubeconfig)
            install(kube)
            kube.apply(memory_cluster_of(first))
            process = OperatorProcess(plane.service_account(SYSTEM, ACCOUNT), directory / "operator.log")
            with running(process):
                yield SecondCluster(plane, kube, process)


def install(kube: Kube) -> None:
    """Install CRDs, namespace and rights as a user would."""
    files = [
        *sorted((ROOT / "crds").glob("*.yaml")),
        *(ROOT / "manifests" / name for name in ("namespace.yaml", "rbac.yaml")),
    ]
    for file in files:
        kube.apply(file.read_text("utf-8"), manager="installer")
    for plural in ("memoryclusters", "memorynamespaces"):
        path = f"/apis/memory.somafractal.io/v1alpha1/{plural}"
        eventually(lambda path=path: kube.client.get(path).status_code == 200, 20)


def memory_cluster_of(kube: Kube, name: str = "default") -> list[Object]:
    """Return a MemoryCluster and its Secrets, to be applied elsewhere."""
    cluster = kube.get("MemoryCluster", SYSTEM, name)
    secrets = [each for each in kube.list("Secret", SYSTEM) if each["type"] == "Opaque"]
    assert cluster
    copies = [_copy(each, "data") | {"apiVersion": "v1", "kind": "Secret"} for each in secrets]
    return [*copies, _copy(cluster, "spec") | {"apiVersion": cluster["apiVersion"], "kind": cluster["kind"]}]


def _copy(found: Object, content: str) -> Object:
    metadata = {key: found["metadata"][key] for key in ("namespace", "name")}
    return {"metadata": metadata, content: found[content]}
