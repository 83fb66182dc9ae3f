"""The double as a process: started, stopped, killed, stopped for a while, and asked what was asked of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from qdrant.routes import VERSION
from qdrant.server import REFUSE_WRITES, REQUEST_LOG

API_KEY = "the-key-of-the-administrator-of-the-double"
READ_ONLY_KEY = "the-key-of-somebody-who-may-only-read-it"
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request that was answered; `changes` when it was one that writes, allowed or not."""

    method: str
    path: str
    status: int
    changes: bool


class QdrantDouble:
    """A test double of a Qdrant server on 127.0.0.1: Qdrant's engine behind our own imitation of its REST interface.

    What is shown on it is shown for the engine and for the answers that were recorded from a real server, no more.
    The port stays the same through `stop`, `kill` and `start`, and the data too.
    """

    def __init__(
        self,
        directory: Path,
        *,
        api_key: str | None = API_KEY,
        read_only_key: str | None = READ_ONLY_KEY,
        certificate: Path | None = None,
        version: str = VERSION,
    ) -> None:
        self.directory = directory
        self.api_key = api_key
        self.read_only_key = read_only_key
        self.version = version
        self._certificate = certificate
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> QdrantDouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        if self._process:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "qdrant", str(self.directory), "--port", str(self._port)]
        command += ["--version", self.version]
        command += ["--certificate", str(self._certificate)] if self._certificate else []
        with (self.directory / "errors.txt").open("a") as errors:
            self._process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._wait_until_listening(self._process)

    def _environment(self) -> dict[str, str]:
        keys = {"API_KEY": self.api_key, "READ_ONLY_API_KEY": self.read_only_key}
        given = {name: key for name, key in keys.items() if key is not None}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), **given}

    def _wait_until_listening(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        line = process.stdout.readline()
        assert line, f"the double did not start: {(self.directory / 'errors.txt').read_text()}"
        self._port = int(line)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert process.poll() is None, (self.directory / "errors.txt").read_text()
            assert time.monotonic() < deadline, "the double does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        """Any answer counts, with TLS also one whose certificate nobody here trusts."""
        try:
            with urlopen(f"{self.url}/healthz", timeout=1) as response:
                return bool(response.status == 200)
        except URLError as error:
            return "CERTIFICATE_VERIFY_FAILED" in str(error)
        except OSError:
            return False

    def stop(self) -> None:
        """Let it finish what it does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Take it away at once, as a lost machine would be."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe
            pipe.close()

    def pause(self) -> None:
        """Accept connections and answer nothing, until `resume`."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def refuse_writes(self, status: int, error: str) -> None:
        """Answer every change with this, as a server with a full disk does."""
        new = self.directory / f"{REFUSE_WRITES}.new"
        new.write_text(json.dumps({"status": status, "error": error}))
        new.replace(self.directory / REFUSE_WRITES)

    def accept_writes(self) -> None:
        (self.directory / REFUSE_WRITES).unlink(missing_ok=True)

    def requests(self) -> list[LoggedRequest]:
        """Return every request since the log was last forgotten, the oldest first."""
        log = self.directory / REQUEST_LOG
        lines = log.read_text().splitlines() if log.exists() else []
        return [LoggedRequest(**json.loads(line)) for line in lines if "healthz" not in line]

    def writes(self) -> list[LoggedRequest]:
        return [each for each in self.requests() if each.changes]

    def forget_requests(self) -> None:
        (self.directory / REQUEST_LOG).unlink(missing_ok=True)

    def client_arguments(self) -> dict[str, Any]:
        """Return what `AsyncQdrantClient` is called with; the key as a header, for it warns of keys over http."""
        headers = {"api-key": self.api_key} if self.api_key else {}
        return {"url": self.url, "headers": headers, "timeout": 10, "check_compatibility": False}
