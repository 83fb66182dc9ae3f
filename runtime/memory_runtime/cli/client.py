"""A thin client of the HTTP API: requests in, answers or the contract's errors out."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import uuid4

import httpx

from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected, Unavailable
from memory_contracts.identifiers import canonical_coordinate
from memory_runtime.cli.encoding import encode
from memory_runtime.cli.endpoint import Endpoint
from memory_runtime.cli.failures import NotAuthorised

Json: TypeAlias = dict[str, Any]

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
RETRY_DELAYS = (0.1, 0.3, 0.9)
LONGEST_DELAY = 3.0
# The service, or the gateway before it, cannot answer now. Every write carries a key, so repeating one is harmless.
RETRIED_STATUS = frozenset({429, 502, 503, 504})
TOKEN_REMEDIES = {
    401: "give the service's token with --token-file or SOMA_API_TOKEN_FILE",
    403: "give a token that may do this",
}
RETRIED_ERRORS = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Client:
    """One service. ``with`` owns the connections; every method raises a `PlatformError` for what does not work."""

    def __init__(self, endpoint: Endpoint, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._endpoint = endpoint
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {},
            timeout=TIMEOUT,
            verify=_trust(endpoint.url),
            trust_env=not endpoint.is_loopback,  # a proxy cannot reach this machine's loopback
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def store(self, memory: Json) -> Json:
        """Store one memory: ``{"coord", "payload", "type"?, "importance"?}``."""
        return self._send("POST", "/store", memory, write=True)

    def store_bulk(self, memories: Sequence[Json]) -> Json:
        """Store several memories, all or none."""
        return self._send("POST", "/store_bulk", {"items": list(memories)}, write=True)

    def recall(self, question: Json) -> Json:
        """Return the matches of ``{"query", "top_k"?, "type"?, "filters"?, "scoring"?, "explain"?}``."""
        return self._send("POST", "/recall", question)

    def get(self, coordinate: Sequence[float]) -> Json:
        """Return the memory at `coordinate`; raises `NotFound`."""
        return self._send("GET", _path(coordinate))

    def forget(self, coordinate: Sequence[float]) -> Json:
        """Delete the memory at `coordinate`; raises `NotFound`."""
        return self._send("DELETE", _path(coordinate), write=True)

    def stats(self) -> Json:
        """Return the numbers of the namespace."""
        return self._send("GET", "/stats")

    def _send(self, method: str, path: str, body: Json | None = None, *, write: bool = False) -> Json:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if write:
            headers["Idempotency-Key"] = uuid4().hex
        content = None if body is None else encode(body)
        for delay in (*RETRY_DELAYS, None):
            outcome = self._attempt(method, path, content, headers)
            if not isinstance(outcome, Unavailable):
                return outcome
            if delay is None or not outcome.retry_after:
                raise outcome
            self._sleep(min(max(delay, outcome.retry_after), LONGEST_DELAY))
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> Json | Unavailable:
        """Return the answer, or `Unavailable` with ``retry_after`` 0 when a repetition is pointless."""
        try:
            response = self._http.request(method, path, content=content, headers=headers)
        except RETRIED_ERRORS as error:
            return Unavailable(_unreachable(self._endpoint.url, error), retry_after=RETRY_DELAYS[0])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Unavailable(_unreachable(self._endpoint.url, error), retry_after=0)
        return self._read(response)

    def _read(self, response: httpx.Response) -> Json | Unavailable:
        answer = _json_object(response)
        if response.is_success and answer is not None:
            return answer
        if response.status_code < 400:
            return Unavailable(f"{self._endpoint.url} does not answer like this service; check --url", retry_after=0)
        failure = failure_of(response.status_code, answer or {}, response.headers.get("Retry-After"))
        if isinstance(failure, Unavailable):
            return failure
        raise failure


def failure_of(status: int, problem: Json, retry_after: str | None) -> PlatformError:
    """Return the error that an answer with `status` and the RFC 9457 body `problem` stands for."""
    detail = str(problem.get("detail") or problem.get("title") or f"the service answered HTTP {status}")
    field = problem.get("field") if isinstance(problem.get("field"), str) else None
    if status in RETRIED_STATUS:
        return Unavailable(detail, field=field, retry_after=_seconds(retry_after))
    if status in TOKEN_REMEDIES:
        return NotAuthorised(f"{detail}; {TOKEN_REMEDIES[status]}")
    kinds: dict[int, type[PlatformError]] = {404: NotFound, 409: Conflict, 412: Conflict}
    kind = kinds.get(status, Rejected if status < 500 else PlatformError)
    return kind(detail, field=field)


def _path(coordinate: Sequence[float]) -> str:
    return f"/memories/{quote(canonical_coordinate(coordinate), safe=',')}"


def _json_object(response: httpx.Response) -> Json | None:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _seconds(retry_after: str | None) -> float:
    """Return the header's seconds; the first delay when it is absent or a date."""
    try:
        return max(float(retry_after or ""), RETRY_DELAYS[0])
    except ValueError:
        return RETRY_DELAYS[0]


def _unreachable(url: str, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return f"cannot reach {url} ({reason}); is the service running? --url names another one"


def _trust(url: str) -> ssl.SSLContext | bool:
    # Reading the certificate authorities takes a tenth of a second, which plain HTTP need not spend; a context
    # without any trusts nobody, should the address still turn into https.
    return True if url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
