"""One call to the Kubernetes API over its official asyncio client, without typed models: JSON in, JSON out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected, Unavailable
from memory_operator.controller.metrics import kubernetes_request

REQUEST_SECONDS = 10.0
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7386
NO_ANSWER = "none"

# Statuses of the API server, or of what stands before it, after which the same request may succeed.
_TRY_LATER = (HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


async def call(
    client: ApiClient,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    kind: str,
    content_type: str = JSON,
    seconds: float = REQUEST_SECONDS,
) -> dict[str, Any]:
    """Return the object that the API answers with; `kind` is for the metrics.

    Raises `NotFound` (404), `Conflict` (409, 410), `Rejected` (will not be accepted), `Unavailable` (later perhaps).
    """
    try:
        async with asyncio.timeout(seconds):
            status, text = await _exchange(client, method, path, body, content_type)
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        kubernetes_request(method, kind, NO_ANSWER)
        why = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(error) or repr(error)
        raise Unavailable(f"{method} {path} at the API server: {why}") from error
    kubernetes_request(method, kind, str(status))
    found = _object(text)
    if found is None or not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        said = (found or {}).get("message") or f"the answer was {status} and no message of the API server"
        raise _meaning(status, f"{method} {path}: {said}")
    return found


async def _exchange(
    client: ApiClient, method: str, path: str, body: Mapping[str, Any] | None, content_type: str
) -> tuple[int, bytes]:
    headers = {"Accept": JSON, "Content-Type": content_type}
    _, url, headers, *_ = await client.param_serialize(
        method, path, header_params=headers, auth_settings=["BearerToken"]
    )
    # The body past the serializer, which would copy it in search of models and dates; there are none.
    response = await client.call_api(method, url, headers, body)
    # The client's own classes carry no types.
    return response.status, await response.read()  # type: ignore[no-untyped-call]


def _object(text: bytes) -> dict[str, Any] | None:
    """Return the object, or None when what answered is no API server but e.g. a proxy with a page."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _meaning(status: int, detail: str) -> PlatformError:
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotFound(detail)
        case HTTPStatus.CONFLICT | HTTPStatus.GONE:  # gone: what a listing continues from has been compacted
            return Conflict(detail)
        case _ if status in _TRY_LATER or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(detail)
        case _:
            return Rejected(detail)
