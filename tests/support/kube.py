"""What a user of the cluster does, in a few words: apply, get, edit, delete, wait for a condition."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from memory_operator.kube.kinds import (
    CHILD_KINDS,
    ENDPOINT_SLICE,
    MEMORY_CLUSTER,
    MEMORY_NAMESPACE,
    NAMESPACE,
    Kind,
)

WAIT_SECONDS = 60.0
KINDS = {kind.kind: kind for kind in (*CHILD_KINDS, ENDPOINT_SLICE, MEMORY_CLUSTER, MEMORY_NAMESPACE, NAMESPACE)}
Object = dict[str, Any]


class Kube:
    """A user with an HTTP client of the API server. Kinds are given by name, objects as dictionaries or YAML."""

    def __init__(self, client: httpx.Client, kubeconfig: Path) -> None:
        self.client = client
        self.kubeconfig = kubeconfig

    def apply(self, manifests: str | Object | list[Object], *, manager: str = "user") -> None:
        """Server-side apply; fails with the server's sentence."""
        documents = yaml.safe_load_all(manifests) if isinstance(manifests, str) else manifests
        for manifest in [documents] if isinstance(documents, dict) else documents:
            self.try_apply(manifest, manager=manager).raise_for_status()

    def try_apply(self, manifest: Object, *, manager: str = "user") -> httpx.Response:
        """Server-side apply; return the answer, whatever it is."""
        path = _path(manifest["kind"], manifest["apiVersion"], manifest["metadata"])
        answer = self.client.patch(
            path,
            params={"fieldManager": manager, "force": "true", "fieldValidation": "Strict"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=json.dumps(manifest),
        )
        if answer.is_error:
            answer.extensions["sentence"] = answer.json()["message"]
        return answer

    def create(self, manifest: Object) -> httpx.Response:
        """Create; return the answer."""
        path = _path(manifest["kind"], manifest["apiVersion"], manifest["metadata"])
        return self.client.post(path.rpartition("/")[0], json=manifest)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return the object, or None."""
        answer = self.client.get(KINDS[kind].path(namespace, name))
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def list(self, kind: str, namespace: str) -> list[Object]:
        """Return all objects of a kind in a namespace."""
        return list(self.client.get(KINDS[kind].path(namespace)).raise_for_status().json()["items"])

    def edit(self, kind: str, namespace: str, name: str, patch: Mapping[str, Any]) -> httpx.Response:
        """Change fields (RFC 7386 merge patch); return the answer."""
        return self.client.patch(
            KINDS[kind].path(namespace, name),
            headers={"Content-Type": "application/merge-patch+json"},
            content=json.dumps(patch),
        )

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Begin to delete."""
        answer = self.client.delete(KINDS[kind].path(namespace, name))
        assert answer.status_code in (200, 202, 404), answer.text

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """Return the values of a Secret."""
        found = self.get("Secret", namespace, name)
        assert found, f"there is no Secret {namespace}/{name}"
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def conditions(self, kind: str, namespace: str, name: str) -> dict[str, Object]:
        """Return the conditions by type; empty when there are none."""
        found = self.get(kind, namespace, name) or {}
        return {each["type"]: each for each in found.get("status", {}).get("conditions", ())}

    def wait(
        self,
        kind: str,
        namespace: str,
        name: str,
        condition: str = "Ready",
        status: str = "True",
        *,
        reason: str | None = None,
        seconds: float = WAIT_SECONDS,
    ) -> Object:
        """Wait until the condition is so for the present generation; return it."""

        def so() -> Object | None:
            found = self.get(kind, namespace, name) or {}
            now = self.conditions(kind, namespace, name).get(condition)
            current = now and now["observedGeneration"] == found["metadata"]["generation"]
            matches = now and now["status"] == status and reason in (None, now["reason"])
            return now if current and matches else None

        return eventually(so, seconds, lambda: f"{condition}={status}: {self.conditions(kind, namespace, name)}")

    def wait_gone(self, kind: str, namespace: str, name: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until there is no such object."""
        eventually(
            lambda: self.get(kind, namespace, name) is None or None,
            seconds,
            lambda: f"{kind} {name} stays: {self.get(kind, namespace, name)}",
        )


def eventually(
    check: Callable[[], Any], seconds: float = WAIT_SECONDS, tell: Callable[[], str] = lambda: "it", every: float = 0.05
) -> Any:
    """Return the first result of `check` that is neither None nor False; fail with what `tell` says.

    What `check` looks into may not be written yet: a part that is missing (LookupError, or TypeError of None) is "not
    yet", and the reason of the failure if it stays so.
    """
    deadline = time.monotonic() + seconds
    while True:
        missing: Exception | None = None
        try:
            if (result := check()) is not None and result is not False:
                return result
        except (LookupError, TypeError) as error:
            missing = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds:g} s: {tell()}") from missing
        time.sleep(every)


def _path(kind: str, api_version: str, metadata: Mapping[str, Any]) -> str:
    known = KINDS.get(kind) or Kind(api_version, kind, _plural(kind), namespaced="namespace" in metadata)
    return known.path(metadata.get("namespace"), metadata["name"])


def _plural(kind: str) -> str:
    return kind.lower() + "s" if not kind.endswith("y") else kind.lower()[:-1] + "ies"
