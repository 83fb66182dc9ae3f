"""One call to the Kubernetes API, without typed models: JSON in, JSON out.

The official client reads the login and keeps its token fresh; the requests go past it. It would copy each body in
search of models, and it could not look, when a connection is found, whether this process may still write.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from kubernetes.aio.client import ApiClient, Configuration

from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected, Unavailable
from memory_operator.controller.metrics import kubernetes_request

REQUEST_SECONDS = 10.0
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7386
NO_ANSWER = "none"
USER_AGENT = "memory-operator"

# Statuses of the API server, or of what stands before it, after which the same request may succeed.
_TRY_LATER = (HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
# Of a body that does not have the shape of its kind, server-side apply says this with a status of 500.
_MISSHAPEN = "failed to create typed patch object"


class RestClient:
    """Connections to the API server of `configuration`, inside ``async with``; none before the first request."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def __aenter__(self) -> Self:
        given = self._configuration
        tls = ApiClient(given).rest_client.ssl_context
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=given.connection_pool_maxsize, ssl=tls),
            headers={"Accept": JSON, "User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # each call has one for all of it
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def exchange(self, method: str, path: str, body: BytesPayload | None, content_type: str) -> tuple[int, bytes]:
        """Return status and body of the answer; raises as aiohttp does."""
        headers, given = {"Content-Type": content_type}, self._configuration
        if token := await given.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        async with self._session.request(
            method,
            given.host + path,
            data=body,
            headers=headers,
            proxy=given.proxy or None,
            proxy_headers=given.proxy_headers or None,
            server_hostname=given.tls_server_name or None,
        ) as answer:
            return answer.status, await answer.read()


async def call(
    client: RestClient,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    kind: str,
    content_type: str = JSON,
    seconds: float = REQUEST_SECONDS,
    permit: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Return the object that the API answers with; `kind` is for the metrics.

    `permit` raises when the body may not be sent; it is asked in the moment in which it would be. Raises `NotFound`
    (404), `Conflict` (409, 410), `Rejected` (will not be accepted), `Unavailable` (later perhaps).
    """
    payload = None if body is None else _Body(_encode(body), permit)
    try:
        async with asyncio.timeout(seconds):
            status, text = await client.exchange(method, path, payload, content_type)
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


class _Body(BytesPayload):
    """Looks last whether it may be sent: a request may have waited for a connection, or this process stood still."""

    def __init__(self, text: bytes, permit: Callable[[], None] | None) -> None:
        super().__init__(text)
        self._permit = permit

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the head, which has waited for this, and the body."""
        if self._permit:
            self._permit()
        await super().write_with_length(writer, content_length)


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # half a surrogate pair in somebody's message, a number of more than 64 bits
        return json.dumps(body).encode()


def _object(text: bytes) -> dict[str, Any] | None:
    """Return the object, or None when what answered is no API server but e.g. a proxy with a page."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _meaning(status: int, detail: str) -> PlatformError:
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotFound(detail)
        case HTTPStatus.CONFLICT | HTTPStatus.GONE:  # gone: what a listing continues from has been compacted
            return Conflict(detail)
        case HTTPStatus.INTERNAL_SERVER_ERROR if _MISSHAPEN in detail:
            return Rejected(detail)
        case _ if status in _TRY_LATER or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(detail)
        case _:
            return Rejected(detail)
