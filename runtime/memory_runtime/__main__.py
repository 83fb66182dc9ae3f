"""Serve one namespace: ``python -m memory_runtime``, configured by the environment (see memory_contracts.settings)."""

from __future__ import annotations

import gc
import logging
import os
import sys

# Each request searches on its own; threads inside one matrix product would only compete. Set before NumPy loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvicorn

from memory_contracts.errors import Rejected
from memory_contracts.settings import SHUTDOWN_SECONDS, load_settings, unknown_variables
from memory_runtime.api.app import build_app
from memory_runtime.composition import compose
from memory_runtime.logs import configure_logging

log = logging.getLogger("memory_runtime")


def main() -> int:
    """Serve until stopped; 2 when the settings are unusable, 1 when the work behind the answers cannot go on."""
    configure_logging("info")
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        for sentence in unknown_variables(os.environ):
            log.warning(sentence)
        app = build_app(compose(settings), stop=lambda: setattr(server, "should_exit", True))
    except Rejected as error:
        log.critical(error.detail)
        return 2
    # A full collection walks every object of a large request (60 ms for 5,000 items); cycles are rare here.
    gc.set_threshold(50_000, 50, 50)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run()
    return 1 if app.state.failed else 0


if __name__ == "__main__":
    sys.exit(main())
