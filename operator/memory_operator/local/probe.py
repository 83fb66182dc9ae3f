"""The readiness probe: one HTTP GET, without a client library, for the operator needs no other HTTP."""

from __future__ import annotations

import asyncio
import contextlib

from memory_operator.local.ports import LOOPBACK

PROBE_SECONDS = 2.0


async def answers(port: int, path: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether ``GET path`` on this machine is answered with a status of 200 to 399, as a kubelet judges."""
    try:
        async with asyncio.timeout(seconds):
            return 200 <= await _status(port, path) < 400
    except (OSError, TimeoutError, ValueError, IndexError):
        return False


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
