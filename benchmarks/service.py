"""What is measured: a Postgres server of one's own with its durable defaults, and one API process as it ships."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import SecretStr

from benchmarks.load import HOST
from memory_contracts.settings import READINESS_PATH, RuntimeSettings
from memory_operator.local.files import tail
from memory_operator.local.ports import any_free_port
from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer
from memory_operator.local.processes import tethered

START_SECONDS = 60.0
STOP_SECONDS = 10.0


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[PostgresServer]:
    """Run a server whose data is gone afterwards."""
    server = PostgresServer(directory / "postgres", 0, find_binaries())
    try:
        server.start()
        yield server
    finally:
        server.stop()  # also one that was interrupted while it started
        server.purge()


def settings(server: PostgresServer, schema: str) -> RuntimeSettings:
    """Return the shipped settings, on a schema of `server` and a free port."""
    return RuntimeSettings(
        namespace=f"benchmarks/{schema}",
        port=any_free_port(),
        token=SecretStr(secrets.token_hex(16)),
        postgres_url=SecretStr(server.admin_url()),
        postgres_schema=schema,
        log_level="warning",
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process occupies, in MiB; `pss` counts shared pages in proportion, and is None where unknown."""

    rss: float
    pss: float | None


@dataclass(frozen=True, slots=True)
class Service:
    """A running API process."""

    process: subprocess.Popen[bytes]
    settings: RuntimeSettings

    @property
    def token(self) -> str:
        """The token that lets one in."""
        assert self.settings.token is not None
        return self.settings.token.get_secret_value()

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def memory(self) -> Memory:
        """Return what the process occupies now."""
        info = psutil.Process(self.process.pid).memory_full_info()
        pss = getattr(info, "pss", None)
        return Memory(info.rss / 2**20, None if pss is None else pss / 2**20)


@contextlib.contextmanager
def serve(settings: RuntimeSettings, directory: Path) -> Iterator[Service]:
    """Run an API process and wait until it is ready; it ends with the block, or with this process at the latest."""
    log = directory / f"{settings.postgres_schema}.log"
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered([sys.executable, "-m", "memory_runtime"], signal.SIGTERM),
            env=environment | settings.to_environment(),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the other one
        )
    try:
        _wait_until_ready(process, settings.port, log)
        yield Service(process, settings)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the API process did not become ready:\n{tail(log, 20)}")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", READINESS_PATH)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
