"""Serve the double until standard input is closed, so that it never outlives the tests that started it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from argparse import ArgumentParser
from pathlib import Path

import uvicorn
from qdrant.access import Keys
from qdrant.server import Double


def main() -> None:
    parser = ArgumentParser(prog="qdrant")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--version", required=True)
    parser.add_argument("--certificate", type=Path)
    arguments = parser.parse_args()
    keys = Keys(os.environ.get("API_KEY"), os.environ.get("READ_ONLY_API_KEY"))
    listener = listen(arguments.port)
    double = Double(arguments.directory, keys, arguments.version)
    config = uvicorn.Config(
        double,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=2,
        ssl_certfile=arguments.certificate,
        ssl_keyfile=arguments.certificate and arguments.certificate.with_suffix(".key"),
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal again when it has stopped; the storage is to be closed after that.
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=stop_with_parent, args=(server,), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])
    double.storage.close()


def listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def stop_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = server.force_exit = True


main()
