"""The rendered CRDs on a real API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest
from controlplane.access import answer
from controlplane.kubectl import kubectl
from controlplane.plane import ControlPlane

CRDS = Path(__file__).parents[3] / "crds"
Kubectl = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> ControlPlane:
    """The session's control plane with both CRDs, as they are in the repository."""
    kubectl(control_plane.kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    kubectl(control_plane.kubeconfig, "wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    return control_plane


@pytest.fixture(scope="session")
def api(crds: ControlPlane) -> Iterator[httpx.Client]:
    """An administrator's client of the API server."""
    with crds.client() as client:
        yield client


@pytest.fixture
def run(crds: ControlPlane, k8s_namespace: str) -> Kubectl:
    """kubectl as an administrator, in the test's namespace."""

    def call(*arguments: str, **choices: Any) -> CompletedProcess[str]:
        return kubectl(crds.kubeconfig, "--namespace", k8s_namespace, *arguments, **choices)

    return call


class Objects:
    """Both kinds in one Kubernetes namespace; nothing is created for good unless asked for."""

    def __init__(self, client: httpx.Client, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    def create(self, document: dict[str, Any], *, keep: bool = False) -> httpx.Response:
        """POST the document as a strict client does."""
        return self._client.post(self._path(document), params=self._params(keep), json=self._placed(document))

    def replace(self, existing: dict[str, Any], document: dict[str, Any]) -> httpx.Response:
        """PUT the document over the object that exists, without keeping it."""
        version = {"resourceVersion": existing["metadata"]["resourceVersion"]}
        placed = self._placed(document)
        placed["metadata"] |= version
        return self._client.put(self._path(document, named=True), params=self._params(keep=False), json=placed)

    def apply_status(self, document: dict[str, Any], manager: str) -> dict[str, Any]:
        """Server-side apply of the status, as the manager named."""
        response = self._client.patch(
            f"{self._path(document, named=True)}/status",
            params={"fieldManager": manager},
            headers={"Content-Type": "application/apply-patch+yaml"},
            json=self._placed(document),
        )
        found: dict[str, Any] = answer(response)
        return found

    def read(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the object as it is now."""
        found: dict[str, Any] = answer(self._client.get(self._path(document, named=True)))
        return found

    def _placed(self, document: dict[str, Any]) -> dict[str, Any]:
        return document | {"metadata": {**document["metadata"], "namespace": self.namespace}}

    def _path(self, document: dict[str, Any], *, named: bool = False) -> str:
        plural = f"{document['kind'].lower()}s"
        path = f"/apis/{document['apiVersion']}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{document['metadata']['name']}" if named else path

    def _params(self, keep: bool) -> dict[str, str]:
        return {"fieldValidation": "Strict"} | ({} if keep else {"dryRun": "All"})


@pytest.fixture(scope="session")
def trial(api: httpx.Client) -> Objects:
    """For what is only tried: nothing that it creates is kept."""
    return Objects(api, "default")


@pytest.fixture
def objects(api: httpx.Client, k8s_namespace: str) -> Objects:
    """Creates, changes and reads both kinds in the test's namespace."""
    return Objects(api, k8s_namespace)
