"""Free TCP ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"
NEIGHBOURS = 100


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` now."""
    with socket.socket() as probe:
        # As servers do: a port whose old connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return True
    return False


def any_free_port() -> int:
    """Return a port that the kernel finds free."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def next_free_port(start: int, taken: Collection[int] = ()) -> int:
    """Return the first free port from `start` upwards that is not in `taken`; any free one when all are in use."""
    for port in range(start, min(start + NEIGHBOURS, 65536)):
        if port not in taken and is_free(port):
            return port
    return any_free_port()
