"""`soma` as a user runs it: in a folder with a space in its name, on ports that are free."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

SOMA = Path(sys.executable).with_name("soma")
NAMESPACE = """\
apiVersion: memory.somafractal.io/v1alpha1
kind: MemoryNamespace
metadata: {{name: research, namespace: team-a}}
spec:
  embedding: {{provider: {provider}}}
  api: {{replicas: {replicas}}}
"""


def eventually(check: Callable[[], Any], timeout: float = 30.0, what: str = "it") -> Any:
    """Return the first true result of `check`; fail when none comes in time."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if result := check():
                return result
        except (httpx.TransportError, AssertionError) as error:
            what = f"{what} ({error!r})"[:500]
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {timeout} s")
        time.sleep(0.05)


@dataclass
class Soma:
    """One state directory and the commands on it."""

    folder: Path
    port: int

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(SOMA), *arguments], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        if check and done.returncode:
            pytest.fail(f"soma {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def write(self, provider: str = "builtin", replicas: int = 1) -> None:
        text = NAMESPACE.format(provider=provider, replicas=replicas)
        (self.folder / "namespace.yaml").write_text(text, "utf-8")

    def up(self, provider: str = "builtin", replicas: int = 1) -> None:
        self.write(provider, replicas)
        self.run("up", "-f", "namespace.yaml", "--detach", "--port", str(self.port))

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "-o", "json", check=False).stdout)
        return status

    def pid(self, process: str) -> int:
        return next(each["pid"] for each in self.status()["processes"] if each["name"] == process)

    def wait_ready(self) -> dict[str, Any]:
        status: dict[str, Any] = eventually(lambda: (now := self.status())["ready"] and now, what="ready")
        return status

    def endpoints(self) -> list[str]:
        return [each["endpoint"] for each in self.status()["processes"] if "endpoint" in each]

    def client(self, endpoint: str | None = None) -> httpx.Client:
        status = self.status()
        token = Path(status["tokenFile"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=endpoint or status["endpoint"], headers=headers, timeout=15, trust_env=False)

    def database_url(self) -> str:
        kept = self.folder / ".soma" / "postgres"
        password, port = (kept / "password").read_text().strip(), (kept / "port").read_text().strip()
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/soma"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
