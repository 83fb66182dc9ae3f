"""Liveness, readiness and metrics over HTTP, from a thread and an event loop of their own.

So the probes are answered while the loops that do the work stand still; the watchdog is what tells of that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from memory_contracts.errors import Unavailable
from memory_contracts.settings import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from memory_operator.controller.metrics import REGISTRY

START_SECONDS = 10.0
STOP_SECONDS = 5.0

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this replica does, or stands by for, its work; `detail` says which, or what is missing."""

    ready: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, whole."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class HealthApp:
    """The ASGI application. `problems` and `readiness` are asked at each probe, in the server's thread."""

    problems: Callable[[], list[str]]
    readiness: Callable[[], Readiness]
    registry: CollectorRegistry = REGISTRY

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", scope["type"]
        answer = self.answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *([(b"allow", b"GET, HEAD")] if answer.status == 405 else []),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def answer(self, method: str, path: str) -> Answer:
        """Return the response to a request."""
        if method not in ("GET", "HEAD"):
            return _json(405, {"ok": False, "detail": f"{method} is not offered; use GET"})
        match path:
            case str() if path == LIVENESS_PATH:
                problems = self.problems()
                return _json(503 if problems else 200, {"ok": not problems, "problems": problems})
            case str() if path == READINESS_PATH:
                state = self.readiness()
                return _json(200 if state.ready else 503, {"ok": state.ready, "detail": state.detail})
            case str() if path == METRICS_PATH:
                return Answer(200, CONTENT_TYPE_LATEST, generate_latest(self.registry))
            case _:
                offered = ", ".join((LIVENESS_PATH, READINESS_PATH, METRICS_PATH))
                return _json(404, {"ok": False, "detail": f"there is no {path} here, only {offered}"})


class HealthServer:
    """Serves a `HealthApp` inside ``with``. Host ``""`` means every address, IPv6 too; port 0 means any free one."""

    def __init__(self, app: HealthApp, port: int, host: str = "") -> None:
        self._host, self._wanted_port = host, port
        # h11 and asyncio: what every installation has, so that tests run what production runs.
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._socket, "the server is not started"
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> HealthServer:
        self._socket = _listen(self._host, self._wanted_port)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        if not self._server.started:
            self.__exit__(None, None, None)
            self._socket.close()
            raise RuntimeError("the server of health and metrics did not start; the log says why")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        try:
            asyncio.run(self._serve_until_told())
        except Exception:
            logger.exception("the server of health and metrics failed", extra={"event": "health.failed"})

    async def _serve_until_told(self) -> None:
        assert self._socket
        await self._server.serve(sockets=[self._socket])
        # uvicorn forgets those that came while it was already closing the others.
        for late in list(self._server.server_state.connections):
            late.shutdown()
        await asyncio.sleep(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return _listener(host, port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Unavailable(
            f"port {port} cannot be had for health and metrics: {reason}; end what has it, or choose another with "
            "--health-port"
        ) from error


def _listener(host: str, port: int) -> socket.socket:
    if host == "" and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _json(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, "application/json", json.dumps(content).encode())
