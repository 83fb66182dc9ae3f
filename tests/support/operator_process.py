"""The operator as it runs in production, ``memory-operator run``, as a process of the test with its own account."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from memory_operator.local.processes import tethered

COMMAND = Path(sys.executable).with_name("memory-operator")
START_SECONDS, STOP_SECONDS = 30.0, 30.0


class OperatorProcess:
    """One replica, started with `start` and ended by `stop` (SIGTERM) or `kill` (SIGKILL); it dies with the test."""

    def __init__(self, kubeconfig: Path, log: Path, *, environment: dict[str, str] | None = None) -> None:
        self.log = log
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._offset = 0

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it leads or stands by."""
        arguments = (str(COMMAND), "run", "--namespace", "memory-system", "--health-port", "0")
        self._offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                tethered(arguments, signal.SIGKILL), stdout=out, stderr=out, env=self._environment
            )
        if wait:
            self.wait_for(self._answers, "it did not become ready")

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit code when it has ended."""
        return self._process.poll() if self._process else None

    def stop(self) -> int:
        """End it in order; return its exit code."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return what it has logged since its last start, or only the events of one name."""
        whole, _, _ = self.log.read_bytes()[self._offset :].rpartition(b"\n")  # what follows is still being written
        found = [json.loads(line) for line in whole.decode().splitlines() if line.startswith("{")]
        return [each for each in found if name is None or each.get("event") == name]

    def get(self, path: str) -> httpx.Response:
        """Ask its health port."""
        port = next(each["port"] for each in self.events("health.listening"))
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=5)

    def wait_for(self, condition: Any, failure: str, seconds: float = START_SECONDS) -> None:
        """Wait until `condition` holds; fails with the end of the log when the process ends or the time is over."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.ended is not None or time.monotonic() > deadline:
                raise AssertionError(f"{failure}; its log ends with:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self.get("/readyz").status_code == 200
        except (StopIteration, httpx.TransportError):
            return False


@contextmanager
def running(operator: OperatorProcess) -> Iterator[OperatorProcess]:
    """Start it, and end it whatever happens."""
    try:
        operator.start()
        yield operator
    finally:
        operator.kill()
