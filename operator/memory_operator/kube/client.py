"""The API server as the reconcile uses it: get, list, apply, delete. Plain dictionaries, no models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, NotFound, Rejected
from memory_operator.controller.rest import JSON, MERGE_PATCH, RestClient, call
from memory_operator.keys import Key
from memory_operator.kube.in_flight import InFlight
from memory_operator.kube.kinds import Kind, kind_of
from memory_operator.providers.shapes import Permit, everything

Object: TypeAlias = dict[str, Any]

PAGE = 100  # the whole page is in memory at once
APPLY = "application/apply-patch+yaml"
# No object has it: etcd begins to count where it is empty.
NO_VERSION = "1"


class KubeClient:
    """One API server; `wrote` is told the kind and version of each object applied, `permit` asked before each change.

    Every method raises `Unavailable`, `Rejected` or `Conflict`.
    """

    def __init__(
        self,
        api: RestClient,
        wrote: Callable[[Kind, int], None] = lambda kind, version: None,
        permit: Permit = everything,
    ) -> None:
        self._api = api
        self._wrote = wrote
        self._permit = permit
        self.in_flight = InFlight()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return the object, or None when there is none."""
        try:
            return await self._call("GET", kind, kind.path(namespace, name))
        except NotFound:
            return None

    async def pages(self, kind: Kind, *, selector: str = "") -> AsyncIterator[tuple[list[Object], int]]:
        """Yield all objects with labels that match `selector`, page by page, with the version of the whole listing."""
        token = ""
        while True:
            query = {"limit": str(PAGE), "labelSelector": selector, "continue": token}
            page = await self._call("GET", kind, kind.path(), query)
            yield page["items"], int(page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def apply(
        self, manifest: Mapping[str, Any], manager: str, *, subresource: str = "", dry: bool = False
    ) -> Object:
        """Server-side apply with force: what the manifest says is so afterwards, what else there is stays.

        With ``metadata.uid`` in it a deleted object is not made again; that raises `Conflict`. `dry` only asks what
        would come of it.
        """
        kind, metadata = kind_of(dict(manifest)), manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"], subresource)
        # Unknown fields are refused in any case; to warn of double keys the server would parse all of it once more.
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Ignore", "dryRun": "All" if dry else ""}
        with self.in_flight.write(Key(kind.kind, metadata["namespace"], metadata["name"])):
            found = await self._call("PATCH", kind, path, query, manifest, APPLY)
        if not dry:
            self._wrote(kind, int(found["metadata"]["resourceVersion"]))
        return found

    async def create(self, manifest: Mapping[str, Any], manager: str) -> Object:
        """Server-side apply of what there must not be yet; raises `Conflict`, and changes nothing, when there is."""
        return await self.apply(
            {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": NO_VERSION}}, manager
        )

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]) -> Object:
        """Change fields (RFC 7386); one of them may be a resourceVersion, and a newer one raises `Conflict`."""
        return await self._call("PATCH", kind, kind.path(namespace, name), body=patch, content_type=MERGE_PATCH)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid; one that is gone, or is another by now, is left alone."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._call("DELETE", kind, kind.path(namespace, name), body=body)
        except (NotFound, Conflict):
            return

    async def _call(  # noqa: PLR0917 - a request
        self,
        method: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
    ) -> Object:
        permit = None if method == "GET" else self._permit
        if permit:
            permit()
        given = {name: value for name, value in (query or {}).items() if value}
        place = f"{path}?{urlencode(given)}" if given else path
        try:
            return await call(self._api, method, place, body, kind=kind.kind, content_type=content_type, permit=permit)
        except Rejected as error:
            if "exceeded quota" in error.detail:
                raise Rejected(error.detail, reason=Reason.QUOTA_EXCEEDED) from error
            raise
