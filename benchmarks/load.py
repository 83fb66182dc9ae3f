"""Driving load and timing it: closed-loop clients, and an HTTP connection that costs as little as Python can.

A client that parses headers into objects and validates answers would take as much of the machine's two cores as the
service it measures; this one sends prepared bytes, finds ``Content-Length`` and looks at nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias, cast

HOST = "127.0.0.1"
Call: TypeAlias = Callable[[Any], Awaitable[object]]
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One timed stretch: the latency of each call and the time of all, in seconds."""

    latencies: list[float]
    seconds: float

    def quantile(self, share: float) -> float:
        """Return the latency that `share` of the calls did not exceed (nearest rank)."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over rounds: latencies in milliseconds, `rate` in memories (or recalls) a second."""

    p50: float
    p95: float
    rate: float


def summarise(segments: Sequence[Segment], each: int) -> Figures:
    """Return the figures of some rounds of the same work, in which one call handled `each` memories."""
    return Figures(
        p50=median(segment.quantile(0.50) for segment in segments) * 1000,
        p95=median(segment.quantile(0.95) for segment in segments) * 1000,
        rate=median(len(segment.latencies) * each / segment.seconds for segment in segments),
    )


async def drive(clients: Sequence[Call], items: Sequence[Any], longest: float = float("inf")) -> Segment:
    """Let each client take the next item as soon as its last one is answered; start none after `longest` seconds."""
    source = iter(items)
    latencies: list[float] = []
    deadline = time.perf_counter() + longest

    async def work(call: Call) -> None:
        for item in source:
            started = time.perf_counter()
            await call(item)
            ended = time.perf_counter()
            latencies.append(ended - started)
            if ended > deadline:
                return

    gc.disable()  # a collection here would count as a slow answer
    started = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as tasks:
            for call in clients:
                tasks.create_task(work(call))
    finally:
        gc.enable()
    return Segment(latencies, time.perf_counter() - started)


class Connection(asyncio.Protocol):
    """A keep-alive connection for one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to `port` of this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    async def send(self, request: bytes) -> bytes:
        """Return the body of the answer. Raises `RuntimeError` unless its status is 200."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it

    def data_received(self, data: bytes) -> None:
        self._received += data
        body = self._received.find(b"\r\n\r\n") + 4
        if body < 4 or not (length := _LENGTH.search(self._received, 0, body)):
            return
        if len(self._received) < body + int(length[1]):
            return
        whole, self._received = bytes(self._received), bytearray()
        if self._answer is None or self._answer.done():
            return
        if whole.startswith(b"HTTP/1.1 200"):
            self._answer.set_result(whole[body:])
        else:
            self._answer.set_exception(RuntimeError(f"the API answered {whole[:500].decode(errors='replace')}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(RuntimeError(f"the API closed the connection ({exc})"))


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
